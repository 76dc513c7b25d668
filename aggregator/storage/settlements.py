"""Settlement runs in the database: each version with the inputs it was made from, neither ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.storage.tables import settlements


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRun:
    """One version of a commitment's settlement. ``inputs`` and ``statement`` are canonical JSON."""

    commitment_id: int
    version: int
    status: str
    inputs: str
    statement: str
    made_at: datetime


async def keep_run(connection: AsyncConnection, run: SettlementRun) -> None:
    """Store a new version."""
    await connection.execute(
        insert(settlements).values(
            commitment_id=run.commitment_id,
            version=run.version,
            status=run.status,
            inputs=run.inputs,
            statement=run.statement,
            made_at=run.made_at,
        )
    )


async def runs(connection: AsyncConnection) -> list[SettlementRun]:
    """Every run, oldest first."""
    query = select(settlements).order_by(settlements.c.made_at, settlements.c.commitment_id, settlements.c.version)
    return [
        SettlementRun(
            commitment_id=row.commitment_id,
            version=row.version,
            status=row.status,
            inputs=row.inputs,
            statement=row.statement,
            made_at=row.made_at,
        )
        for row in await connection.execute(query)
    ]
