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
    """Connections that die as ``order`` says and take nothing from the ``removed`` method."""

    class DeadlyConnection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, parameters)
            write = writing_method()
            order.reached(f"{BEFORE} {write}")
            cursor = super().execute("ROLLBACK" if write == removed else sql)
            order.reached(f"{AFTER} {write}")
            return cursor

    return DeadlyConnection


def writing_method() -> str:
    """The journal's method in whose transaction we are."""
    frame = sys._getframe(1)
    while "/ven/journal/" not in frame.f_code.co_filename:
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
