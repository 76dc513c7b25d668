"""Issuing a site's next budget revision: stored, audited and in the outbox, all in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from aggregator.dispatch.planner import Purpose, ceiling_kw, dispatch_intervals, release_intervals, revise
from aggregator.portfolio.commitment import Award, Commitment
from aggregator.storage.budgets import IssuedBudget, issue, newest_budget, next_revision
from aggregator.storage.store import Transaction
from grid.messages import BudgetInterval


async def issue_dispatch(
    tx: Transaction, commitment: Commitment, award: Award, purpose: Purpose, now: datetime
) -> IssuedBudget:
    """The site's plan with this commitment in it.

    The ramp of an event that ran before it was modified begins at the ceiling in force there, also when the baseline
    is settled later.
    """
    times, ramp_from_kw = commitment.timeline, None
    if times.ramp_start > times.start:
        ramp_from_kw = await _ceiling_at(tx, commitment, award.site_id, times.ramp_start)
    intervals = dispatch_intervals(commitment, award, ramp_from_kw=ramp_from_kw)
    return await _issue(tx, commitment, award, intervals, purpose, award.owed_kw, now)


async def issue_release(tx: Transaction, commitment: Commitment, award: Award, now: datetime) -> IssuedBudget:
    """The site's plan without this commitment, but for the ramp back to the baseline from now."""
    ceiling = await _ceiling_at(tx, commitment, award.site_id, now)
    intervals = release_intervals(commitment, award, now=now, ceiling_kw=ceiling)
    return await _issue(tx, commitment, award, intervals, Purpose.RELEASE, 0.0, now)


async def _ceiling_at(tx: Transaction, commitment: Commitment, site_id: str, moment: datetime) -> float | None:
    current = await newest_budget(tx.connection, site_id)
    return ceiling_kw(current.budget if current else None, commitment.dispatch_id, moment)


async def _issue(
    tx: Transaction,
    commitment: Commitment,
    award: Award,
    intervals: Sequence[BudgetInterval],
    purpose: Purpose,
    owed_kw: float,
    now: datetime,
) -> IssuedBudget:
    current = await newest_budget(tx.connection, award.site_id)
    budget = revise(
        current.budget if current else None,
        commitment,
        intervals,
        site_id=award.site_id,
        revision=await next_revision(tx.connection, award.site_id),
        now=now,
    )
    issued = IssuedBudget(
        budget=budget,
        commitment_id=commitment.commitment_id,
        purpose=purpose.value,
        baseline_kw=award.baseline_kw,
        owed_kw=owed_kw,
    )
    await issue(tx.connection, issued)
    await tx.record(
        actor="aggregator",
        action="budget.issued",
        subject=f"{award.site_id}/{budget.revision}",
        facts={
            "commitment_id": commitment.commitment_id,
            "purpose": purpose.value,
            "baseline_kw": award.baseline_kw,
            "owed_kw": owed_kw,
            "budget": budget.model_dump(mode="json"),
        },
    )
    return issued
