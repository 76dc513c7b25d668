"""The meter-before baseline: what a site drew just before an event, as the level its reduction is counted from.

NAESB's meter before / meter after, the half before: the mean over the whole intervals that end at the event's
start. An interval whose telemetry is incomplete is left out and reported, never filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum

from aggregator.portfolio.programme import SettlementRules
from aggregator.telemetry import IntervalMean
from grid.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A baseline and what it stands on."""

    kw: float | None
    """None when no interval was complete."""
    used: int
    """Intervals in the mean."""
    missing: tuple[datetime, ...]
    """Starts of the intervals left out."""


def window_before(start: datetime, rules: SettlementRules) -> Interval:
    """Where the baseline of an event starting at ``start`` is measured."""
    return Interval(start=start - timedelta(seconds=rules.baseline_s), end=start)


def meter_before(means: Sequence[IntervalMean]) -> Baseline:
    """The mean of the complete intervals, which are equally long."""
    values = [mean.kw for mean in means if mean.kw is not None]
    return Baseline(
        kw=fsum(values) / len(values) if values else None,
        used=len(values),
        missing=tuple(mean.interval.start for mean in means if mean.kw is None),
    )
