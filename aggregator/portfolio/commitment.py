"""A commitment: what the aggregator owes for one event, over which times, and which site owes how much of it.

Values only, which dispatch makes, storage keeps and settlement reads. The kW owed never change once awarded; only a
new modification of the event replaces them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from aggregator.portfolio.programme import Programme
from grid.intervals import Interval


class State(StrEnum):
    """Where a commitment stands."""

    AWARDED = "awarded"
    """Owed; its budgets are in force or will be."""
    RELEASED = "released"
    """Over before its hold began: cancelled, or replaced by a modification. Nothing is settled."""
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When what is owed. All UTC."""

    start: datetime
    """dtstart of the event; the meter-before baseline ends here."""
    ramp_start: datetime
    """Where the way down begins: ``start``, or later where a running event was modified."""
    hold_start: datetime
    hold_end: datetime
    release_end: datetime

    @property
    def hold(self) -> Interval:
        """The full reduction is owed and paid over this."""
        return Interval(start=self.hold_start, end=self.hold_end)

    @property
    def whole(self) -> Interval:
        return Interval(start=self.ramp_start, end=self.release_end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """One site's part of a commitment."""

    site_id: str
    owed_kw: float
    baseline_kw: float
    """The forecast made at the award; once ``settled``, the meter-before mean that turned the delta into a limit."""
    settled: bool = False

    @property
    def limit_kw(self) -> float:
        return self.baseline_kw - self.owed_kw


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What the aggregator owes for one modification of an event."""

    commitment_id: int
    enrolment_id: str
    event_id: str
    modification_number: int
    state: State
    committed_kw: float
    timeline: Timeline
    awards: tuple[Award, ...]
    programme: Programme
    """The rules as they were when this was committed."""
    created_at: datetime

    @property
    def dispatch_id(self) -> str:
        """What budget intervals name as the dispatch they serve."""
        return f"{self.enrolment_id}/{self.event_id}"

    def award_of(self, site_id: str) -> Award:
        return next(award for award in self.awards if award.site_id == site_id)
