"""What the VENs of one gateway must not forget, in one SQLite file.

Registrations; every event before anyone decides on it, and the decision; opts; report requests with how far each has
been served; and the outbox: everything owed to a VTN as the exact bytes that were or will be sent (the signature goes
around them at the time). A row is durable when the method that writes it returns.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from grid.journal import open_journal
from ven.journal.events import Events
from ven.journal.opts import Opts
from ven.journal.outbox import Outbox
from ven.journal.reading import Reads
from ven.journal.registrations import Registrations
from ven.journal.reports import Reports
from ven.journal.tables import MIGRATIONS


class VenJournal:
    """Durable state by enrolment. Use one per file, from one event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._reads = Reads(connection)
        self.registrations = Registrations(connection, self._reads)
        self.events = Events(connection)
        self.opts = Opts(connection)
        self.reports = Reports(connection, self._reads)
        self.outbox = Outbox(connection, self._reads)

    @classmethod
    def open(cls, path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> VenJournal:
        """Raises JournalError."""
        return cls(open_journal(path, MIGRATIONS, factory))

    def refresh(self) -> None:
        """Notice what another process wrote, as ``negawatt ven enrol`` does."""
        self._reads.refresh()

    def close(self) -> None:
        """Release the file."""
        self._db.close()
