"""What the meters said, by whole interval: from stored telemetry only, never filled.

An interval is complete when every one of its seconds is stored and measured. One that is not may still become so
(``PENDING``: the site's rows have not come that far) or never will (``MISSING``: later rows have come, and a spool
delivers in order). Reports, baselines and settlement all read here, so they cannot differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import fsum

from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.storage.store import Store
from aggregator.storage.telemetry import MeterRow, arrived_until, meter_rows
from grid.clock import Clock
from grid.intervals import Interval, floor_to
from ven.ports import Missing, Quality, Reading, ResourceState

SAMPLE_S = 1.0
"""The period of the meter stream."""

SILENT_S = 60.0
"""A site whose newest row is older is not online."""

ESTIMATED = frozenset({7, 8, 9, 10, 11, 12, 13})
"""ESPI quality codes of values that are edited, estimated, derived or doubtful: no measurement."""
GOOD = frozenset({0, 14, 17, 18, 19})
"""ESPI quality codes of plain measurements; others are measured but flagged."""


class Arrival(StrEnum):
    """Whether an interval's rows are all there."""

    COMPLETE = "complete"
    PENDING = "pending"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalMean:
    """One site over one interval."""

    interval: Interval
    arrival: Arrival
    kw: float | None
    """Mean of the meter, import positive; None unless complete."""
    flagged: bool = False
    """Some second of it carries a quality code that is not a plain measurement's."""


async def interval_means(
    connection: AsyncConnection, site_ids: Sequence[str], window: Interval, step_s: float
) -> dict[str, list[IntervalMean]]:
    """Every whole interval of the ``step_s`` grid inside ``window``, by site."""
    found: dict[str, list[IntervalMean]] = {}
    for site_id, rows in (await meter_rows(connection, site_ids, window)).items():
        arrived = await arrived_until(connection, site_id)
        by_step: defaultdict[datetime, list[MeterRow]] = defaultdict(list)
        for row in rows:
            by_step[floor_to(row.ts, step_s)].append(row)
        found[site_id] = [_mean(step, by_step[step.start], arrived) for step in window.whole_steps(step_s)]
    return found


def _mean(interval: Interval, rows: Sequence[MeterRow], arrived: datetime | None) -> IntervalMean:
    measured = {
        floor_to(row.ts, SAMPLE_S): row for row in rows if row.site_kw is not None and row.quality not in ESTIMATED
    }
    values = [row.site_kw for row in measured.values() if row.site_kw is not None]
    if len(values) >= interval.duration_s / SAMPLE_S:
        return IntervalMean(
            interval=interval,
            arrival=Arrival.COMPLETE,
            kw=fsum(values) / len(values),
            flagged=any(row.quality not in GOOD for row in measured.values()),
        )
    passed = arrived is not None and arrived >= interval.end - timedelta(seconds=SAMPLE_S)
    return IntervalMean(interval=interval, arrival=Arrival.MISSING if passed else Arrival.PENDING, kw=None)


class StoredReadings:
    """``ven.ports.ReportSource`` over stored telemetry."""

    def __init__(self, store: Store, site_of: Mapping[str, str], clock: Clock) -> None:
        """``site_of``: site_id by resource_id."""
        self._store = store
        self._clock = clock
        self._site_of = dict(site_of)

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | Missing | None]:
        """The mean power of each resource over one interval on the grid of its own length; None while pending."""
        site_of = {resource_id: self._site_of[resource_id] for resource_id in resource_ids}
        sites = sorted(set(site_of.values()))
        async with self._store.reading() as connection:
            rows = await meter_rows(connection, sites, interval)
            arrived = {site_id: await arrived_until(connection, site_id) for site_id in sites}
        means = {site_id: _mean(interval, rows[site_id], arrived[site_id]) for site_id in sites}
        return {resource_id: _reading(means[site_id]) for resource_id, site_id in site_of.items()}

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        """Online is what was heard of lately; a site never heard of is left out."""
        states = {}
        async with self._store.reading() as connection:
            for resource_id in resource_ids:
                arrived = await arrived_until(connection, self._site_of[resource_id])
                if arrived is not None:
                    silent_s = (self._clock.now() - arrived).total_seconds()
                    states[resource_id] = ResourceState(online=silent_s <= SILENT_S)
        return states


def _reading(mean: IntervalMean) -> Reading | Missing | None:
    if mean.kw is None:
        return Missing() if mean.arrival is Arrival.MISSING else None
    return Reading(kw=mean.kw, quality=Quality.UNCERTAIN if mean.flagged else Quality.GOOD)
