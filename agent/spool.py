"""Durable telemetry on its way to the aggregator: kept until acknowledged, in order, bounded.

A row is on disk before it is sent. Its key is (spool_id, stream, seq); spool_id is drawn when the file is made, so a
rebuilt spool cannot look like duplicates of the old one, and a stream's seq grows by one a row for the life of the
file, whatever was acknowledged or evicted. Past ``max_rows`` the oldest rows go first and are counted; the server
sees the gap on the next connection and records it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from grid.errors import JournalError
from grid.intervals import EPOCH, utc
from grid.journal import open_journal, transaction
from grid.messages import HighWater, TelemetryFrame

MAX_ROWS = 1_209_600
"""Two weeks of one-second rows."""
FRAME_ROWS = 120
MICROSECOND = timedelta(microseconds=1)

_log = structlog.get_logger()

_MIGRATIONS = (
    """
    CREATE TABLE spool (spool_id TEXT NOT NULL) STRICT;
    CREATE TABLE stream (
        stream TEXT PRIMARY KEY, next_seq INTEGER NOT NULL, evicted INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE row (
        stream TEXT NOT NULL, seq INTEGER NOT NULL, at_us INTEGER NOT NULL, quality INTEGER NOT NULL,
        columns TEXT NOT NULL, PRIMARY KEY (stream, seq)
    ) STRICT, WITHOUT ROWID;
    """,
)


class Spool:
    """The telemetry a site still owes."""

    def __init__(self, connection: sqlite3.Connection, site_id: str, max_rows: int) -> None:
        self._connection = connection
        self._site_id = site_id
        self._max_rows = max_rows
        self.overflowing = False
        """The newest row cost the oldest one, which was never acknowledged."""
        self.spool_id: str = connection.execute("SELECT spool_id FROM spool").fetchone()[0]

    @classmethod
    def open(cls, path: Path, site_id: str, *, max_rows: int = MAX_ROWS) -> Spool:
        """Open the file or make it. Raises JournalError."""
        connection = open_journal(path, _MIGRATIONS)
        with transaction(connection):
            if connection.execute("SELECT 1 FROM spool").fetchone() is None:
                connection.execute("INSERT INTO spool VALUES (?)", (secrets.token_hex(8),))
        return cls(connection, site_id, max_rows)

    def close(self) -> None:
        self._connection.close()

    def append(self, stream: str, at: datetime, columns: Mapping[str, float | None], quality: int = 0) -> int:
        """Keep one row, durably; returns its seq."""
        with transaction(self._connection) as tx:
            tx.execute("INSERT OR IGNORE INTO stream (stream, next_seq) VALUES (?, 0)", (stream,))
            (seq,) = tx.execute(
                "UPDATE stream SET next_seq = next_seq + 1 WHERE stream = ? RETURNING next_seq - 1", (stream,)
            ).fetchone()
            at_us = (utc(at) - EPOCH) // MICROSECOND
            tx.execute("INSERT INTO row VALUES (?, ?, ?, ?, ?)", (stream, seq, at_us, quality, json.dumps(columns)))
            gone = tx.execute("DELETE FROM row WHERE stream = ? AND seq <= ?", (stream, seq - self._max_rows)).rowcount
            if gone:
                tx.execute("UPDATE stream SET evicted = evicted + ? WHERE stream = ?", (gone, stream))
        self.overflowing = gone > 0
        return int(seq)

    def restamp(self, stream: str, *, from_seq: int, by: timedelta) -> None:
        """Rows from ``from_seq`` on were stamped by a clock that was ``by`` behind."""
        with transaction(self._connection) as tx:
            tx.execute(
                "UPDATE row SET at_us = at_us + ? WHERE stream = ? AND seq >= ?", (by // MICROSECOND, stream, from_seq)
            )

    def frame(self, stream: str, *, after: int, dt_s: float) -> TelemetryFrame | None:
        """The oldest rows beyond seq ``after`` that are ``dt_s`` apart, as one frame; None when there are none."""
        rows = self._connection.execute(
            "SELECT seq, at_us, quality, columns FROM row WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
            (stream, after, FRAME_ROWS),
        ).fetchall()
        if not rows:
            return None
        run = _evenly_spaced(rows, round(dt_s * 1e6))
        values = [json.loads(row["columns"]) for row in run]
        qualities = [row["quality"] for row in run]
        return TelemetryFrame(
            site_id=self._site_id,
            spool_id=self.spool_id,
            stream=stream,
            seq=run[0]["seq"],
            t0=EPOCH + run[0]["at_us"] * MICROSECOND,
            dt_s=dt_s,
            columns={name: [value[name] for value in values] for name in values[0]},
            quality=qualities if any(qualities) else [],
        )

    def acknowledge(self, stream: str, seq: int) -> None:
        """The server has committed everything up to and including ``seq``: forget it."""
        try:
            with transaction(self._connection) as tx:
                tx.execute("DELETE FROM row WHERE stream = ? AND seq <= ?", (stream, seq))
        except JournalError as error:
            # Every later acknowledgement, and the next connection's high-water mark, covers these rows too.
            _log.warning("acknowledged rows stay for now", site_id=self._site_id, why=str(error))

    def resume(self, stream: str, marks: Sequence[HighWater]) -> int:
        """Take what the server said at connect; returns the seq after which to send (-1: from the start)."""
        seq = max((m.seq for m in marks if m.spool_id == self.spool_id and m.stream == stream), default=-1)
        self.acknowledge(stream, seq)
        return seq

    def waiting(self) -> int:
        """Rows not yet acknowledged."""
        return int(self._connection.execute("SELECT count(*) FROM row").fetchone()[0])

    def evicted(self) -> int:
        """Rows that were dropped unsent because the spool was full."""
        return int(self._connection.execute("SELECT coalesce(sum(evicted), 0) FROM stream").fetchone()[0])


def _evenly_spaced(rows: Sequence[sqlite3.Row], step_us: int) -> list[sqlite3.Row]:
    """The first rows that follow each other in seq, in steps of ``step_us``, with the same columns."""
    run = [rows[0]]
    names = json.loads(rows[0]["columns"]).keys()
    for row in rows[1:]:
        last = run[-1]
        follows = row["seq"] == last["seq"] + 1 and row["at_us"] == last["at_us"] + step_us
        if not follows or json.loads(row["columns"]).keys() != names:
            break
        run.append(row)
    return run
