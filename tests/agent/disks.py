"""Disks that take no change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.generator.journal import HoursLedger
from agent.journal import AgentJournal
from agent.spool import Spool


@contextmanager
def read_only(*owners: AgentJournal | Spool | HoursLedger) -> Iterator[None]:
    """SQLite itself refuses every change of their files."""
    for owner in owners:
        owner._connection.execute("PRAGMA query_only = ON")
    yield
    for owner in owners:
        owner._connection.execute("PRAGMA query_only = OFF")
