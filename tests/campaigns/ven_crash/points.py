"""The named points at which a VEN is killed: before and after every journal write and every send.

Nothing in the product knows of them. A write is seen by the connection at its COMMIT, and belongs to the method of
``ven.journal`` whose frame is nearest; a send is seen by the transport.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

BEFORE, AFTER = "before", "after"

WRITES = (
    "Registrations.register",
    "Registrations.cancel",
    "Registrations.allow",
    "Registrations.ask_anew",
    "Events.record",
    "Events.replace",
    "Events.complete",
    "Events.decide",
    "Events.reoffer",
    "Events.refuse",
    "Events.answered",
    "Events.tell",
    "Opts.create",
    "Opts.cancel",
    "Opts.settle",
    "Reports.record_offer",
    "Reports.record_requests",
    "Reports.confirm",
    "Reports.end",
    "Reports.record_data",
    "Reports.record_metadata",
    "Outbox.reply",
    "Outbox.settle",
)
"""Every method of the journal that writes; a test holds them against its source."""

STATEMENTS = (
    "Registrations.register: INSERT registrations",
    "Registrations.cancel: UPDATE registrations",
    "Registrations.cancel: UPDATE report_requests",
    "Registrations.cancel: INSERT outbox",
    "Registrations.ask_anew: UPDATE registrations",
    "Registrations.ask_anew: INSERT outbox",
    "Events.record: INSERT events",
    "Events.decide: UPDATE events",
    "Events.decide: INSERT outbox",
    "Events.decide: INSERT opts",
    "Events.reoffer: UPDATE events",
    "Events.reoffer: INSERT outbox",
    "Events.answered: UPDATE events",
    "Events.answered: DELETE outbox",
    "Opts.create: INSERT opts",
    "Opts.create: INSERT outbox",
    "Opts.cancel: INSERT opts",
    "Opts.cancel: INSERT outbox",
    "Opts.settle: INSERT opts",
    "Opts.settle: DELETE outbox",
    "Reports.record_offer: UPDATE registrations",
    "Reports.record_offer: UPDATE report_requests",
    "Reports.record_offer: INSERT report_requests",
    "Reports.end: UPDATE report_requests",
    "Reports.end: INSERT outbox",
    "Reports.record_data: INSERT outbox",
    "Reports.record_data: UPDATE report_requests",
    "Reports.record_metadata: INSERT outbox",
    "Reports.record_metadata: UPDATE report_requests",
)
"""The parts of the writes that have several.

Those that only void a message which has come too late (in ``Registrations.cancel`` and ``allow``, ``Events.record`` and
``replace``) are not here: nothing is wrong at a VTN that ignores such a message, as ours does.
"""

SENDS = (
    "oadrQueryRegistration",
    "oadrCreatePartyRegistration",
    "oadrCancelPartyRegistration",
    "oadrCanceledPartyRegistration",
    "oadrResponse",
    "oadrPoll",
    "oadrRequestEvent",
    "oadrCreatedEvent",
    "oadrRegisterReport",
    "oadrRegisteredReport",
    "oadrCreatedReport",
    "oadrCanceledReport",
    "oadrUpdateReport",
    "oadrCreateOpt",
    "oadrCancelOpt",
)
"""Every message that a pull VEN sends."""

POINTS = tuple(f"{when} {what}" for what in (*WRITES, *SENDS) for when in (BEFORE, AFTER))

OFTEN = ("Reports.record_data", "oadrUpdateReport", "Outbox.settle", "oadrPoll", "Events.record", "Events.decide")
"""What happens several times in the life that is to die of it."""

_NOTHING = ("SELECT 1 WHERE 0", ())
_CHANGE = re.compile(r"^\s*(INSERT|UPDATE|DELETE) (?:INTO |FROM )?(\w+)")
_NAME = re.compile(rb"<(?:[\w.-]+:)?oadrSignedObject(?:\s[^>]*)?>\s*<(?:[\w.-]+:)?(oadr\w+)")
_SIGNED_OBJECT = re.compile(rb"<(?:[\w.-]+:)?oadrSignedObject.*</(?:[\w.-]+:)?oadrSignedObject>", re.DOTALL)


@dataclass(kw_only=True)
class Order:
    """Where to die, and how often to pass there first."""

    point: str | None = None
    skip: int = 0

    def reached(self, point: str) -> None:
        """Die if it is here."""
        if point == self.point:
            if self.skip == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.skip -= 1


def connection(order: Order, removed: str | None) -> type[sqlite3.Connection]:
    """Connections that die as ``order`` says and take nothing from the ``removed`` method, or not that statement."""

    class DeadlyConnection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(*(_NOTHING if self._is_removed(sql) else (sql, parameters)))
            write = writing_method()
            order.reached(f"{BEFORE} {write}")
            cursor = super().execute("ROLLBACK" if write == removed else sql)
            order.reached(f"{AFTER} {write}")
            return cursor

        def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
            return super().execute(*_NOTHING) if self._is_removed(sql) else super().executemany(sql, parameters)

        def _is_removed(self, sql: str) -> bool:
            found = _CHANGE.search(sql)
            if removed is None or found is None:
                return False
            return removed == f"{writing_method()}: {found[1]} {found[2]}"

    return DeadlyConnection


def writing_method() -> str:
    """The journal's method in whose transaction we are."""
    frame = sys._getframe(1)
    while "/ven/journal/" not in frame.f_code.co_filename or "." not in frame.f_code.co_qualname:
        assert frame.f_back is not None, "a transaction outside the journal"
        frame = frame.f_back
    return frame.f_code.co_qualname


def message_name(content: bytes) -> str:
    """Of a message as it goes over the wire."""
    found = _NAME.search(content)
    assert found is not None, content[:200]
    return found[1].decode()


def signed_object(content: bytes) -> bytes:
    """The part of a message that a signature covers and a repetition repeats."""
    found = _SIGNED_OBJECT.search(content)
    assert found is not None, content[:200]
    return found[0]
