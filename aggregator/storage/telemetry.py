"""Telemetry in the database: rows once and only once, and the mark that says how far each stream has come.

The mark of (site, spool, stream) moves in the insert's own transaction, so a row acknowledged is a row stored and a
frame sent twice adds nothing. Two spools of one site that claim the same second: the first one stored stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_new
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.storage.tables import high_water, telemetry
from grid.intervals import Interval
from grid.messages import METER_COLUMNS, HighWater, TelemetryFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRow:
    """One stored second of a site's meter."""

    ts: datetime
    site_kw: float | None
    quality: int


async def mark_of(connection: AsyncConnection, site_id: str, spool_id: str, stream: str) -> int | None:
    """The last committed sequence number of a stream, None before its first row."""
    rows = await connection.execute(select(high_water.c.seq).where(*_key(site_id, spool_id, stream)))
    return rows.scalar_one_or_none()


async def marks(connection: AsyncConnection, site_id: str) -> tuple[HighWater, ...]:
    """What we have of every stream of a site."""
    rows = await connection.execute(select(high_water).where(high_water.c.site_id == site_id))
    return tuple(HighWater(spool_id=row.spool_id, stream=row.stream, seq=row.seq) for row in rows)


async def store_rows(connection: AsyncConnection, frame: TelemetryFrame, *, after: int | None) -> int:
    """Insert the rows of ``frame`` beyond sequence number ``after`` and move the mark; returns the new mark."""
    first = 0 if after is None else max(0, after + 1 - frame.seq)
    if first >= frame.rows:
        assert after is not None
        return after
    nothing: list[float | None] = [None] * frame.rows
    rows = [
        {
            "ts": frame.time_of(i),
            "site_id": frame.site_id,
            "quality": frame.quality[i] if frame.quality else 0,
            **{name: frame.columns.get(name, nothing)[i] for name in METER_COLUMNS},
        }
        for i in range(first, frame.rows)
    ]
    await connection.execute(insert_new(telemetry).on_conflict_do_nothing(), rows)
    mark, last_ts = frame.seq + frame.rows - 1, frame.time_of(frame.rows - 1)
    key = _key(frame.site_id, frame.spool_id, frame.stream)
    if after is not None:
        await connection.execute(update(high_water).where(*key).values(seq=mark, last_ts=last_ts))
    else:
        await connection.execute(
            insert(high_water).values(
                site_id=frame.site_id, spool_id=frame.spool_id, stream=frame.stream, seq=mark, last_ts=last_ts
            )
        )
    return mark


async def meter_rows(
    connection: AsyncConnection, site_ids: Sequence[str], window: Interval
) -> dict[str, list[MeterRow]]:
    """The stored seconds of each site in ``window``, in order of time."""
    query = (
        select(telemetry.c.ts, telemetry.c.site_id, telemetry.c.site_kw, telemetry.c.quality)
        .where(telemetry.c.ts >= window.start, telemetry.c.ts < window.end, telemetry.c.site_id.in_(site_ids))
        .order_by(telemetry.c.ts)
    )
    found: dict[str, list[MeterRow]] = {site_id: [] for site_id in site_ids}
    for row in await connection.execute(query):
        found[row.site_id].append(MeterRow(ts=row.ts, site_kw=row.site_kw, quality=row.quality))
    return found


async def arrived_until(connection: AsyncConnection, site_id: str) -> datetime | None:
    """The time of the newest row a site's spools delivered; they deliver in order."""
    query = select(func.max(high_water.c.last_ts)).where(high_water.c.site_id == site_id)
    found: datetime | None = (await connection.execute(query)).scalar_one()
    return found


def _key(site_id: str, spool_id: str, stream: str) -> tuple[ColumnElement[bool], ...]:
    return (high_water.c.site_id == site_id, high_water.c.spool_id == spool_id, high_water.c.stream == stream)
