"""The durable files: a transaction is all or nothing, also when it is its commit that fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from grid.errors import JournalError
from grid.journal import open_journal, transaction

MIGRATIONS = (
    """
    CREATE TABLE parents (id INTEGER PRIMARY KEY);
    CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)
    """,
)


def test_a_failed_commit_leaves_no_transaction_open(tmp_path: Path) -> None:
    connection = open_journal(tmp_path / "journal.sqlite", MIGRATIONS)
    with pytest.raises(sqlite3.IntegrityError), transaction(connection) as tx:
        tx.execute("INSERT INTO children VALUES (7)")
    with transaction(connection) as tx:
        tx.execute("INSERT INTO parents VALUES (1)")
    assert [row[0] for row in connection.execute("SELECT id FROM parents")] == [1]
    assert connection.execute("SELECT count(*) FROM children").fetchone()[0] == 0
    connection.close()


def test_a_failed_body_rolls_back_and_keeps_its_error(tmp_path: Path) -> None:
    connection = open_journal(tmp_path / "journal.sqlite", MIGRATIONS)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), transaction(connection) as tx:
        tx.executemany("INSERT INTO parents VALUES (?)", [(1,), (2,), (2,)])
    assert connection.execute("SELECT count(*) FROM parents").fetchone()[0] == 0
    connection.close()


def test_a_full_disk_is_an_error_of_ours_and_passes(tmp_path: Path) -> None:
    connection = open_journal(tmp_path / "journal.sqlite", MIGRATIONS)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with (
        pytest.raises(JournalError, match=r"journal.sqlite takes no change .*full.*: free space"),
        transaction(connection) as tx,
    ):
        tx.executemany("INSERT INTO parents VALUES (?)", [(k,) for k in range(10_000)])
    connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    with transaction(connection) as tx:
        tx.execute("INSERT INTO parents VALUES (1)")
    assert connection.execute("SELECT count(*) FROM parents").fetchone()[0] == 1
    connection.close()
