"""What an event delivered, as the utility counts it: from received reports alone, by whole report intervals.

The baseline is meter-before: each resource's mean over the intervals that end at or before dtstart and start no more
than ``baseline_s`` earlier. Energy is counted over the hold, which is the active period without its ramp. An interval
that is missing delivers nothing and shows in the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from grid.intervals import Interval
from grid.units import energy_kwh
from ven.simulation.received import Received
from ven.simulation.records import CalledEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceDelivery:
    """One resource's part."""

    baseline_kw: float | None
    """None when nothing was reported in the baseline window; then nothing counts as delivered."""
    delivered_kwh: float
    intervals_received: int
    missing: tuple[datetime, ...]
    """Starts of the expected intervals that were not received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event's sum."""

    intervals_expected: int
    intervals_received: int
    baseline_kw: float
    delivered_kwh: float
    complete_until: datetime | None
    """End of the last interval before the first one missing."""
    by_resource: dict[str, ResourceDelivery]


def delivery(event: CalledEvent, ven: Received, baseline_s: float, now: datetime) -> Delivery:
    """Count ``event`` by what ``ven`` reported so far; an event that is open, or was cancelled, ends there."""
    end = _end(event, now)
    expected = expected_intervals(event, ven, end)
    parts = {
        resource_id: _resource(event, ven, rid, expected, baseline_s, end) for rid, resource_id in ven.resources.items()
    }
    return Delivery(
        intervals_expected=len(expected) * len(ven.resources),
        intervals_received=sum(part.intervals_received for part in parts.values()),
        baseline_kw=sum(part.baseline_kw or 0.0 for part in parts.values()),
        delivered_kwh=sum(part.delivered_kwh for part in parts.values()),
        complete_until=_complete_until(ven, expected),
        by_resource=parts,
    )


def expected_intervals(event: CalledEvent, ven: Received, end: datetime) -> list[Interval]:
    """From the first grid boundary after oadrCreatedReport to the end of release after ``end``."""
    until = end + timedelta(seconds=event.release_s)
    if ven.reports_created_at is None or ven.reports_created_at >= until:
        return []
    return list(Interval(start=ven.reports_created_at, end=until).whole_steps(event.granularity_s))


def _end(event: CalledEvent, now: datetime) -> datetime:
    ends = [event.end or max(now, event.event.start)]
    if event.cancelled_at is not None:
        ends.append(max(event.cancelled_at, event.event.start))
    return min(ends)


def _resource(
    event: CalledEvent, ven: Received, rid: str, expected: Sequence[Interval], baseline_s: float, end: datetime
) -> ResourceDelivery:
    before = Interval(start=event.event.start - timedelta(seconds=baseline_s), end=event.event.start)
    hold = Interval(start=min(event.event.start + timedelta(seconds=event.ramp_s), end), end=end)
    baseline = _readings(ven, rid, before, event.granularity_s)
    held = _readings(ven, rid, hold, event.granularity_s)
    baseline_kw = sum(baseline) / len(baseline) if baseline else None
    missing = tuple(interval.start for interval in expected if (rid, interval.start) not in ven.readings_kw)
    delivered_kwh = 0.0
    if baseline_kw is not None:
        delivered_kwh = sum(energy_kwh(baseline_kw - kw, event.granularity_s) for kw in held)
    return ResourceDelivery(
        baseline_kw=baseline_kw,
        delivered_kwh=delivered_kwh,
        intervals_received=len(expected) - len(missing),
        missing=missing,
    )


def _readings(ven: Received, rid: str, within: Interval, step_s: float) -> list[float]:
    keys = [(rid, step.start) for step in within.whole_steps(step_s)]
    return [ven.readings_kw[key] for key in keys if key in ven.readings_kw]


def _complete_until(ven: Received, expected: Sequence[Interval]) -> datetime | None:
    until = None
    for interval in expected:
        if any((rid, interval.start) not in ven.readings_kw for rid in ven.resources):
            break
        until = interval.end
    return until
