"""The aggregator's database: opened, migrated, one writer, and the audit in every transaction that states a fact.

``transaction`` is all or nothing and durable when it returns (SQLite: WAL, synchronous=FULL, one writer
connection); the entries recorded in it and the signed head over them are in it too. Readers never wait for the
writer. The SQL itself is in the modules beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aggregator.errors import StoreError
from aggregator.storage import audit
from grid.clock import Clock

BUSY_TIMEOUT_MS = 5000
READERS = 4
WRITER_PRAGMAS = (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
READER_PRAGMAS = (f"busy_timeout={BUSY_TIMEOUT_MS}", "query_only=ON")


class Transaction:
    """One durable step: statements on ``connection``, facts in ``record``."""

    def __init__(self, connection: AsyncConnection, clock: Clock) -> None:
        self.connection = connection
        self._clock = clock
        self.recorded = 0

    async def record(self, *, actor: str, action: str, subject: str, facts: Mapping[str, Any]) -> None:
        """Append to the audit chain what this transaction makes true. ``facts`` holds only JSON values."""
        at = self._clock.now()
        await audit.append(self.connection, at=at, actor=actor, action=action, subject=subject, facts=facts)
        self.recorded += 1


class ReadableStore:
    """The open database, to be read. Made by ``open_for_reading``."""

    def __init__(self, readers: AsyncEngine) -> None:
        self._readers = readers

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view of what is committed. There are READERS of them: be short, never wait for anybody."""
        async with self._readers.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Give every connection back to the system."""
        await self._readers.dispose()


class Store(ReadableStore):
    """The open database. Made by ``open_store``."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine, key: Ed25519PrivateKey, clock: Clock) -> None:
        super().__init__(readers)
        self._writer = writer
        self._key = key
        self._clock = clock
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """All of the body's changes and audit entries, or none; durable on return. One at a time: be short."""
        async with self._turn, self._writer.begin() as connection:
            transaction = Transaction(connection, self._clock)
            yield transaction
            if transaction.recorded:
                await audit.seal(connection, self._key)

    async def close(self) -> None:
        await super().close()
        await self._writer.dispose()


@asynccontextmanager
async def open_store(path: Path, key: Ed25519PrivateKey, clock: Clock) -> AsyncIterator[Store]:
    """Open or create the database and bring it up to date. ``key`` signs the audit heads.

    Raises StoreError when it cannot be opened or a newer Negawatt wrote it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    writer = _engine(path, connections=1, begin="BEGIN IMMEDIATE", pragmas=WRITER_PRAGMAS)
    store = Store(writer, _readers(path), key, clock)
    try:
        try:
            async with writer.begin() as connection:
                await connection.run_sync(_migrate, path)
        except DBAPIError as error:
            raise StoreError(f"cannot open {path}: {error.orig}; check that it is ours and can be written") from error
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_for_reading(path: Path) -> AsyncIterator[ReadableStore]:
    """Open an existing database as it is: nothing is migrated or written.

    Raises StoreError when it cannot be opened or another Negawatt wrote it.
    """
    store = ReadableStore(_readers(path))
    try:
        try:
            async with store.reading() as connection:
                await connection.run_sync(_check_revision, path)
        except DBAPIError as error:
            raise StoreError(f"cannot open {path}: {error.orig}; check that it is ours and can be read") from error
        yield store
    finally:
        await store.close()


def _readers(path: Path) -> AsyncEngine:
    return _engine(path, connections=READERS, begin="BEGIN", pragmas=READER_PRAGMAS)


def _engine(path: Path, *, connections: int, begin: str, pragmas: Sequence[str]) -> AsyncEngine:
    """An engine whose transactions are the database's own, not the driver's guess (SQLAlchemy, SQLite dialect)."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=connections, max_overflow=0)
    _listen(engine.sync_engine, begin, pragmas)
    return engine


def _listen(engine: Engine, begin: str, pragmas: Sequence[str]) -> None:
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _migrate(connection: Connection, path: Path) -> None:
    """Apply what is missing. Raises StoreError for a database from the future."""
    config = _migrations(connection)
    _refuse_newer(config, _revision(connection), path)
    command.upgrade(config, "head")


def _check_revision(connection: Connection, path: Path) -> None:
    """Raises StoreError for a database that this Negawatt's statements do not fit."""
    config, found = _migrations(connection), _revision(connection)
    _refuse_newer(config, found, path)
    if found != (current := ScriptDirectory.from_config(config).get_current_head()):
        raise StoreError(
            f"{path} is of an older Negawatt (revision {found}, this one reads {current}): read it with that one, or "
            "start the aggregator once, which brings it up to date"
        )


def _migrations(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "aggregator.storage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(config: Config, found: str | None, path: Path) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"{path} was written by a newer Negawatt (revision {found}, this one knows up to {max(known)}): "
            "upgrade Negawatt, or restore a backup made before that upgrade"
        )
