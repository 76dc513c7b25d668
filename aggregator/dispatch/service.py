"""Answering events: ``ven.ports.EventSink`` of the aggregator.

One transaction holds the event, our decision, the commitment, every site's budget, the outbox and the audit; only
after it is durable does the decision go back to the VEN. The same modification asked again gets the stored answer,
so a crash anywhere leaves one commitment and one opt. Modification and cancellation are further revisions of the
sites' plans; an opt-out of a modification releases what was committed before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from aggregator.board import NowBoard
from aggregator.dispatch.awarding import Awarded, award
from aggregator.dispatch.issue import issue_dispatch, issue_release
from aggregator.dispatch.planner import Purpose
from aggregator.dispatch.request import Refusal, Request, assess
from aggregator.dispatch.views import budget_view, event_view
from aggregator.errors import AggregatorError
from aggregator.portfolio.commitment import Commitment, State
from aggregator.portfolio.enrolment import Enrolment
from aggregator.storage import dispatches
from aggregator.storage.budgets import IssuedBudget
from aggregator.storage.store import Store, Transaction
from grid.clock import Clock
from grid.events import DECISION, GRID_EVENT, Decision, EventStatus, GridEvent, OptType

_log = structlog.get_logger()


class DispatchService:
    """Decides on events and commits the sites."""

    def __init__(
        self,
        enrolments: Mapping[str, Enrolment],
        store: Store,
        board: NowBoard,
        clock: Clock,
        *,
        send: Callable[[str], None],
        committed: Callable[[], None],
    ) -> None:
        """``send`` is told of each site whose outbox holds something new, ``committed`` of new work for the timers."""
        self._enrolments = enrolments
        self._store = store
        self._board = board
        self._clock = clock
        self._send = send
        self._committed = committed

    async def accept(self, event: GridEvent) -> Decision:
        """Decide on ``event`` and make it so; durable on return. Raises AggregatorError for an unknown enrolment."""
        if event.enrolment_id not in self._enrolments:
            raise AggregatorError(f"there is no enrolment {event.enrolment_id}: add it to [[enrolments]]")
        enrolment = self._enrolments[event.enrolment_id]
        step = _Step(enrolment, event, self._clock.now())
        async with self._store.transaction() as tx:
            if (known := await _known_answer(tx, event)) is not None:
                return known
            decision = await step.take(tx)
        for issued in step.issued:
            self._board.budget(budget_view(issued))
            self._send(issued.budget.site_id)
        self._board.event(event_view(event, decision, step.commitment, enrolment.programme))
        self._committed()
        _log.info(
            "event answered",
            enrolment_id=event.enrolment_id,
            event_id=event.event_id,
            modification=event.modification_number,
            opt=decision.opt.value,
            reason=decision.reason,
            committed_kw=decision.committed_kw,
        )
        return decision


async def _known_answer(tx: Transaction, event: GridEvent) -> Decision | None:
    """The stored answer to this modification, or to a later one; a cancellation follows its own modification."""
    rank = (event.modification_number, event.status is EventStatus.CANCELLED)
    for answered in await dispatches.answered(tx.connection, *event.key):
        if (answered.event.modification_number, answered.event.status is EventStatus.CANCELLED) >= rank:
            return answered.decision
    return None


class _Step:
    """What one modification of one event changes, inside one transaction."""

    def __init__(self, enrolment: Enrolment, event: GridEvent, now: datetime) -> None:
        self._enrolment = enrolment
        self._event = event
        self._now = now
        self.issued: list[IssuedBudget] = []
        self.commitment: Commitment | None = None

    async def take(self, tx: Transaction) -> Decision:
        event = self._event
        await self._record(tx, "event.received", GRID_EVENT.dump_python(event, mode="json"), actor=event.source)
        earlier = await dispatches.commitments_of(tx.connection, *event.key)
        running = next(
            (c for c in reversed(earlier) if c.state is State.AWARDED and self._now < c.timeline.hold_end), None
        )
        decision = await self._decide(tx, running)
        await dispatches.keep_answer(tx.connection, event, decision)
        await self._record(tx, "event.answered", DECISION.dump_python(decision, mode="json"))
        return decision

    async def _decide(self, tx: Transaction, running: Commitment | None) -> Decision:
        if self._event.status is EventStatus.CANCELLED:
            await self._release(tx, running, "cancelled")
            reason = "cancelled, nothing was owed" if running is None else "cancelled, sites are released"
            return Decision(opt=OptType.OPT_IN, reason=reason, decided_at=self._now)
        outcome = await self._award(tx, running)
        if isinstance(outcome, Refusal):
            await self._release(tx, running, outcome.reason)
            return Decision(opt=OptType.OPT_OUT, reason=outcome.reason, decided_at=self._now)
        return Decision(
            opt=OptType.OPT_IN,
            reason=f"awarded to {len(outcome.awards)} sites",
            decided_at=self._now,
            committed_kw=outcome.committed_kw,
        )

    async def _award(self, tx: Transaction, running: Commitment | None) -> Awarded | Refusal:
        event, rules = self._event, self._enrolment.programme.settlement
        request = assess(event, self._enrolment, self._now, running=running is not None)
        if isinstance(request, Refusal):
            return request
        if running is not None and running.timeline.start <= self._now < request.timeline.start:
            return Refusal(reason="a running event cannot be moved to later")
        assert rules is not None
        dispatch_id = f"{event.enrolment_id}/{event.event_id}"
        outcome = await award(tx.connection, request, rules, self._now, dispatch_id=dispatch_id, running=running)
        if isinstance(outcome, Awarded):
            await self._commit(tx, request, outcome, running)
        return outcome

    async def _commit(self, tx: Transaction, request: Request, outcome: Awarded, running: Commitment | None) -> None:
        commitment = Commitment(
            commitment_id=await dispatches.next_commitment_id(tx.connection),
            enrolment_id=self._event.enrolment_id,
            event_id=self._event.event_id,
            modification_number=self._event.modification_number,
            state=State.AWARDED,
            committed_kw=outcome.committed_kw,
            timeline=request.timeline,
            awards=outcome.awards,
            programme=self._enrolment.programme,
            created_at=self._now,
        )
        await dispatches.keep_commitment(tx.connection, commitment)
        await self._record(
            tx,
            "commitment.made",
            {
                "commitment_id": commitment.commitment_id,
                "committed_kw": outcome.committed_kw,
                "owed_kw": {a.site_id: a.owed_kw for a in outcome.awards},
                "marginal_cost_usd_per_kwh": outcome.costs_usd_per_kwh,
                "left_out": list(outcome.left_out),
                "programme_id": self._enrolment.programme.programme_id,
                "programme_verified": self._enrolment.programme.verified,
            },
        )
        self.commitment = commitment
        if running is not None:
            await self._end(tx, running, released_by=commitment)
        purpose = Purpose.AWARD if running is None else Purpose.MODIFICATION
        for one in commitment.awards:
            self.issued.append(await issue_dispatch(tx, commitment, one, purpose, self._now))

    async def _release(self, tx: Transaction, running: Commitment | None, why: str) -> None:
        """Take everything committed to this event back to its baseline."""
        if running is None:
            return
        await self._end(tx, running, released_by=None)
        await self._record(tx, "commitment.released", {"commitment_id": running.commitment_id, "reason": why})

    async def _end(self, tx: Transaction, running: Commitment, *, released_by: Commitment | None) -> None:
        """End a commitment now: what it held so far is settled. Sites its successor leaves out are released."""
        rules = running.programme.dispatch
        assert rules is not None
        stay = {a.site_id for a in released_by.awards} if released_by else set()
        leaving = [a for a in running.awards if a.site_id not in stay]
        for one in leaving:
            self.issued.append(await issue_release(tx, running, one, self._now))
        times = running.timeline
        # Before the ramp no site is held, so none has a way back.
        back = self._now if self._now < times.ramp_start else self._now + timedelta(seconds=rules.release_s)
        release_end = min(times.release_end, back)
        if self._now <= times.hold_start:
            ended = replace(running, state=State.RELEASED, timeline=replace(times, release_end=release_end))
        else:
            ended = replace(running, timeline=replace(times, hold_end=self._now, release_end=release_end))
        await dispatches.change_commitment(tx.connection, ended)
        self.commitment = self.commitment or ended

    async def _record(
        self, tx: Transaction, action: str, facts: Mapping[str, object], actor: str = "aggregator"
    ) -> None:
        event = self._event
        subject = f"{event.enrolment_id}/{event.event_id}/{event.modification_number}"
        await tx.record(actor=actor, action=action, subject=subject, facts=facts)
