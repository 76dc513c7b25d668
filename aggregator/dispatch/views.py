"""What the live board shows of dispatches and budgets, made from what is stored."""

from __future__ import annotations

from math import fsum

from aggregator.board import BudgetView, EventView
from aggregator.dispatch.request import requested_kw
from aggregator.portfolio.commitment import Commitment
from aggregator.portfolio.programme import Programme
from aggregator.storage.budgets import IssuedBudget
from grid.events import Decision, EventStatus, GridEvent


def budget_view(issued: IssuedBudget) -> BudgetView:
    """A site's newest budget."""
    return BudgetView(
        budget=issued.budget,
        baseline_kw=issued.baseline_kw,
        owed_kw=issued.owed_kw,
        acked=bool(issued.accepted),
    )


def event_view(
    event: GridEvent, decision: Decision, commitment: Commitment | None, programme: Programme | None
) -> EventView:
    """An event with its answer; without a commitment its phases are its own active period.

    ``programme``: the enrolment's rules, by which the event is read; a commitment has its own.
    """
    period = event.active_period
    end = event.start if period is None else period.end
    timeline = None if commitment is None else commitment.timeline
    rules = programme if commitment is None else commitment.programme
    return EventView(
        enrolment_id=event.enrolment_id,
        event_id=event.event_id,
        opt=decision.opt,
        reason=decision.reason,
        start=event.start,
        hold_start=timeline.hold_start if timeline else event.start,
        hold_end=timeline.hold_end if timeline else end,
        release_end=timeline.release_end if timeline else end,
        requested_kw=None if rules is None else requested_kw(event, rules),
        committed_kw=decision.committed_kw,
        baseline_kw=None if commitment is None else fsum(award.baseline_kw for award in commitment.awards),
        baseline_settled=commitment is not None and all(award.settled for award in commitment.awards),
        cancelled=event.status is EventStatus.CANCELLED,
    )
