"""What is owed to the VTN: the bytes to send, journalled in the transaction of the fact that made them owed."""

from __future__ import annotations

import json
import sqlite3

from grid.journal import transaction
from ven.journal.reading import Reads
from ven.records import Kind, Lane, Owed


def owe(
    db: sqlite3.Connection,
    enrolment_id: str,
    lane: Lane,
    kind: Kind,
    subject: str,
    payload: bytes,
    facts: dict[str, object],
) -> None:
    """Inside the caller's transaction. Of answers to one subject only the newest is owed."""
    if lane is Lane.ANSWERS:
        void(db, enrolment_id, subject)
    db.execute(
        "INSERT INTO outbox (enrolment_id, lane, kind, subject, payload, facts) VALUES (?, ?, ?, ?, ?, ?)",
        (enrolment_id, lane.value, kind.value, subject, payload, json.dumps(facts)),
    )


def owe_reply(db: sqlite3.Connection, enrolment_id: str, subject: str, service: str, payload: bytes) -> None:
    """A message to the endpoint of ``service`` that changes nothing once it is acknowledged."""
    owe(db, enrolment_id, Lane.ANSWERS, Kind.REPLY, subject, payload, {"service": service})


def void(db: sqlite3.Connection, enrolment_id: str, subject: str) -> None:
    """Answers to the subject are owed no longer. Inside the caller's transaction."""
    db.execute(
        "DELETE FROM outbox WHERE enrolment_id = ? AND lane = ? AND subject = ?",
        (enrolment_id, Lane.ANSWERS.value, subject),
    )


def settle(db: sqlite3.Connection, seq: int) -> None:
    """The VTN took the message, or refused it for good. Inside the caller's transaction."""
    db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))


class Outbox:
    """What every VEN owes."""

    def __init__(self, db: sqlite3.Connection, reads: Reads) -> None:
        self._db = db
        self._reads = reads

    def owed(self, enrolment_id: str, lane: Lane) -> list[Owed]:
        """Oldest first."""
        query = "SELECT * FROM outbox WHERE enrolment_id = ? AND lane = ? ORDER BY seq"
        return self._reads.rows(query, (enrolment_id, lane.value), _owed)

    def oldest(self, enrolment_id: str, lane: Lane) -> Owed | None:
        """What to send next."""
        row = self._db.execute(
            "SELECT * FROM outbox WHERE enrolment_id = ? AND lane = ? ORDER BY seq LIMIT 1", (enrolment_id, lane.value)
        ).fetchone()
        return None if row is None else _owed(row)

    def count(self, enrolment_id: str, lane: Lane) -> int:
        """How many messages wait for the VTN."""
        counted: int = self._db.execute(
            "SELECT count(*) FROM outbox WHERE enrolment_id = ? AND lane = ?", (enrolment_id, lane.value)
        ).fetchone()[0]
        return counted

    def reply(self, enrolment_id: str, subject: str, service: str, payload: bytes) -> None:
        """Owe a reply that no other fact goes with."""
        with transaction(self._db) as db:
            owe_reply(db, enrolment_id, subject, service, payload)

    def settle(self, seq: int) -> None:
        """The VTN took the message, or refused it for good."""
        with transaction(self._db) as db:
            settle(db, seq)


def _owed(row: sqlite3.Row) -> Owed:
    return Owed(
        seq=row["seq"],
        kind=Kind(row["kind"]),
        subject=row["subject"],
        payload=row["payload"],
        facts=json.loads(row["facts"]),
    )
