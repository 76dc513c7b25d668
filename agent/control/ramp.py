"""Which ceiling holds when: the budget's intervals, then the release ramp back to the baseline.

The ceiling never jumps upwards on its own: when a budget ends, is cancelled or is released because the link is
lost, it climbs in a straight line over the budget's ``release_ramp_s`` to just above the baseline the event
started from, and only then is the site free. A schedule that begins while that ramp would be running, because its
process was restarted, takes it up where it is. A budget is not executed from its ``not_after`` on, whatever else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.control.readings import Mode
from grid.intervals import Interval, floor_to
from grid.messages import BudgetInterval, OnLinkLoss, SiteBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A straight way back."""

    period: Interval
    from_kw: float
    to_kw: float

    def limit_at(self, moment: datetime) -> float:
        share = (moment - self.period.start).total_seconds() / self.period.duration_s
        return self.from_kw + (self.to_kw - self.from_kw) * min(1.0, max(0.0, share))


def interval_in_force(budget: SiteBudget | None, now: datetime, *, link_lost: bool) -> BudgetInterval | None:
    """The interval to execute at ``now``, by the budget and what it says about a lost link."""
    if budget is None or now >= budget.not_after:
        return None
    if link_lost and budget.on_link_loss is OnLinkLoss.RELEASE:
        return None
    interval = budget.at(now)
    if interval is None and link_lost and budget.on_link_loss is OnLinkLoss.HOLD and budget.intervals:
        last = budget.intervals[-1]
        if now >= last.end:
            return last.model_copy(update={"start": last.end, "end": budget.not_after, "ramp_from_kw": None})
    return interval


class TargetSchedule:
    """The ceiling in force, second by second."""

    def __init__(self, *, rebound: float) -> None:
        self._rebound = rebound
        self._since: datetime | None = None
        self._budget: SiteBudget | None = None
        self._release: Release | None = None
        self._last_limit_kw = 0.0
        self._fresh = True
        """Until the first update: what an earlier process saw is not known, only what the budget says."""
        self.mode = Mode.IDLE
        self.interval: BudgetInterval | None = None
        """The budget interval in force in mode EVENT."""
        self.reference_kw: float | None = None
        """The baseline the event started from."""

    def update(self, budget: SiteBudget | None, now: datetime, *, link_lost: bool, baseline_kw: float | None) -> Mode:
        """Move to the state of ``now``; ``baseline_kw`` is where a release leads when the budget does not say."""
        self._budget = budget
        self.interval = interval_in_force(budget, now, link_lost=link_lost)
        if self.interval is not None:
            self._enter(self.interval, now, baseline_kw)
        elif self.mode is Mode.EVENT:
            self._release_from(now, baseline_kw)
        elif self._fresh and budget is not None:
            self._take_up_release(budget, now, baseline_kw)
        self._fresh = False
        if self.mode is Mode.RELEASE and (self._release is None or now >= self._release.period.end):
            self.mode, self._since, self._release, self.reference_kw = Mode.IDLE, None, None, None
        return self.mode

    def clock_stepped(self, by: timedelta) -> None:
        """The clock was set: a release goes on from where it is."""
        self._since = self._since and self._since + by
        if self._release is not None:
            period = Interval(start=self._release.period.start + by, end=self._release.period.end + by)
            self._release = replace(self._release, period=period)

    def limit_at(self, moment: datetime) -> float | None:
        """The ceiling at ``moment``, near now; None when there is none. Unit: kW."""
        if self.mode is Mode.RELEASE and self._release is not None:
            return self._release.limit_at(moment)
        if self.interval is None:
            return None
        assert self._budget is not None
        at = self._budget.at(moment)
        if at is not None:
            return at.limit_at(moment)
        return self.interval.limit_at(min(max(moment, self.interval.start), self.interval.end))

    def lowest_until(self, now: datetime, lead_s: float) -> float | None:
        """The lowest ceiling from ``now`` to ``lead_s`` ahead: downward ramps are led, upward ones are not."""
        limits = [self.limit_at(now + timedelta(seconds=k * lead_s / 2)) for k in range(3)]
        known = [limit for limit in limits if limit is not None]
        return min(known) if known else None

    def mean_over(self, second: Interval) -> float | None:
        """The mean ceiling over a metered second; None when it lies, even in part, before the schedule began."""
        if self._since is None or second.start < self._since:
            return None
        return self.limit_at(second.start + (second.end - second.start) / 2)

    def _enter(self, interval: BudgetInterval, now: datetime, baseline_kw: float | None) -> None:
        if self.mode is Mode.IDLE:
            self._since = floor_to(now, 1.0)
        self.mode, self._release = Mode.EVENT, None
        assert self._budget is not None
        self._refer_to(self._budget, baseline_kw)
        self._last_limit_kw = interval.limit_at(now)

    def _refer_to(self, budget: SiteBudget, baseline_kw: float | None) -> None:
        ramped_from = next((i.ramp_from_kw for i in budget.intervals if i.ramp_from_kw is not None), None)
        if ramped_from is not None:
            self.reference_kw = ramped_from
        elif self.reference_kw is None:
            self.reference_kw = baseline_kw

    def _take_up_release(self, budget: SiteBudget, now: datetime, baseline_kw: float | None) -> None:
        """The release of an event that ended before this process began, if its ramp is not over."""
        begun = [i for i in budget.intervals if i.start < min(now, budget.not_after)]
        if not begun:
            return
        ended = min(begun[-1].end, budget.not_after)
        if now < ended + timedelta(seconds=budget.release_ramp_s):
            self._since = floor_to(now, 1.0)
            self._refer_to(budget, baseline_kw)
            self._last_limit_kw = begun[-1].limit_at(ended)
            self._release_from(ended, baseline_kw)

    def _release_from(self, start: datetime, baseline_kw: float | None) -> None:
        to_kw = self.reference_kw if self.reference_kw is not None else baseline_kw
        ramp_s = self._budget.release_ramp_s if self._budget is not None else 0.0
        self.mode = Mode.RELEASE
        if to_kw is None or ramp_s <= 0:
            self._release = None
            return
        self._release = Release(
            period=Interval.lasting(floor_to(start, 1.0), ramp_s),
            from_kw=self._last_limit_kw,
            to_kw=max(self._last_limit_kw, to_kw * (1 + self._rebound)),
        )
