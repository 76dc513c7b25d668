"""Reports: the offer the VTN holds, what it asked for and how far each request has been served."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from grid.journal import transaction
from ven.journal.outbox import owe, owe_reply
from ven.journal.reading import Reads
from ven.records import Kind, Lane, StoredRequest


class Reports:
    """By enrolment and reportRequestID."""

    def __init__(self, db: sqlite3.Connection, reads: Reads) -> None:
        self._db = db
        self._reads = reads

    def offer(self, enrolment_id: str) -> str | None:
        """The report offer the VTN holds under this registration."""
        query = "SELECT offer FROM registrations WHERE enrolment_id = ?"
        found: list[str | None] = self._reads.rows(query, (enrolment_id,), lambda row: row["offer"])
        return found[0] if found else None

    def record_offer(self, enrolment_id: str, offer: str, requests: Sequence[StoredRequest]) -> None:
        """The VTN took our report offer and asked for this; what it asked before is over."""
        with transaction(self._db) as db:
            db.execute("UPDATE registrations SET offer = ? WHERE enrolment_id = ?", (offer, enrolment_id))
            db.execute("UPDATE report_requests SET ended = 1 WHERE enrolment_id = ?", (enrolment_id,))
            _insert(db, enrolment_id, requests)

    def record_requests(self, enrolment_id: str, requests: Sequence[StoredRequest]) -> None:
        """The VTN asks for more."""
        with transaction(self._db) as db:
            _insert(db, enrolment_id, requests)

    def active(self, enrolment_id: str) -> list[StoredRequest]:
        """Requests being served."""
        return self._where(enrolment_id, "ended = 0 AND refusal IS NULL")

    def known(self, enrolment_id: str) -> set[str]:
        """Every request there was, by reportRequestID."""
        rows = self._db.execute("SELECT report_request_id FROM report_requests WHERE enrolment_id = ?", (enrolment_id,))
        return {row["report_request_id"] for row in rows}

    def unconfirmed(self, enrolment_id: str) -> list[StoredRequest]:
        """Requests, refused ones too, that the VTN has no oadrCreatedReport for."""
        return self._where(enrolment_id, "confirmed = 0")

    def confirm(self, enrolment_id: str, report_request_ids: Iterable[str]) -> None:
        """The VTN has the oadrCreatedReport for these."""
        with transaction(self._db) as db:
            db.executemany(
                "UPDATE report_requests SET confirmed = 1 WHERE enrolment_id = ? AND report_request_id = ?",
                [(enrolment_id, report_request_id) for report_request_id in report_request_ids],
            )

    def end(
        self,
        enrolment_id: str,
        report_request_ids: Sequence[str],
        until: datetime | None,
        reply: tuple[str, bytes] | None,
    ) -> None:
        """Serve these no longer than ``until``, or no more at all, and owe the VTN the reply; all or nothing.

        ``reply``: the requestID of the VTN's message, and what it is answered.
        """
        keys = [(enrolment_id, report_request_id) for report_request_id in report_request_ids]
        with transaction(self._db) as db:
            if until is None:
                db.executemany(
                    "UPDATE report_requests SET ended = 1 WHERE enrolment_id = ? AND report_request_id = ?", keys
                )
            else:
                db.executemany(
                    "UPDATE report_requests SET until = min(coalesce(until, ?), ?),"
                    " ended = ended OR next_start >= ? WHERE enrolment_id = ? AND report_request_id = ?",
                    [(*3 * (until.isoformat(),), *key) for key in keys],
                )
            if reply is not None:
                request_id, payload = reply
                owe_reply(db, enrolment_id, f"cancel:{request_id}", "EiReport", payload)

    def record_data(
        self,
        enrolment_id: str,
        request: StoredRequest,
        *,
        next_start: datetime,
        ended: bool,
        messages: Sequence[tuple[bytes, dict[str, object]]],
    ) -> None:
        """Owe the data (none: it is missing for good) and move the request on, all or nothing."""
        with transaction(self._db) as db:
            for payload, facts in messages:
                owe(db, enrolment_id, Lane.DATA, Kind.DATA, request.report_request_id, payload, facts)
            db.execute(
                "UPDATE report_requests SET next_start = ?, ended = ended OR ?"
                " WHERE enrolment_id = ? AND report_request_id = ?",
                (next_start.isoformat(), ended, enrolment_id, request.report_request_id),
            )

    def record_metadata(self, enrolment_id: str, report_request_id: str, payload: bytes) -> None:
        """Owe the metadata that a request asked for, which ends with it; both or neither."""
        with transaction(self._db) as db:
            subject = f"metadata:{report_request_id}"
            owe(db, enrolment_id, Lane.ANSWERS, Kind.METADATA, subject, payload, {})
            db.execute(
                "UPDATE report_requests SET ended = 1 WHERE enrolment_id = ? AND report_request_id = ?",
                (enrolment_id, report_request_id),
            )

    def _where(self, enrolment_id: str, condition: str) -> list[StoredRequest]:
        query = f"SELECT * FROM report_requests WHERE enrolment_id = ? AND {condition} ORDER BY rowid"
        return self._reads.rows(query, (enrolment_id,), _request)


def _request(row: sqlite3.Row) -> StoredRequest:
    return StoredRequest(
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


def _insert(db: sqlite3.Connection, enrolment_id: str, requests: Sequence[StoredRequest]) -> None:
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
