"""The database: its schema, its refusals, its transactions and the audit inside them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.errors import StoreError
from aggregator.storage import audit
from aggregator.storage.store import Store, open_store
from aggregator.storage.tables import METADATA, audit_entries, audit_heads, sites
from grid.audit import export_line, verify
from grid.clock import VirtualClock
from grid.errors import AuditError


async def _export(store: Store) -> list[str]:
    async with store.reading() as connection:
        return [export_line(item) for item in await audit.page(connection, after=-1, until=1000)]


async def test_migrations_make_exactly_the_tables_the_code_uses(store: Store) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    async with store.reading() as connection:
        assert await connection.run_sync(differences) == []
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one() == 2
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"


async def test_a_newer_database_is_refused_with_what_to_do(
    tmp_path: Path, key: Ed25519PrivateKey, clock: VirtualClock
) -> None:
    path = tmp_path / "newer.sqlite"
    async with open_store(path, key, clock):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"newer Negawatt \(revision 9999.*upgrade Negawatt"):
        async with open_store(path, key, clock):
            pass


async def test_a_file_that_is_no_database_is_refused(
    tmp_path: Path, key: Ed25519PrivateKey, clock: VirtualClock
) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("this is no database " * 100)
    with pytest.raises(StoreError, match="check that it is ours"):
        async with open_store(path, key, clock):
            pass


async def test_a_failed_transaction_leaves_neither_the_fact_nor_its_entry(store: Store) -> None:
    async def half() -> None:
        async with store.transaction() as tx:
            await tx.connection.execute(update(sites).values(name="changed"))
            await tx.record(actor="test", action="site.renamed", subject="a", facts={"name": "changed"})
            raise RuntimeError("died here")

    with pytest.raises(RuntimeError):
        await half()
    async with store.reading() as connection:
        assert (await connection.execute(select(sites.c.name).where(sites.c.site_id == "a"))).scalar_one() == "Site A"
        assert await audit.count(connection) == 0


async def test_each_batch_ends_in_a_signed_head_and_the_chain_verifies(store: Store, key: Ed25519PrivateKey) -> None:
    for batch in (2, 3):
        async with store.transaction() as tx:
            for n in range(batch):
                await tx.record(actor="test", action="thing.done", subject=str(n), facts={"kw": 1.25, "ä": None})
    lines = await _export(store)
    held = verify(lines, key.public_key())
    assert (held.chain, held.entries, held.heads) == ("aggregator", 5, 2)
    altered = [line.replace("1.25", "1.26") if i == 3 else line for i, line in enumerate(lines)]
    with pytest.raises(AuditError, match="line 4"):
        verify(altered, key.public_key())


@pytest.mark.parametrize("table", [audit_entries, audit_heads])
@pytest.mark.parametrize("change", ["update", "delete"])
async def test_the_database_itself_refuses_to_change_the_audit(store: Store, table: Any, change: str) -> None:
    async with store.transaction() as tx:
        await tx.record(actor="test", action="thing.done", subject="x", facts={})

    async def tamper(connection: AsyncConnection) -> None:
        await connection.execute(delete(table) if change == "delete" else update(table).values(hash="0" * 64))

    with pytest.raises(IntegrityError, match="append-only"):
        async with store.transaction() as tx:
            await tamper(tx.connection)
    async with store.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 1
