"""The utility's book in one SQLite file, or in memory; the only place of the VTN with SQL.

Every message of a VEN and every wish of the operator is one transaction, committed before it is answered, so a VTN
that is killed goes on where it stood. Messages are kept as the bytes the codec makes of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from grid.events import OptType
from grid.intervals import EPOCH
from grid.journal import open_journal, transaction
from ven.simulation.records import (
    CalledEvent,
    HeldInterval,
    OptRecord,
    OptSchedule,
    RequestRecord,
    RequestState,
    VenRecord,
    WaitingMessage,
)
from ven.wire.event import DistributeEvent, WireEvent
from ven.wire.opt import CreateOpt
from ven.wire.payload import Message, decode, encode
from ven.wire.report import CreateReport, RegisterReport

IN_MEMORY = Path(":memory:")

_MIGRATIONS = (
    """
    CREATE TABLE vens (ven_id TEXT PRIMARY KEY, ven_name TEXT NOT NULL, fingerprint TEXT, registration_id TEXT,
        registered_at INTEGER NOT NULL, pull INTEGER NOT NULL, transport_address TEXT, report_only INTEGER NOT NULL,
        reports_created_at INTEGER, offer BLOB);
    CREATE INDEX vens_by_fingerprint ON vens (fingerprint);
    CREATE TABLE waiting (seq INTEGER PRIMARY KEY AUTOINCREMENT, ven_id TEXT NOT NULL, request_id TEXT NOT NULL,
        content BLOB, sent_at INTEGER);
    CREATE INDEX waiting_by_ven ON waiting (ven_id, seq);
    CREATE TABLE events (event_id TEXT PRIMARY KEY, ven_id TEXT NOT NULL, event BLOB NOT NULL, cancelled_at INTEGER,
        vanished INTEGER NOT NULL, ramp_s REAL NOT NULL, release_s REAL NOT NULL, granularity_s INTEGER NOT NULL,
        requested_kw REAL NOT NULL);
    CREATE INDEX events_by_ven ON events (ven_id);
    CREATE TABLE answers (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, ven_id TEXT NOT NULL,
        opt TEXT NOT NULL, modification_number INTEGER NOT NULL, at INTEGER NOT NULL, repeats INTEGER NOT NULL,
        code INTEGER NOT NULL, description TEXT NOT NULL);
    CREATE INDEX answers_by_event ON answers (event_id, seq);
    CREATE TABLE opts (ven_id TEXT NOT NULL, opt_id TEXT NOT NULL, message BLOB NOT NULL, received_at INTEGER NOT NULL,
        cancelled_at INTEGER, PRIMARY KEY (ven_id, opt_id));
    CREATE TABLE requests (report_request_id TEXT PRIMARY KEY, ven_id TEXT NOT NULL, request BLOB NOT NULL,
        state TEXT NOT NULL, asked_at INTEGER NOT NULL);
    CREATE INDEX requests_by_ven ON requests (ven_id);
    CREATE TABLE intervals (ven_id TEXT NOT NULL, report_request_id TEXT NOT NULL, rid TEXT NOT NULL,
        start INTEGER NOT NULL, duration_s REAL, value TEXT NOT NULL, kw REAL, quality TEXT,
        received_at INTEGER NOT NULL, duplicates INTEGER NOT NULL, conflicts INTEGER NOT NULL,
        PRIMARY KEY (ven_id, report_request_id, rid, start)) WITHOUT ROWID
    """,
)

M = TypeVar("M")


class Journal:
    """Rows in and out."""

    def __init__(self, path: Path | None) -> None:
        """Without a path nothing outlives the process. Raises JournalError."""
        self._db = open_journal(path or IN_MEMORY, _MIGRATIONS)

    def close(self) -> None:
        self._db.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """All of the body or none of it; durable when it returns."""
        return transaction(self._db)

    # --- VENs

    def put_ven(self, ven: VenRecord) -> None:
        self._put("vens", asdict(ven), "ven_id")

    def ven(self, ven_id: str) -> VenRecord | None:
        return next(iter(self._vens("WHERE ven_id = ?", ven_id)), None)

    def vens(self) -> list[VenRecord]:
        """In the order they first registered."""
        return self._vens("ORDER BY rowid")

    def vens_of(self, fingerprint: str | None) -> list[VenRecord]:
        return self._vens("WHERE fingerprint IS ? AND registration_id IS NOT NULL", fingerprint)

    def _vens(self, condition: str, *values: object) -> list[VenRecord]:
        return [
            VenRecord(
                ven_id=row["ven_id"],
                ven_name=row["ven_name"],
                fingerprint=row["fingerprint"],
                registration_id=row["registration_id"],
                registered_at=_instant(row["registered_at"]),
                pull=bool(row["pull"]),
                transport_address=row["transport_address"],
                report_only=bool(row["report_only"]),
                reports_created_at=_optional(row["reports_created_at"]),
            )
            for row in self._rows(f"SELECT * FROM vens {condition}", *values)  # noqa: S608
        ]

    def put_offer(self, ven_id: str, offer: RegisterReport) -> None:
        self._do("UPDATE vens SET offer = ? WHERE ven_id = ?", encode(offer), ven_id)

    def offer(self, ven_id: str) -> RegisterReport | None:
        """The metadata it registered last."""
        for row in self._rows("SELECT offer FROM vens WHERE ven_id = ? AND offer IS NOT NULL", ven_id):
            return _message(row["offer"], RegisterReport)
        return None

    # --- messages that wait

    def put_waiting(self, ven_id: str, request_id: str, content: bytes | None) -> None:
        self._do("INSERT INTO waiting (ven_id, request_id, content) VALUES (?, ?, ?)", ven_id, request_id, content)

    def next_waiting(self, ven_id: str, resend_before: datetime) -> WaitingMessage | None:
        """The oldest that was not sent, or was sent before ``resend_before`` and never answered."""
        return next(
            iter(
                self._waiting(
                    "WHERE ven_id = ? AND (sent_at IS NULL OR sent_at <= ?) ORDER BY seq LIMIT 1",
                    ven_id,
                    _us(resend_before),
                )
            ),
            None,
        )

    def waiting(self, ven_id: str) -> list[WaitingMessage]:
        """Oldest first."""
        return self._waiting("WHERE ven_id = ? ORDER BY seq", ven_id)

    def _waiting(self, condition: str, *values: object) -> list[WaitingMessage]:
        return [
            WaitingMessage(
                seq=row["seq"],
                ven_id=row["ven_id"],
                request_id=row["request_id"],
                content=row["content"],
                sent_at=_optional(row["sent_at"]),
            )
            for row in self._rows(f"SELECT * FROM waiting {condition}", *values)  # noqa: S608
        ]

    def sent_waiting(self, seq: int, sent_at: datetime) -> None:
        """An answer is awaited."""
        self._do("UPDATE waiting SET sent_at = ? WHERE seq = ?", _us(sent_at), seq)

    def drop_waiting(self, seq: int) -> None:
        self._do("DELETE FROM waiting WHERE seq = ?", seq)

    def drop_all_waiting(self, ven_id: str) -> None:
        self._do("DELETE FROM waiting WHERE ven_id = ?", ven_id)

    # --- events

    def put_event(self, called: CalledEvent) -> None:
        event = encode(DistributeEvent(request_id="", vtn_id="", events=(called.event,)))
        values = {
            "event_id": called.event.event_id,
            "ven_id": called.ven_id,
            "event": event,
            "cancelled_at": called.cancelled_at,
            "vanished": called.vanished,
            "ramp_s": called.ramp_s,
            "release_s": called.release_s,
            "granularity_s": called.granularity_s,
            "requested_kw": called.requested_kw,
        }
        self._put("events", values, "event_id")

    def event(self, event_id: str) -> CalledEvent | None:
        return next(iter(self._events("WHERE event_id = ?", event_id)), None)

    def events(self) -> list[CalledEvent]:
        return self._events("ORDER BY rowid")

    def events_of(self, ven_id: str) -> list[CalledEvent]:
        return self._events("WHERE ven_id = ? ORDER BY rowid", ven_id)

    def _events(self, condition: str, *values: object) -> list[CalledEvent]:
        return [
            CalledEvent(
                ven_id=row["ven_id"],
                event=_event(row["event"]),
                cancelled_at=_optional(row["cancelled_at"]),
                vanished=bool(row["vanished"]),
                ramp_s=row["ramp_s"],
                release_s=row["release_s"],
                granularity_s=row["granularity_s"],
                requested_kw=row["requested_kw"],
            )
            for row in self._rows(f"SELECT * FROM events {condition}", *values)  # noqa: S608
        ]

    def put_answer(self, event_id: str, answer: OptRecord) -> None:
        """Enter an answer; one like the last counts as its repeat."""
        for row in self._rows("SELECT * FROM answers WHERE event_id = ? ORDER BY seq DESC LIMIT 1", event_id):
            before = (row["ven_id"], row["opt"], row["modification_number"])
            if before == (answer.ven_id, answer.opt.value, answer.modification_number):
                self._do("UPDATE answers SET repeats = repeats + 1 WHERE seq = ?", row["seq"])
                return
        self._put("answers", {"event_id": event_id, **asdict(answer)}, "seq")

    def answers(self, event_id: str) -> list[OptRecord]:
        """Oldest first."""
        return [
            OptRecord(
                ven_id=row["ven_id"],
                opt=OptType(row["opt"]),
                modification_number=row["modification_number"],
                at=_instant(row["at"]),
                repeats=row["repeats"],
                code=row["code"],
                description=row["description"],
            )
            for row in self._rows("SELECT * FROM answers WHERE event_id = ? ORDER BY seq", event_id)
        ]

    # --- opts

    def put_opt(self, opt: OptSchedule) -> None:
        values = {
            "ven_id": opt.message.ven_id,
            "opt_id": opt.message.opt_id,
            "message": encode(opt.message),
            "received_at": opt.received_at,
            "cancelled_at": opt.cancelled_at,
        }
        self._put("opts", values, "ven_id, opt_id")

    def opts(self) -> list[OptSchedule]:
        return [
            OptSchedule(
                message=_message(row["message"], CreateOpt),
                received_at=_instant(row["received_at"]),
                cancelled_at=_optional(row["cancelled_at"]),
            )
            for row in self._rows("SELECT * FROM opts ORDER BY rowid")
        ]

    # --- report requests

    def put_request(self, record: RequestRecord) -> None:
        request = encode(CreateReport(request_id="", requests=(record.request,)))
        values = {
            "report_request_id": record.request.request_id,
            "ven_id": record.ven_id,
            "request": request,
            "state": record.state,
            "asked_at": record.asked_at,
        }
        self._put("requests", values, "report_request_id")

    def requests_of(self, ven_id: str, states: Sequence[RequestState]) -> list[RequestRecord]:
        """Those that stand so, oldest first."""
        marks = ", ".join("?" for _ in states)
        return self._requests(f"WHERE ven_id = ? AND state IN ({marks}) ORDER BY rowid", ven_id, *states)

    def request(self, report_request_id: str) -> RequestRecord | None:
        return next(iter(self._requests("WHERE report_request_id = ?", report_request_id)), None)

    def requests(self) -> list[RequestRecord]:
        return self._requests("ORDER BY rowid")

    def _requests(self, condition: str, *values: object) -> list[RequestRecord]:
        return [
            RequestRecord(
                ven_id=row["ven_id"],
                request=_message(row["request"], CreateReport).requests[0],
                state=RequestState(row["state"]),
                asked_at=_instant(row["asked_at"]),
            )
            for row in self._rows(f"SELECT * FROM requests {condition}", *values)  # noqa: S608
        ]

    # --- intervals

    def put_intervals(self, intervals: Iterable[HeldInterval]) -> None:
        """The first value of an interval counts; what comes after it is compared and counted."""
        self._db.executemany(
            "INSERT INTO intervals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT DO UPDATE SET "
            "duplicates = duplicates + (value IS excluded.value), "
            "conflicts = conflicts + (value IS NOT excluded.value)",
            [
                (
                    one.ven_id,
                    one.report_request_id,
                    one.rid,
                    _us(one.start),
                    one.duration_s,
                    one.value,
                    one.kw,
                    one.quality,
                    _us(one.received_at),
                )
                for one in intervals
            ],
        )

    def intervals(self, ven_id: str) -> list[HeldInterval]:
        """By report request, rID and start."""
        return [
            HeldInterval(**{**dict(row), "start": _instant(row["start"]), "received_at": _instant(row["received_at"])})
            for row in self._rows("SELECT * FROM intervals WHERE ven_id = ?", ven_id)
        ]

    def readings_kw(self, ven_id: str) -> dict[tuple[str, datetime], float]:
        """Mean kW by rID and start, of every report request together: the first that came counts."""
        rows = self._rows(
            "SELECT rid, start, kw FROM intervals WHERE ven_id = ? AND kw IS NOT NULL ORDER BY received_at DESC", ven_id
        )
        return {(row["rid"], _instant(row["start"])): row["kw"] for row in rows}

    def came_again(self, ven_id: str) -> int:
        """How many values were of an interval we had already."""
        (row,) = self._rows(
            "SELECT coalesce(sum(duplicates + conflicts), 0) AS n FROM intervals WHERE ven_id = ?", ven_id
        )
        return int(row["n"])

    # --- rows

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    def _do(self, sql: str, *values: object) -> None:
        self._db.execute(sql, values)

    def _put(self, table: str, values: dict[str, Any], key: str) -> None:
        columns = _columns(values)
        names = ", ".join(columns)
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
        self._db.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in columns)}) "  # noqa: S608
            f"ON CONFLICT ({key}) DO UPDATE SET {updates}",
            columns,
        )


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _us(value) if isinstance(value, datetime) else value for name, value in values.items()}


_MICROSECOND = timedelta(microseconds=1)


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND


def _instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def _optional(us: int | None) -> datetime | None:
    return None if us is None else _instant(us)


@lru_cache(maxsize=1024)
def _decoded(content: bytes) -> Message:
    # Messages are immutable, and the same few are read again and again.
    return decode(content)


def _message(content: bytes, kind: type[M]) -> M:
    message = _decoded(content)
    assert isinstance(message, kind)
    return message


def _event(content: bytes) -> WireEvent:
    (event,) = _message(content, DistributeEvent).events
    assert isinstance(event, WireEvent)
    return event
