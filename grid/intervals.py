"""Half-open UTC intervals and the whole-second grids that meters and reports lie on.

An interval holds its start and not its end, so neighbours never share an instant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(moment: datetime) -> datetime:
    """``moment`` in UTC; a naive datetime raises ``ValueError``."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone: times are aware and in UTC")
    return moment.astimezone(UTC)


def floor_to(moment: datetime, step_s: float) -> datetime:
    """The last boundary of the ``step_s`` grid (from 1970-01-01 UTC) at or before ``moment``."""
    steps = (utc(moment) - EPOCH) // timedelta(seconds=step_s)
    return EPOCH + steps * timedelta(seconds=step_s)


def ceil_to(moment: datetime, step_s: float) -> datetime:
    """The first boundary of the ``step_s`` grid at or after ``moment``."""
    floored = floor_to(moment, step_s)
    return floored if floored == utc(moment) else floored + timedelta(seconds=step_s)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Interval:
    """``[start, end)`` in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", utc(self.start))
        object.__setattr__(self, "end", utc(self.end))
        if self.end < self.start:
            raise ValueError(f"an interval ends before it starts: {self.start} .. {self.end}")

    @classmethod
    def lasting(cls, start: datetime, seconds: float) -> Interval:
        return cls(start=start, end=start + timedelta(seconds=seconds))

    @property
    def duration_s(self) -> float:
        return (self.end - self.start).total_seconds()

    @property
    def hours(self) -> float:
        return self.duration_s / 3600.0

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def intersection(self, other: Interval) -> Interval | None:
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Interval(start=start, end=end) if start < end else None

    def steps(self, step_s: float) -> Iterator[Interval]:
        """Consecutive pieces of ``step_s`` seconds; the last one is cut at ``end``."""
        step = timedelta(seconds=step_s)
        for k in range(math.ceil(self.duration_s / step_s)):
            yield Interval(start=self.start + k * step, end=min(self.start + (k + 1) * step, self.end))

    def whole_steps(self, step_s: float) -> Iterator[Interval]:
        """The pieces of the ``step_s`` grid that lie entirely inside."""
        first, last = ceil_to(self.start, step_s), floor_to(self.end, step_s)
        if first < last:
            yield from Interval(start=first, end=last).steps(step_s)
