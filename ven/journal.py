"""What the VENs of one gateway must not forget, in one SQLite file.

Registrations; every event before anyone decides on it, and the decision; the oadrCreatedEvents owed; the report
requests with how far each has been served; and the report data owed, as the exact bytes that were or will be sent
(the signature goes around them at the time). A row is durable when the method that writes it returns.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from grid.events import DECISION, GRID_EVENT, Decision, GridEvent, OptType
from grid.intervals import Interval
from grid.journal import open_journal, transaction
from ven.records import Answer, JournalledEvent, OwedUpdate, Registration, StoredRequest

MIGRATIONS = (
    """
    CREATE TABLE registrations (
        enrolment_id TEXT PRIMARY KEY,
        vtn_id TEXT NOT NULL,
        ven_id TEXT NOT NULL,
        registration_id TEXT NOT NULL,
        poll_interval_s REAL NOT NULL,
        registered_at TEXT NOT NULL,
        offer TEXT
    );
    CREATE TABLE events (
        enrolment_id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        modification_number INTEGER NOT NULL,
        event TEXT NOT NULL,
        request_id TEXT NOT NULL,
        decision TEXT,
        provisional INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (enrolment_id, event_id, modification_number)
    );
    CREATE TABLE answers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        enrolment_id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        modification_number INTEGER NOT NULL,
        request_id TEXT NOT NULL,
        opt TEXT NOT NULL,
        code INTEGER NOT NULL,
        description TEXT NOT NULL,
        settled_at TEXT,
        outcome TEXT
    );
    CREATE INDEX answers_owed ON answers (enrolment_id, seq) WHERE settled_at IS NULL;
    CREATE TABLE report_requests (
        enrolment_id TEXT NOT NULL,
        report_request_id TEXT NOT NULL,
        message_id TEXT NOT NULL,
        specifier_id TEXT NOT NULL,
        rids TEXT NOT NULL,
        granularity_s INTEGER NOT NULL,
        back_duration_s INTEGER NOT NULL,
        next_start TEXT NOT NULL,
        until TEXT,
        refusal TEXT,
        confirmed INTEGER NOT NULL DEFAULT 0,
        ended INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (enrolment_id, report_request_id)
    );
    CREATE TABLE report_updates (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        enrolment_id TEXT NOT NULL,
        report_request_id TEXT NOT NULL,
        "start" TEXT NOT NULL,
        "end" TEXT NOT NULL,
        resource_ids TEXT NOT NULL,
        payload BLOB NOT NULL
    );
    CREATE INDEX report_updates_owed ON report_updates (enrolment_id, seq)
    """,
)


class VenJournal:
    """Durable state by enrolment. Use one per file, from one event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> VenJournal:
        """Raises JournalError."""
        return cls(open_journal(path, MIGRATIONS))

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    # --- registration

    def registration(self, enrolment_id: str) -> Registration | None:
        """The registration in force."""
        row = self._db.execute("SELECT * FROM registrations WHERE enrolment_id = ?", (enrolment_id,)).fetchone()
        if row is None:
            return None
        return Registration(
            enrolment_id=row["enrolment_id"],
            vtn_id=row["vtn_id"],
            ven_id=row["ven_id"],
            registration_id=row["registration_id"],
            poll_interval_s=row["poll_interval_s"],
            registered_at=datetime.fromisoformat(row["registered_at"]),
        )

    def register(self, registration: Registration) -> None:
        """Take a registration. The report offer is to be made again; data owed under another venID is void."""
        key = registration.enrolment_id
        held = self.registration(key)
        with transaction(self._db) as db:
            if held is not None and held.ven_id != registration.ven_id:
                db.execute("DELETE FROM report_updates WHERE enrolment_id = ?", (key,))
            db.execute("DELETE FROM registrations WHERE enrolment_id = ?", (key,))
            db.execute(
                "INSERT INTO registrations VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (
                    key,
                    registration.vtn_id,
                    registration.ven_id,
                    registration.registration_id,
                    registration.poll_interval_s,
                    registration.registered_at.isoformat(),
                ),
            )

    # --- events and answers

    def event(self, enrolment_id: str, event_id: str) -> JournalledEvent | None:
        """The newest modification received."""
        row = self._db.execute(
            "SELECT * FROM events WHERE enrolment_id = ? AND event_id = ? ORDER BY modification_number DESC LIMIT 1",
            (enrolment_id, event_id),
        ).fetchone()
        return None if row is None else _event(row)

    def unsettled_events(self, enrolment_id: str) -> list[JournalledEvent]:
        """Newest modifications that nobody decided on, or only the default opt did, oldest first."""
        rows = self._db.execute(
            """
            SELECT * FROM events e WHERE enrolment_id = ? AND (decision IS NULL OR provisional = 1)
                AND modification_number = (SELECT max(modification_number) FROM events
                    WHERE enrolment_id = e.enrolment_id AND event_id = e.event_id)
            ORDER BY rowid
            """,
            (enrolment_id,),
        )
        return [_event(row) for row in rows]

    def record_event(self, event: GridEvent, request_id: str) -> None:
        """A new event or modification, before anyone decides; an answer still owed to an older one is void."""
        with transaction(self._db) as db:
            db.execute(
                "INSERT INTO events (enrolment_id, event_id, modification_number, event, request_id)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    *event.key,
                    event.modification_number,
                    GRID_EVENT.dump_json(event).decode(),
                    request_id,
                ),
            )
            _void_answers(db, *event.key)

    def record_decision(self, event: GridEvent, decision: Decision, *, provisional: bool) -> bool:
        """Keep the decision and, where the VTN wants or must learn it, owe the answer; both or neither.

        The first answer goes out when the event requires a response; a changed opt always does. Returns whether
        an answer is owed now.
        """
        key = (*event.key, event.modification_number)
        with transaction(self._db) as db:
            row = db.execute(
                "SELECT * FROM events WHERE enrolment_id = ? AND event_id = ? AND modification_number = ?", key
            ).fetchone()
            before = _event(row).decision
            db.execute(
                "UPDATE events SET decision = ?, provisional = ?"
                " WHERE enrolment_id = ? AND event_id = ? AND modification_number = ?",
                (DECISION.dump_json(decision).decode(), provisional, *key),
            )
            owed = event.response_required if before is None else before.opt != decision.opt
            if owed:
                _owe(db, key, row["request_id"], opt=decision.opt, code=200, description="OK")
        return owed

    def reoffer(self, event: GridEvent, request_id: str) -> None:
        """The VTN sent a modification we know again: answer again if it asks for that (rules 12 and 62)."""
        key = (*event.key, event.modification_number)
        with transaction(self._db) as db:
            db.execute(
                "UPDATE events SET request_id = ? WHERE enrolment_id = ? AND event_id = ? AND modification_number = ?",
                (request_id, *key),
            )
            row = db.execute(
                "SELECT decision FROM events WHERE enrolment_id = ? AND event_id = ? AND modification_number = ?", key
            ).fetchone()
            if event.response_required and row["decision"] is not None:
                opt = DECISION.validate_json(row["decision"]).opt
                _owe(db, key, request_id, opt=opt, code=200, description="OK")

    def owe_answer(
        self,
        enrolment_id: str,
        event_id: str,
        modification_number: int,
        request_id: str,
        *,
        opt: OptType,
        code: int,
        description: str,
    ) -> None:
        """Owe an answer to an event that is not journalled: refused, or not to be run."""
        with transaction(self._db) as db:
            key = (enrolment_id, event_id, modification_number)
            _owe(db, key, request_id, opt=opt, code=code, description=description)

    def owed_answers(self, enrolment_id: str) -> list[Answer]:
        """Oldest first."""
        rows = self._db.execute(
            "SELECT * FROM answers WHERE enrolment_id = ? AND settled_at IS NULL ORDER BY seq", (enrolment_id,)
        )
        return [
            Answer(
                seq=row["seq"],
                event_id=row["event_id"],
                modification_number=row["modification_number"],
                request_id=row["request_id"],
                opt=OptType(row["opt"]),
                code=row["code"],
                description=row["description"],
            )
            for row in rows
        ]

    def settle_answer(self, seq: int, outcome: str, at: datetime) -> None:
        """The VTN acknowledged ("sent") or refused (why) an answer."""
        with transaction(self._db) as db:
            db.execute("UPDATE answers SET settled_at = ?, outcome = ? WHERE seq = ?", (at.isoformat(), outcome, seq))

    # --- reports

    def offer(self, enrolment_id: str) -> str | None:
        """The report offer the VTN holds under this registration."""
        row = self._db.execute("SELECT offer FROM registrations WHERE enrolment_id = ?", (enrolment_id,)).fetchone()
        return None if row is None else row["offer"]

    def record_offer(self, enrolment_id: str, offer: str, requests: Sequence[StoredRequest]) -> None:
        """The VTN took our report offer and asked for this; what it asked before is over."""
        with transaction(self._db) as db:
            db.execute("UPDATE registrations SET offer = ? WHERE enrolment_id = ?", (offer, enrolment_id))
            db.execute("UPDATE report_requests SET ended = 1 WHERE enrolment_id = ?", (enrolment_id,))
            _insert_requests(db, enrolment_id, requests)

    def record_requests(self, enrolment_id: str, requests: Sequence[StoredRequest]) -> None:
        """The VTN asks for more."""
        with transaction(self._db) as db:
            _insert_requests(db, enrolment_id, requests)

    def end_requests(self, enrolment_id: str, report_request_ids: Iterable[str]) -> None:
        """Serve these no longer; data already owed is still delivered."""
        with transaction(self._db) as db:
            db.executemany(
                "UPDATE report_requests SET ended = 1 WHERE enrolment_id = ? AND report_request_id = ?",
                [(enrolment_id, report_request_id) for report_request_id in report_request_ids],
            )

    def active_requests(self, enrolment_id: str) -> list[StoredRequest]:
        """Requests being served."""
        return self._requests(enrolment_id, "ended = 0 AND refusal IS NULL")

    def unconfirmed_requests(self, enrolment_id: str) -> list[StoredRequest]:
        """Requests, refused ones too, that the VTN has no oadrCreatedReport for."""
        return self._requests(enrolment_id, "confirmed = 0")

    def confirm_requests(self, enrolment_id: str, report_request_ids: Iterable[str]) -> None:
        """The VTN has the oadrCreatedReport for these."""
        with transaction(self._db) as db:
            db.executemany(
                "UPDATE report_requests SET confirmed = 1 WHERE enrolment_id = ? AND report_request_id = ?",
                [(enrolment_id, report_request_id) for report_request_id in report_request_ids],
            )

    def record_update(
        self,
        enrolment_id: str,
        report_request_id: str,
        interval: Interval,
        resource_ids: Sequence[str],
        payload: bytes | None,
    ) -> None:
        """Owe the data of ``interval`` (None: it is missing for good) and move the request on, both or neither."""
        with transaction(self._db) as db:
            if payload is not None:
                db.execute(
                    'INSERT INTO report_updates (enrolment_id, report_request_id, "start", "end", resource_ids,'
                    " payload) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        enrolment_id,
                        report_request_id,
                        interval.start.isoformat(),
                        interval.end.isoformat(),
                        json.dumps(list(resource_ids)),
                        payload,
                    ),
                )
            db.execute(
                "UPDATE report_requests SET next_start = ?, ended = ended OR (until IS NOT NULL AND until <= ?)"
                " WHERE enrolment_id = ? AND report_request_id = ?",
                (interval.end.isoformat(), interval.end.isoformat(), enrolment_id, report_request_id),
            )

    def oldest_update(self, enrolment_id: str) -> OwedUpdate | None:
        """The update to deliver next."""
        row = self._db.execute(
            "SELECT * FROM report_updates WHERE enrolment_id = ? ORDER BY seq LIMIT 1", (enrolment_id,)
        ).fetchone()
        if row is None:
            return None
        return OwedUpdate(
            seq=row["seq"],
            report_request_id=row["report_request_id"],
            interval=Interval(start=datetime.fromisoformat(row["start"]), end=datetime.fromisoformat(row["end"])),
            resource_ids=tuple(json.loads(row["resource_ids"])),
            payload=row["payload"],
        )

    def owed_updates(self, enrolment_id: str) -> int:
        """How many updates wait for the VTN."""
        count: int = self._db.execute(
            "SELECT count(*) FROM report_updates WHERE enrolment_id = ?", (enrolment_id,)
        ).fetchone()[0]
        return count

    def settle_update(self, seq: int) -> None:
        """The VTN acknowledged or refused the update: nothing is owed any more."""
        with transaction(self._db) as db:
            db.execute("DELETE FROM report_updates WHERE seq = ?", (seq,))

    def _requests(self, enrolment_id: str, condition: str) -> list[StoredRequest]:
        rows = self._db.execute(
            f"SELECT * FROM report_requests WHERE enrolment_id = ? AND {condition} ORDER BY rowid",  # noqa: S608
            (enrolment_id,),
        )
        return [
            StoredRequest(
                report_request_id=row["report_request_id"],
                message_id=row["message_id"],
                specifier_id=row["specifier_id"],
                rids=tuple(json.loads(row["rids"])),
                granularity_s=row["granularity_s"],
                back_duration_s=row["back_duration_s"],
                next_start=datetime.fromisoformat(row["next_start"]),
                until=None if row["until"] is None else datetime.fromisoformat(row["until"]),
                refusal=row["refusal"],
            )
            for row in rows
        ]


def _event(row: sqlite3.Row) -> JournalledEvent:
    decision = row["decision"]
    return JournalledEvent(
        event=GRID_EVENT.validate_json(row["event"]),
        decision=None if decision is None else DECISION.validate_json(decision),
        provisional=bool(row["provisional"]),
    )


def _void_answers(db: sqlite3.Connection, enrolment_id: str, event_id: str) -> None:
    db.execute(
        "DELETE FROM answers WHERE enrolment_id = ? AND event_id = ? AND settled_at IS NULL", (enrolment_id, event_id)
    )


def _owe(
    db: sqlite3.Connection,
    key: tuple[str, str, int],
    request_id: str,
    *,
    opt: OptType,
    code: int,
    description: str,
) -> None:
    """One answer per event at most is owed: the newest."""
    _void_answers(db, *key[:2])
    db.execute(
        "INSERT INTO answers (enrolment_id, event_id, modification_number, request_id, opt, code, description)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*key, request_id, opt.value, code, description),
    )


def _insert_requests(db: sqlite3.Connection, enrolment_id: str, requests: Sequence[StoredRequest]) -> None:
    """A request the VTN repeats keeps its place and is confirmed again."""
    db.executemany(
        """
        INSERT INTO report_requests (enrolment_id, report_request_id, message_id, specifier_id, rids, granularity_s,
            back_duration_s, next_start, until, refusal)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (enrolment_id, report_request_id) DO UPDATE SET message_id = excluded.message_id, confirmed = 0
        """,
        [
            (
                enrolment_id,
                request.report_request_id,
                request.message_id,
                request.specifier_id,
                json.dumps(list(request.rids)),
                request.granularity_s,
                request.back_duration_s,
                request.next_start.isoformat(),
                None if request.until is None else request.until.isoformat(),
                request.refusal,
            )
            for request in requests
        ],
    )
