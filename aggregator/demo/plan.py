"""What a demo event is: its times, what the utility asks for, and who is killed in it. Pure.

Ramp, release, baseline and grid are the programme's data; how much the utility asks for, when and for how long is
the utility's own choice and stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.portfolio.programme import shipped
from grid.intervals import Interval, floor_to

DISPATCHED = "demo-dispatch"
STANDBY = "demo-standby"
"""The programme of the single-site VENs; never dispatched, so that no kW is sold twice."""
SHARE = 0.20
"""Of the portfolio's draw, as the utility sees it."""
LEAD_S = 15.0
HOLD_S = 90.0
LAST_ROW_WITHIN_S = 2.0
"""How long a second may have ended before its row is durable at the site: a kill may lose it."""
DEAD_MAN_S = 11.0
"""By then a battery whose agent died rests: its dead-man of 10 s, and the last write before the kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPlan:
    """Durations of the event, by the programme and the utility."""

    ramp_s: float
    hold_s: float
    release_s: float
    baseline_s: float
    interval_s: float
    """The grid of reports, baseline and energy."""

    @property
    def active_s(self) -> float:
        return self.ramp_s + self.hold_s


def event_plan() -> EventPlan:
    """The plan of the programme that is dispatched."""
    programme = shipped(DISPATCHED)
    assert programme.dispatch is not None
    assert programme.settlement is not None
    return EventPlan(
        ramp_s=programme.dispatch.ramp_s,
        hold_s=HOLD_S,
        release_s=programme.dispatch.release_s,
        baseline_s=programme.settlement.baseline_s,
        interval_s=programme.settlement.interval_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The event's instants, from its dtstart."""

    start: datetime
    plan: EventPlan

    @property
    def active(self) -> Interval:
        return Interval.lasting(self.start, self.plan.active_s)

    @property
    def hold(self) -> Interval:
        return Interval.lasting(self.start + timedelta(seconds=self.plan.ramp_s), self.plan.hold_s)

    @property
    def release_end(self) -> datetime:
        return self.active.end + timedelta(seconds=self.plan.release_s)

    @property
    def free_from(self) -> datetime:
        """A site keeps under its rebound limit for one more release ramp after its budget; then its caps are gone."""
        return self.release_end + timedelta(seconds=self.plan.release_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What a person asked for: SIGKILL a site's agent during the event."""

    site_id: str
    after_s: float
    """Seconds after dtstart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A kill that happened. The restart comes after the release, so the rest of the event has no readings."""

    site_id: str
    killed_at: datetime
    """The agent was dead by then."""
    restarted_at: datetime
    """It was started anew not before then."""

    def dead(self, timeline: Timeline) -> tuple[datetime, ...]:
        """Starts of the intervals that hold a second the agent did not live to meter: they must be missing."""
        return self._from(self.killed_at, timeline)

    def doubtful(self, timeline: Timeline) -> tuple[datetime, ...]:
        """Starts of those whose last second may have died with the agent: they may be missing."""
        since = self.killed_at - timedelta(seconds=LAST_ROW_WITHIN_S)
        return tuple(start for start in self._from(since, timeline) if start not in self.dead(timeline))

    def resting(self) -> Interval | None:
        """The whole seconds over which the battery must rest; None when the restart came first."""
        start = floor_to(self.killed_at + timedelta(seconds=DEAD_MAN_S + 1), 1.0)
        end = floor_to(self.restarted_at, 1.0)
        return Interval(start=start, end=end) if start < end else None

    def _from(self, moment: datetime, timeline: Timeline) -> tuple[datetime, ...]:
        step_s = timeline.plan.interval_s
        first = floor_to(moment, step_s)
        if first >= timeline.release_end:
            return ()
        return tuple(step.start for step in Interval(start=first, end=timeline.release_end).whole_steps(step_s))
