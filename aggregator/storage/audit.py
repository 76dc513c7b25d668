"""The audit chain in the database: one writer, linked in the order of its transactions, sealed by signed heads.

Called inside the transaction that makes the fact true. The chain and its check are ``grid.audit``'s; triggers keep
the two tables append-only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Row, and_, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.storage.tables import audit_entries, audit_heads
from grid.audit import AuditEntry, AuditHead, canonical, link, sign_head

CHAIN = "aggregator"
PAGE = 1000
"""Entries a reader takes at a time."""


async def append(
    connection: AsyncConnection, *, at: datetime, actor: str, action: str, subject: str, facts: Mapping[str, Any]
) -> AuditEntry:
    """Link one entry to the newest one."""
    entry = link(await newest(connection), chain=CHAIN, at=at, actor=actor, action=action, subject=subject, facts=facts)
    await connection.execute(
        insert(audit_entries).values(
            chain=entry.chain,
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            facts=canonical(entry.facts).decode(),
            previous=entry.previous,
            hash=entry.hash,
        )
    )
    return entry


async def seal(connection: AsyncConnection, key: Ed25519PrivateKey) -> None:
    """Sign the newest entry: the end of this transaction's batch."""
    entry = await newest(connection)
    assert entry is not None
    head = sign_head(entry, key)
    await connection.execute(
        insert(audit_heads).values(chain=head.chain, seq=head.seq, hash=head.hash, signature=head.signature)
    )


async def newest(connection: AsyncConnection) -> AuditEntry | None:
    """The last entry of the chain, or None."""
    query = select(audit_entries).where(audit_entries.c.chain == CHAIN)
    rows = await connection.execute(query.order_by(audit_entries.c.seq.desc()).limit(1))
    row = rows.one_or_none()
    return None if row is None else _entry(row)


async def count(connection: AsyncConnection) -> int:
    """How many entries the chain has."""
    return int((await connection.execute(select(func.count()).select_from(audit_entries))).scalar_one())


async def page(connection: AsyncConnection, *, after: int, until: int) -> list[AuditEntry | AuditHead]:
    """The next PAGE entries after ``after`` and up to ``until``, in order, each head after the entry it signs."""
    query = (
        select(audit_entries, audit_heads.c.signature)
        .outerjoin(audit_heads, and_(audit_heads.c.chain == CHAIN, audit_heads.c.seq == audit_entries.c.seq))
        .where(audit_entries.c.chain == CHAIN, audit_entries.c.seq > after, audit_entries.c.seq <= until)
        .order_by(audit_entries.c.seq)
        .limit(PAGE)
    )
    found: list[AuditEntry | AuditHead] = []
    for row in await connection.execute(query):
        entry = _entry(row)
        found.append(entry)
        if row.signature is not None:
            found.append(AuditHead(chain=entry.chain, seq=entry.seq, hash=entry.hash, signature=row.signature))
    return found


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        chain=row.chain,
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        facts=json.loads(row.facts),
        previous=row.previous,
        hash=row.hash,
    )
