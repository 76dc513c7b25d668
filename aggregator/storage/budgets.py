"""Site budgets in the database, and the outbox that holds each until its site acknowledged it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.portfolio.commitment import Commitment
from aggregator.storage.tables import budgets, outbox, sites
from grid.messages import BudgetAck, SiteBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedBudget:
    """One revision of a site's budget and why it exists."""

    budget: SiteBudget
    commitment_id: int
    purpose: str
    baseline_kw: float
    owed_kw: float
    acked_at: datetime | None = None
    accepted: bool | None = None
    refusal: str | None = None


async def next_revision(connection: AsyncConnection, site_id: str) -> int:
    """Higher than any revision issued to the site, or ever shown by it."""
    issued = select(func.max(budgets.c.revision)).where(budgets.c.site_id == site_id)
    floor = select(sites.c.revision_floor).where(sites.c.site_id == site_id)
    newest: int | None = (await connection.execute(issued)).scalar_one()
    shown: int = (await connection.execute(floor)).scalar_one()
    return max(newest or 0, shown) + 1


async def newest_budget(connection: AsyncConnection, site_id: str) -> IssuedBudget | None:
    """The site's budget: its highest revision."""
    query = select(budgets).where(budgets.c.site_id == site_id).order_by(budgets.c.revision.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _issued(row)


async def budgets_of(connection: AsyncConnection, owed: list[Commitment]) -> list[IssuedBudget]:
    """Every revision issued for these commitments, oldest first."""
    query = (
        select(budgets)
        .where(budgets.c.commitment_id.in_([c.commitment_id for c in owed]))
        .order_by(budgets.c.issued_at, budgets.c.site_id, budgets.c.revision)
    )
    return [_issued(row) for row in await connection.execute(query)]


async def issue(connection: AsyncConnection, issued: IssuedBudget) -> None:
    """Store a new revision and put it into the outbox in place of any older one."""
    budget = issued.budget
    text = budget.model_dump_json()
    await connection.execute(
        insert(budgets).values(
            site_id=budget.site_id,
            revision=budget.revision,
            commitment_id=issued.commitment_id,
            purpose=issued.purpose,
            budget=text,
            baseline_kw=issued.baseline_kw,
            owed_kw=issued.owed_kw,
            issued_at=budget.issued_at,
        )
    )
    await connection.execute(delete(outbox).where(outbox.c.site_id == budget.site_id))
    await connection.execute(
        insert(outbox).values(
            site_id=budget.site_id, revision=budget.revision, message=text, created_at=budget.issued_at
        )
    )


async def unacknowledged(connection: AsyncConnection, site_id: str) -> SiteBudget | None:
    """What the site must still be sent."""
    rows = await connection.execute(select(outbox.c.message).where(outbox.c.site_id == site_id))
    text = rows.scalar_one_or_none()
    return None if text is None else SiteBudget.model_validate_json(text)


async def acknowledge(connection: AsyncConnection, ack: BudgetAck, at: datetime) -> bool:
    """Note a site's answer and empty its outbox of that revision; False when it was noted before or is unknown."""
    noted = await connection.execute(
        update(budgets)
        .where(budgets.c.site_id == ack.site_id, budgets.c.revision == ack.revision, budgets.c.acked_at.is_(None))
        .values(acked_at=at, accepted=ack.accepted, refusal=ack.reason or None)
    )
    await connection.execute(delete(outbox).where(outbox.c.site_id == ack.site_id, outbox.c.revision == ack.revision))
    return noted.rowcount == 1


def _issued(row: Row[Any]) -> IssuedBudget:
    return IssuedBudget(
        budget=SiteBudget.model_validate_json(row.budget),
        commitment_id=row.commitment_id,
        purpose=row.purpose,
        baseline_kw=row.baseline_kw,
        owed_kw=row.owed_kw,
        acked_at=row.acked_at,
        accepted=row.accepted,
        refusal=row.refusal,
    )
