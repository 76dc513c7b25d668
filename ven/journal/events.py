"""Events: each modification before anyone decides on it, the decision with the answer owed, and how it ended."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from grid.events import DECISION, GRID_EVENT, Decision, EventStatus, GridEvent, OptType
from grid.journal import transaction
from ven.journal.opts import create_opt
from ven.journal.outbox import owe, settle, void
from ven.records import JournalledEvent, Kind, Lane, StoredOpt

_NEWEST = """
    modification_number = (SELECT max(modification_number) FROM events
        WHERE enrolment_id = e.enrolment_id AND event_id = e.event_id)
"""
_THIS = "enrolment_id = ? AND event_id = ? AND modification_number = ?"


def answer_subject(event_id: str) -> str:
    """What the outbox knows an answer to an event by."""
    return f"event:{event_id}"


def refusal_subject(event_id: str, modification_number: int) -> str:
    """What the outbox knows an answer to a modification by that is not taken: the others' answers stand beside it."""
    return f"refusal:{modification_number}:{event_id}"


class Events:
    """By enrolment, event and modification."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def newest(self, enrolment_id: str, event_id: str) -> JournalledEvent | None:
        """The newest modification received."""
        row = self._db.execute(
            "SELECT * FROM events WHERE enrolment_id = ? AND event_id = ? ORDER BY modification_number DESC LIMIT 1",
            (enrolment_id, event_id),
        ).fetchone()
        return None if row is None else _event(row)

    def all(self, enrolment_id: str) -> list[JournalledEvent]:
        """Newest modifications, in the order they came."""
        rows = self._db.execute(
            f"SELECT * FROM events e WHERE enrolment_id = ? AND {_NEWEST} ORDER BY rowid", (enrolment_id,)
        )
        return [_event(row) for row in rows]

    def in_effect(self, enrolment_id: str) -> list[JournalledEvent]:
        """What counts of each event: its newest modification, or while nobody decided on that the one before.

        A cancel counts before anyone decides on it. In the order the events came.
        """
        decided: dict[str, JournalledEvent] = {}
        rows = self._db.execute("SELECT * FROM events WHERE enrolment_id = ? ORDER BY rowid", (enrolment_id,))
        for found in map(_event, rows):
            event_id = found.event.event_id
            if found.decision is not None:
                decided[event_id] = found
            elif found.event.status is EventStatus.CANCELLED and event_id in decided:
                decided[event_id] = replace(found, decision=decided[event_id].decision)
        return list(decided.values())

    def unsettled(self, enrolment_id: str) -> list[JournalledEvent]:
        """Newest modifications that nobody decided on, or only the default opt did, in the order they came."""
        return [one for one in self.all(enrolment_id) if one.decision is None or one.provisional]

    def record(self, event: GridEvent, request_id: str) -> None:
        """A new event or modification, before anyone decides; an answer still owed to an older one is void."""
        with transaction(self._db) as db:
            db.execute(
                "INSERT INTO events (enrolment_id, event_id, modification_number, event, request_id)"
                " VALUES (?, ?, ?, ?, ?)",
                (*event.key, event.modification_number, GRID_EVENT.dump_json(event).decode(), request_id),
            )
            void(db, event.enrolment_id, answer_subject(event.event_id))
            void(db, event.enrolment_id, refusal_subject(event.event_id, event.modification_number))

    def replace(self, event: GridEvent) -> None:
        """The same modification turned out otherwise (cancelled by omission): it is to be decided on again."""
        with transaction(self._db) as db:
            db.execute(
                f"UPDATE events SET event = ?, decision = NULL, provisional = 0 WHERE {_THIS}",
                (GRID_EVENT.dump_json(event).decode(), *event.key, event.modification_number),
            )
            void(db, event.enrolment_id, answer_subject(event.event_id))

    def complete(self, event: GridEvent) -> None:
        """The VTN called it completed; what runs goes on to its own end (rule 66)."""
        with transaction(self._db) as db:
            db.execute(f"UPDATE events SET completed = 1 WHERE {_THIS}", (*event.key, event.modification_number))

    def decide(
        self,
        event: GridEvent,
        decision: Decision,
        *,
        provisional: bool,
        answer: bytes | None,
        opt: tuple[StoredOpt, bytes] | None = None,
    ) -> None:
        """Keep the decision and owe what tells the VTN, an oadrCreatedEvent or an oadrCreateOpt; all or nothing."""
        key = (*event.key, event.modification_number)
        with transaction(self._db) as db:
            db.execute(
                f"UPDATE events SET decision = ?, provisional = ? WHERE {_THIS}",
                (DECISION.dump_json(decision).decode(), provisional, *key),
            )
            if answer is not None:
                _owe_answer(db, *key, decision.opt, answer)
            if opt is not None:
                create_opt(db, event.enrolment_id, *opt)

    def reoffer(self, event: GridEvent, request_id: str, answer: tuple[OptType, bytes] | None) -> None:
        """The VTN sent a modification we know again; with ``answer`` it wants to hear again (rules 12 and 62)."""
        with transaction(self._db) as db:
            db.execute(
                f"UPDATE events SET request_id = ? WHERE {_THIS}", (request_id, *event.key, event.modification_number)
            )
            if answer is not None:
                _owe_answer(db, *event.key, event.modification_number, *answer)

    def refuse(self, enrolment_id: str, event_id: str, modification_number: int, opt: OptType, answer: bytes) -> None:
        """Owe an answer to an event that is not journalled: refused, or not to be run."""
        subject = refusal_subject(event_id, modification_number)
        with transaction(self._db) as db:
            _owe_answer(db, enrolment_id, event_id, modification_number, opt, answer, subject)

    def answered(self, seq: int, enrolment_id: str, event_id: str, modification_number: int, opt: OptType) -> None:
        """The VTN acknowledged the opt."""
        with transaction(self._db) as db:
            db.execute(
                f"UPDATE events SET answered = ? WHERE {_THIS}",
                (opt.value, enrolment_id, event_id, modification_number),
            )
            settle(db, seq)

    def told(self, enrolment_id: str) -> str | None:
        """What the listener was told last of what is in force."""
        row = self._db.execute("SELECT told FROM in_force WHERE enrolment_id = ?", (enrolment_id,)).fetchone()
        return None if row is None else row["told"]

    def tell(self, enrolment_id: str, told: str) -> None:
        """The listener has been told."""
        with transaction(self._db) as db:
            db.execute(
                "INSERT INTO in_force VALUES (?, ?) ON CONFLICT (enrolment_id) DO UPDATE SET told = excluded.told",
                (enrolment_id, told),
            )


def _owe_answer(
    db: sqlite3.Connection,
    enrolment_id: str,
    event_id: str,
    modification_number: int,
    opt: OptType,
    answer: bytes,
    subject: str | None = None,
) -> None:
    facts: dict[str, object] = {"event_id": event_id, "modification_number": modification_number, "opt": opt.value}
    owe(db, enrolment_id, Lane.ANSWERS, Kind.EVENT_ANSWER, subject or answer_subject(event_id), answer, facts)


def _event(row: sqlite3.Row) -> JournalledEvent:
    decision, answered = row["decision"], row["answered"]
    return JournalledEvent(
        event=GRID_EVENT.validate_json(row["event"]),
        request_id=row["request_id"],
        decision=None if decision is None else DECISION.validate_json(decision),
        provisional=bool(row["provisional"]),
        answered=None if answered is None else OptType(answered),
        completed=bool(row["completed"]),
    )
