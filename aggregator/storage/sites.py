"""Sites in the database: who they are, what they can give, which audit heads of theirs we anchored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.storage.tables import capabilities, site_heads, sites
from grid.messages import AuditHead, Capability


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardCapability:
    """A site's latest capability and when we got it."""

    capability: Capability
    received_at: datetime


async def sync_sites(connection: AsyncConnection, names: Mapping[str, str]) -> None:
    """Make the table agree with the configuration; a site that left it keeps its history."""
    known = set((await connection.execute(select(sites.c.site_id))).scalars())
    for site_id, name in names.items():
        if site_id in known:
            await connection.execute(update(sites).where(sites.c.site_id == site_id).values(name=name))
        else:
            await connection.execute(insert(sites).values(site_id=site_id, name=name, revision_floor=0))


async def raise_revision_floor(connection: AsyncConnection, site_id: str, revision: int) -> None:
    """Never issue ``revision`` or less to the site again: it has journalled that one."""
    await connection.execute(
        update(sites)
        .where(sites.c.site_id == site_id, sites.c.revision_floor < revision)
        .values(revision_floor=revision)
    )


async def keep_capability(connection: AsyncConnection, capability: Capability, received_at: datetime) -> None:
    """Replace the site's capability."""
    await connection.execute(delete(capabilities).where(capabilities.c.site_id == capability.site_id))
    await connection.execute(
        insert(capabilities).values(
            site_id=capability.site_id, capability=capability.model_dump_json(), received_at=received_at
        )
    )


async def heard_capabilities(connection: AsyncConnection) -> dict[str, HeardCapability]:
    """The latest capability by site id."""
    rows = await connection.execute(select(capabilities))
    return {
        row.site_id: HeardCapability(
            capability=Capability.model_validate_json(row.capability), received_at=row.received_at
        )
        for row in rows
    }


async def anchored_head(connection: AsyncConnection, head: AuditHead) -> tuple[int, str] | None:
    """seq and hash of the newest head we hold of that chain under that key."""
    rows = await connection.execute(select(site_heads.c.seq, site_heads.c.hash).where(*_same_chain(head)))
    row = rows.one_or_none()
    return None if row is None else (row.seq, row.hash)


async def keep_head(connection: AsyncConnection, head: AuditHead) -> None:
    """Replace the head of that chain."""
    await connection.execute(delete(site_heads).where(*_same_chain(head)))
    await connection.execute(
        insert(site_heads).values(
            site_id=head.site_id, chain=head.chain, public_key=head.public_key, seq=head.seq, hash=head.hash
        )
    )


def _same_chain(head: AuditHead) -> tuple[ColumnElement[bool], ...]:
    return (
        site_heads.c.site_id == head.site_id,
        site_heads.c.chain == head.chain,
        site_heads.c.public_key == head.public_key,
    )
