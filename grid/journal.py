"""How every durable SQLite file of ours is opened.

WAL with synchronous=FULL: a committed row survives the death of the process and of the machine. ``user_version``
counts the migrations applied; a file from a newer Negawatt is refused, never guessed at. The owners
(``ven/journal.py``, ``agent/journal.py``, ``agent/spool.py``) keep the SQL; this module only opens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grid.errors import JournalError


def open_journal(
    path: Path, migrations: Sequence[str], factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open or create the file and bring it to ``len(migrations)``; rows come back as ``sqlite3.Row``.

    ``factory`` makes the connection, e.g. one that dies at a commit to prove that nothing is lost. Each migration is
    one script of statements, applied once, in order, each in its own transaction.
    Raises JournalError when the file cannot be opened, is not ours, or is newer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=factory)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=5000")
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    except (sqlite3.Error, OSError) as error:
        raise JournalError(
            f"cannot open {path}: {error}; check that the folder is writable and the file is ours"
        ) from error
    if found > len(migrations):
        connection.close()
        raise JournalError(
            f"{path} was written by a newer Negawatt (version {found}, this one reads up to {len(migrations)}): "
            "upgrade Negawatt, or move the file away to start afresh"
        )
    try:
        for version, script in enumerate(migrations[found:], start=found + 1):
            connection.executescript(f"BEGIN;\n{script};\nPRAGMA user_version={version};\nCOMMIT;")
    except sqlite3.Error as error:
        connection.close()
        raise JournalError(f"cannot bring {path} to version {len(migrations)}: {error}") from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of the body's statements or none; durable when it returns. Raises JournalError when the disk refuses."""
    try:
        with _all_or_none(connection):
            yield connection
    except sqlite3.OperationalError as error:
        file = connection.execute("PRAGMA database_list").fetchone()["file"]
        raise JournalError(
            f"{file} takes no change ({error}): free space on its disk, or make it writable again"
        ) from error


@contextmanager
def _all_or_none(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself where the disk was full.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
