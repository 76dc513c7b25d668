"""Registrations: identifiers that outlive restarts of either side."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from grid.journal import transaction
from ven.journal.opts import disown
from ven.journal.outbox import owe_reply, void
from ven.journal.reading import Reads
from ven.records import Kind, Registration

_SERVICE = "EiRegisterParty"
_CANCELLED = "registration"
"""What the outbox knows the reply to a cancel by."""


class Registrations:
    """At most one an enrolment."""

    def __init__(self, db: sqlite3.Connection, reads: Reads) -> None:
        self._db = db
        self._reads = reads

    def of(self, enrolment_id: str) -> Registration | None:
        """The registration held, cancelled or not."""
        found = self._reads.rows("SELECT * FROM registrations WHERE enrolment_id = ?", (enrolment_id,), _registration)
        return found[0] if found else None

    def register(self, registration: Registration) -> None:
        """Take a registration. Reports are to be offered again; what was owed under another venID is void.

        A VTN that gave us another registration has none of our opts.
        """
        key = registration.enrolment_id
        held = self.of(key)
        with transaction(self._db) as db:
            if held is not None and held.ven_id != registration.ven_id:
                db.execute("DELETE FROM outbox WHERE enrolment_id = ?", (key,))
            if held is None or held.registration_id != registration.registration_id:
                disown(db, key)
            db.execute("DELETE FROM registrations WHERE enrolment_id = ?", (key,))
            db.execute(
                "INSERT INTO registrations (enrolment_id, vtn_id, ven_id, registration_id, poll_interval_s,"
                " registered_at) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    key,
                    registration.vtn_id,
                    registration.ven_id,
                    registration.registration_id,
                    registration.poll_interval_s,
                    registration.registered_at.isoformat(),
                ),
            )

    def ask_anew(self, enrolment_id: str, reply: bytes | None) -> None:
        """The VTN wants a new registration, and is owed the reply; both or neither."""
        with transaction(self._db) as db:
            db.execute("UPDATE registrations SET asked_anew = 1 WHERE enrolment_id = ?", (enrolment_id,))
            if reply is not None:
                owe_reply(db, enrolment_id, "reregistration", _SERVICE, reply)

    def cancel(self, enrolment_id: str, at: datetime, reply: bytes | None = None) -> None:
        """The registration ends, and its report requests with it.

        Nothing is owed under it but the reply. That opts were cancelled is still owed to a VTN that takes us again.
        """
        with transaction(self._db) as db:
            db.execute(
                "UPDATE registrations SET cancelled_at = ? WHERE enrolment_id = ?", (at.isoformat(), enrolment_id)
            )
            db.execute("DELETE FROM outbox WHERE enrolment_id = ? AND kind != ?", (enrolment_id, Kind.CANCEL_OPT.value))
            db.execute("UPDATE report_requests SET ended = 1 WHERE enrolment_id = ?", (enrolment_id,))
            if reply is not None:
                owe_reply(db, enrolment_id, _CANCELLED, _SERVICE, reply)

    def allow(self, enrolment_id: str) -> None:
        """A person wants the VEN to register again: a late word about the former registration would confuse the VTN."""
        with transaction(self._db) as db:
            db.execute("DELETE FROM registrations WHERE enrolment_id = ? AND cancelled_at IS NOT NULL", (enrolment_id,))
            void(db, enrolment_id, _CANCELLED)


def _registration(row: sqlite3.Row) -> Registration:
    cancelled = row["cancelled_at"]
    return Registration(
        enrolment_id=row["enrolment_id"],
        vtn_id=row["vtn_id"],
        ven_id=row["ven_id"],
        registration_id=row["registration_id"],
        poll_interval_s=row["poll_interval_s"],
        registered_at=datetime.fromisoformat(row["registered_at"]),
        cancelled_at=None if cancelled is None else datetime.fromisoformat(cancelled),
        asked_anew=bool(row["asked_anew"]),
    )
