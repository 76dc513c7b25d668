"""Opts of ours over time or of one event: in force from the moment they are journalled."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from pydantic import TypeAdapter

from grid.journal import transaction
from ven.journal.outbox import owe, settle
from ven.records import Kind, Lane, OptState, StoredOpt

_OPT = TypeAdapter(StoredOpt)


def opt_subject(opt_id: str) -> str:
    """What the outbox knows messages about an opt by."""
    return f"opt:{opt_id}"


class Opts:
    """By enrolment and optID."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def all(self, enrolment_id: str) -> list[StoredOpt]:
        """In the order they were made."""
        rows = self._db.execute("SELECT opt FROM opts WHERE enrolment_id = ? ORDER BY rowid", (enrolment_id,))
        return [_OPT.validate_json(row["opt"]) for row in rows]

    def in_force(self, enrolment_id: str) -> list[StoredOpt]:
        """Those that were not cancelled; one that the VTN refused holds for us all the same."""
        return [one for one in self.all(enrolment_id) if one.state is not OptState.CANCELLED]

    def create(self, enrolment_id: str, opt: StoredOpt, message: bytes) -> None:
        """Keep the opt and owe the VTN its oadrCreateOpt."""
        with transaction(self._db) as db:
            create_opt(db, enrolment_id, opt, message)

    def cancel(self, enrolment_id: str, opt: StoredOpt, message: bytes) -> None:
        """Keep it as cancelled and owe the VTN an oadrCancelOpt, which may or may not have heard of it."""
        with transaction(self._db) as db:
            _keep(db, enrolment_id, opt)
            _owe(db, enrolment_id, Kind.CANCEL_OPT, opt, message)

    def settle(self, seq: int, enrolment_id: str, opt: StoredOpt) -> None:
        """The VTN took or refused a message about the opt, which stands as given now."""
        with transaction(self._db) as db:
            _keep(db, enrolment_id, opt)
            settle(db, seq)


def disown(db: sqlite3.Connection, enrolment_id: str) -> None:
    """The VTN has none of the opts over time any more. Inside the caller's transaction."""
    rows = db.execute("SELECT opt FROM opts WHERE enrolment_id = ?", (enrolment_id,)).fetchall()
    for opt in [_OPT.validate_json(row["opt"]) for row in rows]:
        if opt.event_id is None and opt.state is not OptState.CANCELLED:
            _keep(db, enrolment_id, replace(opt, state=OptState.OWED))


def create_opt(db: sqlite3.Connection, enrolment_id: str, opt: StoredOpt, message: bytes) -> None:
    """``Opts.create`` inside the caller's transaction."""
    _keep(db, enrolment_id, opt)
    _owe(db, enrolment_id, Kind.CREATE_OPT, opt, message)


def _owe(db: sqlite3.Connection, enrolment_id: str, kind: Kind, opt: StoredOpt, message: bytes) -> None:
    owe(db, enrolment_id, Lane.ANSWERS, kind, opt_subject(opt.opt_id), message, {"opt_id": opt.opt_id})


def _keep(db: sqlite3.Connection, enrolment_id: str, opt: StoredOpt) -> None:
    db.execute(
        "INSERT INTO opts VALUES (?, ?, ?, ?)"
        " ON CONFLICT (enrolment_id, opt_id) DO UPDATE SET opt = excluded.opt, state = excluded.state",
        (enrolment_id, opt.opt_id, _OPT.dump_json(opt).decode(), opt.state.value),
    )
