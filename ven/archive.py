"""Every message as it was on the wire, for a while: what an integrator or an auditor asks for by requestID.

Rows are compressed and written in one go every second, apart from the journal: an archive must not slow down what
must not be lost, and loses at most that second when the process dies.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from grid.clock import Clock
from grid.journal import open_journal, transaction

FLUSH_S = 1.0
SWEEP_S = 3600.0
RETENTION_DAYS = 90.0

_MIGRATIONS = (
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        enrolment_id TEXT NOT NULL,
        sent INTEGER NOT NULL,
        service TEXT NOT NULL,
        name TEXT NOT NULL,
        content BLOB NOT NULL
    );
    CREATE INDEX messages_at ON messages (at);
    CREATE TABLE request_ids (
        request_id TEXT NOT NULL,
        message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE
    );
    CREATE INDEX request_ids_by_id ON request_ids (request_id);
    CREATE INDEX request_ids_by_message ON request_ids (message)
    """,
)

_REQUEST_ID = re.compile(rb"<(?:[\w.-]+:)?requestID(?:\s[^>]*)?>([^<]*)<")
_NAME = re.compile(rb"<(?:[\w.-]+:)?oadrSignedObject(?:\s[^>]*)?>\s*<(?:[\w.-]+:)?(oadr\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedMessage:
    """One message."""

    at: datetime
    enrolment_id: str
    sent: bool
    """By us."""
    service: str
    """Last part of the endpoint's path, or push."""
    name: str
    """E.g. oadrPoll; empty when it is none of OpenADR's."""
    content: bytes


class Archive:
    """One file of messages."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, retention_days: float) -> None:
        self._db = connection
        self._clock = clock
        self._retention = timedelta(days=retention_days)
        self._waiting: list[ArchivedMessage] = []

    @classmethod
    def open(cls, path: Path, clock: Clock, retention_days: float = RETENTION_DAYS) -> Archive:
        """Raises JournalError."""
        connection = open_journal(path, _MIGRATIONS)
        connection.execute("PRAGMA synchronous=NORMAL")
        return cls(connection, clock, retention_days)

    def close(self) -> None:
        """Write what waits and release the file."""
        self.flush()
        self._db.close()

    def record(self, enrolment_id: str, *, sent: bool, service: str, content: bytes) -> None:
        """Keep one message; it is in the file within a second."""
        found = _NAME.search(content)
        self._waiting.append(
            ArchivedMessage(
                at=self._clock.now(),
                enrolment_id=enrolment_id,
                sent=sent,
                service=service,
                name="" if found is None else found[1].decode(),
                content=content,
            )
        )

    async def run(self) -> None:
        """Write and sweep until cancelled."""
        swept_s = self._clock.monotonic() - SWEEP_S
        while True:
            await self._clock.sleep(FLUSH_S)
            self.flush()
            if self._clock.monotonic() - swept_s >= SWEEP_S:
                swept_s = self._clock.monotonic()
                self._sweep()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with transaction(self._db) as db:
            for message in waiting:
                row = db.execute(
                    "INSERT INTO messages (at, enrolment_id, sent, service, name, content) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        message.at.isoformat(),
                        message.enrolment_id,
                        message.sent,
                        message.service,
                        message.name,
                        zlib.compress(message.content, 1),
                    ),
                ).lastrowid
                ids = dict.fromkeys(found.decode("utf-8", "replace") for found in _REQUEST_ID.findall(message.content))
                db.executemany("INSERT INTO request_ids VALUES (?, ?)", [(one, row) for one in ids if one])

    def find(self, request_id: str) -> Iterator[ArchivedMessage]:
        """Every message that carries the requestID, in order."""
        return self._rows("id IN (SELECT message FROM request_ids WHERE request_id = ?) ORDER BY id", (request_id,))

    def latest(self, count: int) -> Iterator[ArchivedMessage]:
        """The newest messages, in order."""
        return self._rows("id > (SELECT coalesce(max(id), 0) FROM messages) - ? ORDER BY id", (count,))

    def _rows(self, condition: str, values: tuple[object, ...]) -> Iterator[ArchivedMessage]:
        for row in self._db.execute(f"SELECT * FROM messages WHERE {condition}", values):  # noqa: S608
            yield ArchivedMessage(
                at=datetime.fromisoformat(row["at"]),
                enrolment_id=row["enrolment_id"],
                sent=bool(row["sent"]),
                service=row["service"],
                name=row["name"],
                content=zlib.decompress(row["content"]),
            )

    def _sweep(self) -> None:
        with transaction(self._db) as db:
            db.execute("DELETE FROM messages WHERE at < ?", ((self._clock.now() - self._retention).isoformat(),))
