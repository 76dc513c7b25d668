"""At an event's start: the forecast baseline of each budget is replaced by the one that will be settled.

Each site's budget is re-issued as a new revision, limit = meter-before mean - kW owed, as soon as its rows up to the
start are stored; after a few seconds without them, with the intervals that are there, and the audit says which are
not. The kW owed stay as awarded. Nothing is kept in memory: after a restart the database says what is still to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from aggregator.board import NowBoard
from aggregator.dispatch.issue import issue_dispatch
from aggregator.dispatch.planner import Purpose
from aggregator.dispatch.views import budget_view, event_view
from aggregator.portfolio.commitment import Award, Commitment, State
from aggregator.settlement.baseline import Baseline, meter_before, window_before
from aggregator.storage import dispatches
from aggregator.storage.budgets import IssuedBudget
from aggregator.storage.store import Store, Transaction
from aggregator.telemetry import Arrival, interval_means
from grid.clock import Clock

WAIT_S = 5.0
"""How long after the start (or our own, when we were down) a site's last rows are waited for."""
POLL_S = 0.25
IDLE_S = 60.0

_log = structlog.get_logger()


class StartBaselines:
    """The timer that settles baselines at dtstart."""

    def __init__(self, store: Store, board: NowBoard, clock: Clock, *, send: Callable[[str], None]) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._send = send
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A commitment was made or changed."""
        self._woken.set()

    async def run(self) -> None:
        """Serve every start for ever."""
        serving_since = self._clock.now()
        while True:
            self._woken.clear()
            now = self._clock.now()
            waiting = await self._unsettled(now)
            started = [c for c in waiting if c.timeline.start <= now]
            for commitment in started:
                patience = max(commitment.timeline.start, serving_since) + timedelta(seconds=WAIT_S)
                await self._settle(commitment.commitment_id, patient=now < patience)
            if started:
                await self._clock.sleep(POLL_S)
                continue
            wait_s = min([IDLE_S, *((c.timeline.start - now).total_seconds() for c in waiting)])
            try:
                async with self._clock.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _unsettled(self, now: datetime) -> list[Commitment]:
        async with self._store.reading() as connection:
            owed = await dispatches.awarded(connection, ending_after=now)
        return [c for c in owed if now < c.timeline.hold_end and not all(a.settled for a in c.awards)]

    async def _settle(self, commitment_id: int, *, patient: bool) -> None:
        """Settle the baselines whose rows are there, or all of them once patience has ended."""
        now = self._clock.now()
        issued: list[IssuedBudget] = []
        async with self._store.transaction() as tx:
            commitment = await dispatches.commitment(tx.connection, commitment_id)
            if commitment.state is not State.AWARDED or now >= commitment.timeline.hold_end:
                return  # cancelled, or over, since we looked
            awards = [await self._settled(tx, commitment, award, patient=patient) for award in commitment.awards]
            changed = replace(commitment, awards=tuple(awards))
            if changed == commitment:
                return
            await dispatches.change_commitment(tx.connection, changed)
            for before, after in zip(commitment.awards, awards, strict=True):
                if after != before:
                    issued.append(await issue_dispatch(tx, changed, after, Purpose.BASELINE, now))
            answered = await dispatches.answered(tx.connection, changed.enrolment_id, changed.event_id)
        self._board.event(event_view(answered[-1].event, answered[-1].decision, changed, changed.programme))
        self._publish(issued)

    async def _settled(self, tx: Transaction, commitment: Commitment, award: Award, *, patient: bool) -> Award:
        """The award on its settled baseline; unchanged while rows may still come, or when it is settled already."""
        rules = commitment.programme.settlement
        assert rules is not None
        if award.settled:
            return award
        window = window_before(commitment.timeline.start, rules)
        found = await interval_means(tx.connection, [award.site_id], window, rules.interval_s)
        means = found[award.site_id]
        if patient and any(mean.arrival is Arrival.PENDING for mean in means):
            return award
        baseline = meter_before(means)
        await self._record(tx, commitment, award, baseline)
        return replace(award, baseline_kw=award.baseline_kw if baseline.kw is None else baseline.kw, settled=True)

    async def _record(self, tx: Transaction, commitment: Commitment, award: Award, baseline: Baseline) -> None:
        facts = {
            "commitment_id": commitment.commitment_id,
            "forecast_kw": award.baseline_kw,
            "baseline_kw": baseline.kw,
            "intervals": baseline.used,
            "missing": [start.isoformat() for start in baseline.missing],
        }
        if baseline.missing:
            _log.warning("baseline is incomplete", site_id=award.site_id, dispatch_id=commitment.dispatch_id, **facts)
        await tx.record(
            actor="aggregator",
            action="baseline.settled" if baseline.kw is not None else "baseline.forecast_kept",
            subject=f"{commitment.dispatch_id}/{award.site_id}",
            facts=facts,
        )

    def _publish(self, issued: Sequence[IssuedBudget]) -> None:
        for one in issued:
            self._board.budget(budget_view(one))
            self._send(one.budget.site_id)
