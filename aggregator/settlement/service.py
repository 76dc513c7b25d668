"""Settling what was owed: a first statement per commitment, from stored telemetry.

Made once the rows through the end of the release have arrived at every site, or the programme's lateness has
passed; what is missing then is listed and pays nothing. The inputs are stored with the statement, so that a re-run
gives the same bytes. What is left to settle is read from the database, so a restart forgets nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from aggregator.board import NowBoard
from aggregator.portfolio.commitment import Commitment, State
from aggregator.settlement.baseline import window_before
from aggregator.settlement.statement import Inputs, MeteredInterval, SiteInputs, canonical_statement
from aggregator.storage import dispatches
from aggregator.storage.settlements import SettlementRun, keep_run
from aggregator.storage.store import Store, Transaction
from aggregator.telemetry import Arrival, IntervalMean, interval_means
from grid.audit import canonical
from grid.clock import Clock
from grid.intervals import Interval

POLL_S = 1.0
IDLE_S = 60.0
PRELIMINARY = "preliminary"
"""Made from our own telemetry, before the market's meter data."""
SUMMARY = (
    "commitment_id",
    "enrolment_id",
    "event_id",
    "modification_number",
    "version",
    "status",
    "committed_kwh",
    "delivered_kwh",
    "performance_ratio",
    "payment_usd",
    "missing_intervals",
)
"""What the live board shows of a statement."""

_log = structlog.get_logger()


def summary_of(statement: str) -> dict[str, Any]:
    """The figures a person looks at first, and whether the rules behind them are verified."""
    figures = json.loads(statement)
    programme = figures["programme"]
    return {
        **{name: figures[name] for name in SUMMARY},
        "programme_id": programme["programme_id"],
        "programme_verified": programme["verified"],
    }


class SettlementService:
    """The timer that settles."""

    def __init__(self, store: Store, board: NowBoard, clock: Clock) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A commitment was made or changed."""
        self._woken.set()

    async def run(self) -> None:
        """Settle everything that ends, for ever."""
        while True:
            self._woken.clear()
            now = self._clock.now()
            async with self._store.reading() as connection:
                owed = await dispatches.awarded(connection)
            ended = [c for c in owed if c.timeline.release_end <= now]
            for commitment in ended:
                await self._settle(commitment.commitment_id)
            if ended:
                await self._clock.sleep(POLL_S)
                continue
            wait_s = min([IDLE_S, *((c.timeline.release_end - now).total_seconds() for c in owed)])
            try:
                async with self._clock.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _settle(self, commitment_id: int) -> None:
        """Make version 1, unless rows may still come and there is time to wait for them."""
        now = self._clock.now()
        async with self._store.transaction() as tx:
            commitment = await dispatches.commitment(tx.connection, commitment_id)
            rules = commitment.programme.settlement
            assert rules is not None
            means = await self._means(tx, commitment)
            patience = commitment.timeline.release_end + timedelta(seconds=rules.lateness_s)
            if now < patience and any(mean.arrival is Arrival.PENDING for site in means.values() for mean in site):
                return
            run = _run(commitment, means, now)
            await keep_run(tx.connection, run)
            await dispatches.set_state(tx.connection, commitment, State.SETTLED)
            figures = summary_of(run.statement)
            await tx.record(
                actor="aggregator",
                action="settlement.computed",
                subject=f"{commitment.dispatch_id}/{commitment.modification_number}/{run.version}",
                facts={
                    **figures,
                    "inputs_sha256": hashlib.sha256(run.inputs.encode()).hexdigest(),
                    "statement_sha256": hashlib.sha256(run.statement.encode()).hexdigest(),
                },
            )
        self._board.settlement(figures)
        _log.info("settled", dispatch_id=commitment.dispatch_id, **figures)

    async def _means(self, tx: Transaction, commitment: Commitment) -> dict[str, list[IntervalMean]]:
        """Every whole interval from the start of the baseline window to the end of the release, by site."""
        rules = commitment.programme.settlement
        assert rules is not None
        window = Interval(
            start=window_before(commitment.timeline.start, rules).start, end=commitment.timeline.release_end
        )
        sites = [award.site_id for award in commitment.awards]
        return await interval_means(tx.connection, sites, window, rules.interval_s)


def _run(commitment: Commitment, means: dict[str, list[IntervalMean]], now: datetime) -> SettlementRun:
    rules = commitment.programme.settlement
    assert rules is not None
    before, hold = window_before(commitment.timeline.start, rules), commitment.timeline.hold
    inputs = Inputs(
        commitment_id=commitment.commitment_id,
        enrolment_id=commitment.enrolment_id,
        event_id=commitment.event_id,
        modification_number=commitment.modification_number,
        version=1,
        status=PRELIMINARY,
        committed_kw=commitment.committed_kw,
        hold_start=hold.start,
        hold_end=hold.end,
        programme=commitment.programme,
        sites=tuple(
            SiteInputs(
                site_id=award.site_id,
                owed_kw=award.owed_kw,
                before=_inside(means[award.site_id], before),
                hold=_inside(means[award.site_id], hold),
            )
            for award in commitment.awards
        ),
    )
    text = canonical(inputs.model_dump(mode="json")).decode()
    return SettlementRun(
        commitment_id=commitment.commitment_id,
        version=inputs.version,
        status=inputs.status,
        inputs=text,
        statement=canonical_statement(text),
        made_at=now,
    )


def _inside(means: Sequence[IntervalMean], window: Interval) -> tuple[MeteredInterval, ...]:
    return tuple(
        MeteredInterval(start=mean.interval.start, kw=mean.kw)
        for mean in means
        if mean.interval.start >= window.start and mean.interval.end <= window.end
    )
