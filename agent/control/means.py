"""How far to aim off the target so that means, which are what settles, come out on it.

Single seconds of a site are noisy, and their mean is only as good as what is left of an interval makes up for what
has been. So the accumulated error is spread over the seconds left: of the current minute within wide bounds, of the
whole budget interval within narrow ones. Making up for a mean that is too low never spends more of the margin than
a share, or one minute would pay for another by going over the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from grid.intervals import Interval, floor_to

MINUTE_S = 60.0
SHORTEST_MINUTE_S = 5.0
SHORTEST_INTERVAL_S = 10.0
"""An error is never spread over less."""
MARGIN_SPENT = 0.5


@dataclass(slots=True)
class _Mean:
    """One period's accumulated error. Unit: kW s."""

    period: Interval
    error_kws: float = 0.0

    def observe(self, covers: Interval, error_kw: float) -> None:
        if self.period.start <= covers.start and covers.end <= self.period.end:
            self.error_kws += error_kw * covers.duration_s

    def spread_kw(self, now: datetime, shortest_s: float) -> float:
        return self.error_kws / max(shortest_s, (self.period.end - now).total_seconds())


class MeanControl:
    """Of the interval in force."""

    def __init__(self, *, minute_max: float, interval_max: float) -> None:
        self._minute_max, self._interval_max = minute_max, interval_max
        self._minute: _Mean | None = None
        self._interval: _Mean | None = None

    def move_to(self, interval: Interval | None, now: datetime) -> None:
        """What is in force now; None ends it."""
        if interval is None:
            self._minute = self._interval = None
            return
        if self._interval is None or self._interval.period.start != interval.start:
            self._interval = _Mean(interval)
        start = floor_to(now, MINUTE_S)
        minute = Interval(start=max(start, interval.start), end=min(start + timedelta(seconds=MINUTE_S), interval.end))
        if self._minute is None or self._minute.period != minute:
            self._minute = _Mean(minute)

    def observe(self, covers: Interval, error_kw: float) -> None:
        """A metered second and how far it was above its target."""
        for mean in (self._minute, self._interval):
            if mean is not None:
                mean.observe(covers, error_kw)

    def correction_kw(self, now: datetime, *, baseline_kw: float, margin_kw: float) -> float:
        """How far below the target to aim."""
        if self._minute is None or self._interval is None:
            return 0.0
        most_kw = self._interval_max * baseline_kw
        least_kw = min(most_kw, MARGIN_SPENT * margin_kw)
        long_kw = min(most_kw, max(-least_kw, self._interval.spread_kw(now, SHORTEST_INTERVAL_S)))
        if self._minute.period == self._interval.period:
            long_kw = 0.0
        most_kw = self._minute_max * baseline_kw
        short_kw = min(most_kw, max(-most_kw, self._minute.spread_kw(now, SHORTEST_MINUTE_S)))
        return short_kw + long_kw
