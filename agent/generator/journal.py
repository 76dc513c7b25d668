"""The hours each engine ran, by purpose and permit: durable, and reconciled with the engine's own hour meter.

A run is a row from the first second on; its end is moved as the hour meter counts, so a death loses nothing: what the
meter shows more when the agent is back belongs to the run that was open, and where none was, to nobody (UNASKED).
Rows are never deleted: an inspector may ask for years of them.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

from agent.generator.permits import WINDOW, Purpose
from grid.journal import open_journal, transaction
from grid.units import SECONDS_PER_HOUR

_MIGRATIONS = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, engine TEXT NOT NULL, permit TEXT NOT NULL, purpose TEXT NOT NULL,
        started TEXT NOT NULL, ended TEXT NOT NULL, from_s INTEGER NOT NULL, to_s INTEGER NOT NULL,
        open INTEGER NOT NULL CHECK (open IN (0, 1))
    ) STRICT;
    CREATE UNIQUE INDEX one_open_run ON run (engine) WHERE open = 1;
    CREATE INDEX run_by_end ON run (engine, ended);
    CREATE TRIGGER runs_are_kept BEFORE DELETE ON run BEGIN SELECT RAISE(ABORT, 'kept'); END;
    """,
)


class HoursLedger:
    """One engine's runs. ``run_s`` is the engine's hour meter in seconds throughout."""

    def __init__(self, connection: sqlite3.Connection, engine: str, permit: str) -> None:
        self._connection = connection
        self._engine = engine
        self._permit = permit

    @classmethod
    def open(cls, path: Path, *, engine: str, permit: str) -> HoursLedger:
        """Open the file or make it. Raises JournalError."""
        return cls(open_journal(path, _MIGRATIONS), engine, permit)

    def close(self) -> None:
        self._connection.close()

    def counted_to_s(self) -> int | None:
        """Where the hour meter stood when it was last written down; None before the first run."""
        row = self._connection.execute(
            "SELECT to_s FROM run WHERE engine = ? ORDER BY id DESC LIMIT 1", (self._engine,)
        ).fetchone()
        return None if row is None else int(row["to_s"])

    def running_for(self) -> Purpose | None:
        """The purpose of the open run; None when there is none."""
        row = self._connection.execute(
            "SELECT purpose FROM run WHERE engine = ? AND open = 1", (self._engine,)
        ).fetchone()
        return None if row is None else Purpose(row["purpose"])

    def begin(self, purpose: Purpose, run_s: int, at: datetime) -> None:
        """It runs for this from now on; a run that was open ends here."""
        with transaction(self._connection) as tx:
            self._count(tx, run_s, at)
            tx.execute("UPDATE run SET open = 0 WHERE engine = ?", (self._engine,))
            tx.execute(
                "INSERT INTO run (engine, permit, purpose, started, ended, from_s, to_s, open) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                (self._engine, self._permit, purpose, at.isoformat(), at.isoformat(), run_s, run_s),
            )

    def count(self, run_s: int, at: datetime) -> None:
        """The open run goes on."""
        with transaction(self._connection) as tx:
            self._count(tx, run_s, at)

    def end(self, run_s: int, at: datetime) -> None:
        """The engine stands."""
        with transaction(self._connection) as tx:
            self._count(tx, run_s, at)
            tx.execute("UPDATE run SET open = 0 WHERE engine = ?", (self._engine,))

    def add(self, purpose: Purpose, from_s: int, to_s: int, at: datetime) -> None:
        """Hours that were run while nobody wrote them down."""
        with transaction(self._connection) as tx:
            tx.execute(
                "INSERT INTO run (engine, permit, purpose, started, ended, from_s, to_s, open) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (self._engine, self._permit, purpose, at.isoformat(), at.isoformat(), from_s, to_s),
            )

    def used_h(self, at: datetime) -> dict[Purpose, float]:
        """Hours by purpose of runs that ended within the WINDOW before ``at``."""
        rows = self._connection.execute(
            "SELECT purpose, SUM(to_s - from_s) AS seconds FROM run WHERE engine = ? AND ended > ? GROUP BY purpose",
            (self._engine, (at - WINDOW).isoformat()),
        )
        return {Purpose(row["purpose"]): row["seconds"] / SECONDS_PER_HOUR for row in rows}

    def _count(self, tx: sqlite3.Connection, run_s: int, at: datetime) -> None:
        tx.execute(
            "UPDATE run SET to_s = ?, ended = ? WHERE engine = ? AND open = 1 AND to_s <= ?",
            (run_s, at.isoformat(), self._engine, run_s),
        )
