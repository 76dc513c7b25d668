"""Site budgets: each site has one plan, and every change of any dispatch is a higher revision of it.

Pure. A dispatch is three intervals of the plan: the ramp down from the baseline, the hold at baseline less the kW
owed, the release ramp back up. Intervals of the site's other dispatches are carried over unchanged; nothing is
awarded over them (``in_the_way``), so they never overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from aggregator.portfolio.commitment import Award, Commitment
from grid.intervals import Interval
from grid.messages import BudgetInterval, SiteBudget


class Purpose(StrEnum):
    """Why a revision was issued."""

    AWARD = "award"
    BASELINE = "baseline"
    """At the event's start: the settled meter-before baseline replaces the forecast."""
    MODIFICATION = "modification"
    RELEASE = "release"
    """Cancelled or opted out: back to the baseline from now."""


def dispatch_intervals(
    commitment: Commitment, award: Award, *, ramp_from_kw: float | None = None
) -> list[BudgetInterval]:
    """Ramp, hold and release of one site. ``ramp_from_kw``: where the ramp begins, the baseline when not told."""
    times = commitment.timeline
    steps = (
        (
            times.ramp_start,
            times.hold_start,
            award.baseline_kw if ramp_from_kw is None else ramp_from_kw,
            award.limit_kw,
        ),
        (times.hold_start, times.hold_end, None, award.limit_kw),
        (times.hold_end, times.release_end, award.limit_kw, award.baseline_kw),
    )
    return [
        BudgetInterval(
            start=start, end=end, ramp_from_kw=from_kw, limit_kw=limit_kw, dispatch_ids=(commitment.dispatch_id,)
        )
        for start, end, from_kw, limit_kw in steps
        if start < end
    ]


def release_intervals(
    commitment: Commitment, award: Award, *, now: datetime, ceiling_kw: float | None
) -> list[BudgetInterval]:
    """The way back from ``ceiling_kw`` (what is in force now) to the baseline; nothing when no limit is in force."""
    rules = commitment.programme.dispatch
    assert rules is not None
    if ceiling_kw is None or rules.release_s == 0:
        return []
    return [
        BudgetInterval(
            start=now,
            end=now + timedelta(seconds=rules.release_s),
            ramp_from_kw=ceiling_kw,
            limit_kw=award.baseline_kw,
            dispatch_ids=(commitment.dispatch_id,),
        )
    ]


def ceiling_kw(budget: SiteBudget | None, dispatch_id: str, moment: datetime) -> float | None:
    """The ceiling a dispatch puts on the site at ``moment``; None when it puts none."""
    interval = None if budget is None else budget.at(moment)
    if interval is None or dispatch_id not in interval.dispatch_ids:
        return None
    return interval.limit_at(moment)


def in_the_way(budget: SiteBudget | None, dispatch_id: str, window: Interval) -> str | None:
    """Another dispatch that has a part of the site's plan within ``window``; None when it is free.

    The plan is asked and not the commitments: a release outlasts the commitment that it takes back.
    """
    for interval in budget.intervals if budget else ():
        if dispatch_id not in interval.dispatch_ids and interval.interval.intersection(window):
            return ", ".join(interval.dispatch_ids)
    return None


def revise(
    current: SiteBudget | None,
    commitment: Commitment,
    intervals: Sequence[BudgetInterval],
    *,
    site_id: str,
    revision: int,
    now: datetime,
) -> SiteBudget:
    """The site's plan with ``intervals`` in place of what the commitment's dispatch had in it."""
    rules = commitment.programme.dispatch
    assert rules is not None
    kept = [
        interval
        for interval in (current.intervals if current else ())
        if commitment.dispatch_id not in interval.dispatch_ids and interval.end > now
    ]
    plan = sorted([*kept, *intervals], key=lambda interval: interval.start)
    # An emptied plan must still reach the site, and what is past its not_after is never sent.
    not_after = plan[-1].end if plan else max(now, current.not_after if current else now)
    return SiteBudget(
        site_id=site_id,
        revision=revision,
        issued_at=now,
        intervals=tuple(plan),
        not_after=not_after,
        on_link_loss=rules.on_link_loss,
        release_ramp_s=rules.release_s,
    )
