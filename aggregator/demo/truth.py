"""What really happened at a site, by the plant's own log.

The agent's word counts for nothing here: the rows are one-second true means at the meter, written by the process
that owns the physics. All figures are over half-open intervals of whole seconds; power in kW.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from pathlib import Path
from statistics import fmean

from aggregator.demo.errors import DemoError
from grid.intervals import Interval

MEAN_OVER_S = 5
"""Tracking is judged on means of this many seconds."""
SETTLED_WITHIN = 0.02
"""A mean counts as settled within this share of the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueSecond:
    """One second of truth."""

    start: datetime
    site_kw: float
    battery_kw: float
    """Discharge > 0."""
    caps_kw: float
    """Reduction at the meter that caps cause."""


def read_truth(path: Path, interval: Interval) -> list[TrueSecond]:
    """The seconds inside ``interval``. Raises DemoError when one is missing."""
    seconds: list[TrueSecond] = []
    with path.open() as log:
        for line in log:
            if not line.endswith("\n"):
                break  # the plant is writing it
            row = json.loads(line)
            start = datetime.fromisoformat(row["t"])
            if start in interval:
                seconds.append(
                    TrueSecond(
                        start=start, site_kw=row["site_kw"], battery_kw=row["battery_kw"], caps_kw=row["caps_kw"]
                    )
                )
    if len(seconds) != round(interval.duration_s):
        raise DemoError(f"{path} holds {len(seconds)} of {interval.duration_s:.0f} seconds: was the plant held up?")
    return seconds


def means_kw(seconds: Sequence[TrueSecond], over_s: int = MEAN_OVER_S) -> list[float]:
    """Consecutive means at the meter; a shorter rest at the end is left out."""
    starts = range(0, len(seconds) - over_s + 1, over_s)
    return [fmean(s.site_kw for s in seconds[k : k + over_s]) for k in starts]


def tracking_rmse_pct(hold: Sequence[TrueSecond], limit_kw: float, baseline_kw: float) -> float:
    """Root mean square of (5-s mean - limit), in percent of the baseline."""
    errors = [mean - limit_kw for mean in means_kw(hold)]
    return 100.0 * sqrt(fmean(e * e for e in errors)) / baseline_kw


def seconds_over_limit(hold: Sequence[TrueSecond], limit_kw: float) -> int:
    """How many one-second true means lie above the limit."""
    return sum(s.site_kw > limit_kw for s in hold)


def settle_s(active: Sequence[TrueSecond], limit_kw: float, baseline_kw: float) -> float | None:
    """Seconds from the first row to the first 5-s mean from which all later ones stay within 2% of the baseline.

    ``active`` starts at dtstart and ends with the hold, whose limit is the reference; None when even the last mean
    is outside.
    """
    settled_from: int | None = None
    for index, mean in enumerate(means_kw(active)):
        if abs(mean - limit_kw) > SETTLED_WITHIN * baseline_kw:
            settled_from = None
        elif settled_from is None:
            settled_from = index
    return None if settled_from is None else float(settled_from * MEAN_OVER_S)


def caps_share(hold: Sequence[TrueSecond]) -> float | None:
    """Share of caps in what caps and battery took off the meter; None where they took nothing.

    Against what the site would have drawn at the time, not against the baseline: the load's own drift since then is
    no reduction, and would make shares of well over one.
    """
    caps_kw = fmean(s.caps_kw for s in hold)
    reduction_kw = caps_kw + fmean(s.battery_kw for s in hold)
    return caps_kw / reduction_kw if reduction_kw > 0 else None


def most_battery_kw(seconds: Sequence[TrueSecond]) -> float:
    """The largest power of the battery, charging or discharging."""
    return max(abs(s.battery_kw) for s in seconds)
