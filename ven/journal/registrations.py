"""Registrations: identifiers that outlive restarts of either side."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from grid.journal import transaction
from ven.journal.opts import disown
from ven.records import Registration


class Registrations:
    """At most one an enrolment."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, enrolment_id: str) -> Registration | None:
        """The registration held, cancelled or not."""
        row = self._db.execute("SELECT * FROM registrations WHERE enrolment_id = ?", (enrolment_id,)).fetchone()
        if row is None:
            return None
        cancelled = row["cancelled_at"]
        return Registration(
            enrolment_id=row["enrolment_id"],
            vtn_id=row["vtn_id"],
            ven_id=row["ven_id"],
            registration_id=row["registration_id"],
            poll_interval_s=row["poll_interval_s"],
            registered_at=datetime.fromisoformat(row["registered_at"]),
            cancelled_at=None if cancelled is None else datetime.fromisoformat(cancelled),
        )

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

    def cancel(self, enrolment_id: str, at: datetime) -> None:
        """The registration ends: nothing is owed under it, and its report requests end with it."""
        with transaction(self._db) as db:
            db.execute(
                "UPDATE registrations SET cancelled_at = ? WHERE enrolment_id = ?", (at.isoformat(), enrolment_id)
            )
            db.execute("DELETE FROM outbox WHERE enrolment_id = ?", (enrolment_id,))
            db.execute("UPDATE report_requests SET ended = 1 WHERE enrolment_id = ?", (enrolment_id,))

    def allow(self, enrolment_id: str) -> None:
        """A person wants the VEN to register again."""
        with transaction(self._db) as db:
            db.execute("DELETE FROM registrations WHERE enrolment_id = ? AND cancelled_at IS NOT NULL", (enrolment_id,))
