"""When a commitment is settled, from what, and only once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from aggregator.portfolio.commitment import State
from aggregator.settlement.service import SettlementService
from aggregator.settlement.statement import canonical_statement
from aggregator.storage import settlements
from aggregator.storage.settlements import SettlementRun
from aggregator.storage.store import Store
from grid.clock import VirtualClock
from grid.events import EventStatus
from tests.aggregator.dispatch.factory import event
from tests.aggregator.dispatch.test_baselines import REAL
from tests.aggregator.dispatch.test_service import START, Desk

HOLD_S, RELEASE_S, LATENESS_S = 90, 20, 30


@pytest.fixture
async def desk(store: Store, clock: VirtualClock) -> Desk:
    made = Desk(store, clock)
    await made.offers()
    await made.service.accept(event(START))
    return made


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[None]:
    task = asyncio.create_task(SettlementService(desk.store, desk.board, desk.clock).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _runs(desk: Desk) -> list[SettlementRun]:
    async with desk.store.reading() as connection:
        return await settlements.runs(connection)


async def _advance(desk: Desk, until: datetime) -> None:
    """In steps of a second, each with some real time for the database."""
    while desk.clock.now() < until:
        await desk.clock.advance(1)
        await REAL.sleep(0.005)


async def _first_run(desk: Desk) -> SettlementRun:
    """The run, once it is made, however long the database takes."""
    async with REAL.timeout(10):
        while not (runs := await _runs(desk)):
            await _advance(desk, desk.clock.now() + timedelta(seconds=1))
    (run,) = runs
    return run


async def _event_meters(desk: Desk, site_id: str, baseline_kw: float, limit_kw: float) -> None:
    """A site's rows from a minute before the start to the end of the release."""
    values = [baseline_kw] * 60 + [baseline_kw] * 20 + [limit_kw] * HOLD_S + [baseline_kw] * RELEASE_S
    await desk.meters(site_id, START - timedelta(seconds=60), values)


async def test_settled_once_all_rows_to_the_end_of_the_release_are_there(desk: Desk) -> None:
    release_end = START + timedelta(seconds=130)
    async with running(desk):
        await _advance(desk, release_end + timedelta(seconds=3))
        assert await _runs(desk) == []
        await _event_meters(desk, "a", 110.0, 94.0)
        await _event_meters(desk, "b", 100.0, 85.0)
        run = await _first_run(desk)
    made = json.loads(run.statement)
    assert (made["committed_kwh"], made["status"], made["version"]) == ("0.750000", "preliminary", 1)
    assert [site["baseline_kw"] for site in made["sites"]] == ["110.000", "100.000"]
    assert float(made["delivered_kwh"]) == pytest.approx(31 * 90 / 3600, rel=1e-5)
    assert made["payment_usd"] == "0.56"
    assert canonical_statement(run.inputs) == run.statement
    (commitment,) = await desk.commitments()
    assert commitment.state is State.SETTLED
    assert (await desk.actions())[-1] == "settlement.computed"
    (shown,) = desk.board.snapshot()["settlements"]
    assert (shown["payment_usd"], shown["programme_id"], shown["programme_verified"]) == (
        "0.56",
        "demo-dispatch",
        False,
    )
    async with running(desk):
        await _advance(desk, release_end + timedelta(seconds=20))
    assert len(await _runs(desk)) == 1


async def test_a_site_that_stays_away_is_settled_without_after_the_lateness(desk: Desk) -> None:
    await _event_meters(desk, "a", 110.0, 95.0)
    await desk.meters("b", START - timedelta(seconds=60), [100.0] * 80 + [85.0] * 30)
    release_end = START + timedelta(seconds=130)
    async with running(desk):
        await _advance(desk, release_end + timedelta(seconds=29))
        assert await _runs(desk) == []
        run = await _first_run(desk)
    made = json.loads(run.statement)
    a, b = made["sites"]
    assert (a["missing"], len(b["missing"]), made["missing_intervals"]) == ([], 6, 6)
    assert float(b["delivered_kwh"]) == pytest.approx(15 * 30 / 3600, rel=1e-4)


async def test_rows_that_will_never_come_are_not_waited_for(desk: Desk) -> None:
    await _event_meters(desk, "a", 110.0, 95.0)
    await desk.meters("b", START - timedelta(seconds=60), [100.0] * 80 + [85.0] * 30)
    await desk.meters("b", START + timedelta(seconds=100), [85.0] * 60)
    async with running(desk):
        run = await _first_run(desk)
    assert desk.clock.now() < START + timedelta(seconds=130 + LATENESS_S)
    assert json.loads(run.statement)["missing_intervals"] == 5


async def test_a_cancelled_event_pays_the_whole_intervals_it_was_held(desk: Desk) -> None:
    await _event_meters(desk, "a", 110.0, 95.0)
    await _event_meters(desk, "b", 100.0, 85.0)
    await _advance(desk, START + timedelta(seconds=55))
    await desk.service.accept(event(START, status=EventStatus.CANCELLED))
    async with running(desk):
        run = await _first_run(desk)
    made = json.loads(run.statement)
    assert (made["intervals"], made["committed_kwh"]) == (3, "0.250000")
    assert float(made["delivered_kwh"]) == pytest.approx(0.25, rel=1e-4)
