"""What a journal says over and over, read once: sessions ask the same few questions at every poll.

An answer holds until a row changes through this connection, whoever changes it, or until ``refresh`` finds that
another process wrote to the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Reads:
    """The answers of one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._kept: dict[tuple[str, tuple[str, ...]], list[Any]] = {}
        self._changes = 0
        self._version = 0

    def rows(self, query: str, values: tuple[str, ...], make: Callable[[sqlite3.Row], T]) -> list[T]:
        """What the query finds, each row as a value that nobody changes."""
        if self._db.in_transaction:
            # It may yet be rolled back.
            return [make(row) for row in self._db.execute(query, values)]
        if self._changes != self._db.total_changes:
            self._changes = self._db.total_changes
            self._kept.clear()
        kept = self._kept.get((query, values))
        if kept is None:
            kept = self._kept[query, values] = [make(row) for row in self._db.execute(query, values)]
        return list(kept)

    def refresh(self) -> None:
        """Notice what another process wrote."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._kept.clear()
