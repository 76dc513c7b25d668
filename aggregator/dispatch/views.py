"""What the live board shows of dispatches and budgets, made from what is stored."""

from __future__ import annotations

from aggregator.board import BudgetView, EventView
from aggregator.dispatch.commitment import Commitment
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


def event_view(event: GridEvent, decision: Decision, commitment: Commitment | None) -> EventView:
    """An event with its answer; without a commitment its phases are its own active period."""
    period = event.active_period
    end = event.start if period is None else period.end
    timeline = None if commitment is None else commitment.timeline
    return EventView(
        enrolment_id=event.enrolment_id,
        event_id=event.event_id,
        opt=decision.opt,
        reason=decision.reason,
        start=event.start,
        hold_start=timeline.hold_start if timeline else event.start,
        hold_end=timeline.hold_end if timeline else end,
        release_end=timeline.release_end if timeline else end,
        committed_kw=decision.committed_kw,
        cancelled=event.status is EventStatus.CANCELLED,
    )
