"""At dtstart every site's budget is re-issued on the baseline that will be settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from aggregator.dispatch.baselines import StartBaselines
from aggregator.storage.store import Store
from grid.clock import SystemClock, VirtualClock
from grid.events import EventStatus
from tests.aggregator.dispatch.factory import event
from tests.aggregator.dispatch.test_service import START, Desk

REAL = SystemClock()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """The database works in real time: wait for it, not for the virtual clock."""
    async with REAL.timeout(10):
        while not await holds():
            await REAL.sleep(0.01)


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[StartBaselines]:
    timer = StartBaselines(desk.store, desk.board, desk.clock, send=desk.sent.append)
    task = asyncio.create_task(timer.run())
    try:
        yield timer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tick(desk: Desk, seconds: float) -> None:
    """Advance in the timer's own steps, so that its reads of the database happen in between."""
    for _ in range(int(seconds / 0.25)):
        await desk.clock.advance(0.25)
        await REAL.sleep(0.01)


async def _revision(desk: Desk, site_id: str, revision: int) -> None:
    async def reached() -> bool:
        await desk.clock.advance(0.25)
        return (await desk.newest(site_id)).budget.revision == revision

    await eventually(reached)


@pytest.fixture
async def desk(store: Store, clock: VirtualClock) -> Desk:
    made = Desk(store, clock)
    await made.offers()
    await made.service.accept(event(START))
    return made


async def test_the_budget_is_reissued_as_soon_as_the_rows_are_there_the_kw_owed_staying(desk: Desk) -> None:
    for site_id, kw in (("a", 110.0), ("b", 96.0)):
        await desk.meters(site_id, START - timedelta(seconds=60), [kw - 2, kw + 2] * 29)
    async with running(desk):
        await _tick(desk, 21)
        assert (await desk.newest("a")).budget.revision == 1
        await desk.meters("a", START - timedelta(seconds=2), [108.0, 112.0])
        await _revision(desk, "a", 2)
        a, b = await desk.newest("a"), await desk.newest("b")
        assert (a.purpose, a.baseline_kw, a.owed_kw) == ("baseline", 110.0, 15.0)
        ramp, hold, release = a.budget.intervals
        assert (ramp.start, ramp.ramp_from_kw, hold.limit_kw, release.limit_kw) == (START, 110.0, 95.0, 110.0)
        assert b.budget.revision == 1
        await desk.meters("b", START - timedelta(seconds=2), [94.0, 98.0])
        await _revision(desk, "b", 2)
        await _tick(desk, 8)
    shown = desk.board.snapshot()["event"]
    assert (shown["baseline_kw"], shown["baseline_settled"]) == (206.0, True)
    assert [(i.budget.site_id, i.budget.revision) for i in await desk.budgets()] == [
        ("a", 1), ("b", 1), ("a", 2), ("b", 2),
    ]  # fmt: skip
    assert desk.sent[-2:] == ["a", "b"]
    (commitment,) = await desk.commitments()
    assert commitment.awards[0].settled
    assert (await desk.actions()).count("baseline.settled") == 2


async def test_after_a_few_seconds_it_goes_on_with_what_is_there_and_says_so(desk: Desk) -> None:
    await desk.meters("a", START - timedelta(seconds=60), [110.0] * 30 + [100.0] * 10)
    async with running(desk):
        await _tick(desk, 20)
        await _revision(desk, "a", 2)
        await _revision(desk, "b", 2)
    assert desk.clock.now() >= START + timedelta(seconds=5)
    a, b = await desk.newest("a"), await desk.newest("b")
    assert (a.baseline_kw, b.baseline_kw) == (107.5, 100.0)
    assert [x for x in await desk.actions() if x.startswith("baseline")] == [
        "baseline.settled", "baseline.forecast_kept",
    ]  # fmt: skip


async def test_a_restart_after_the_start_still_settles_and_only_once(desk: Desk) -> None:
    for site_id in ("a", "b"):
        await desk.meters(site_id, START - timedelta(seconds=60), [110.0] * 60)
    await desk.clock.advance(30)
    for _ in range(2):
        async with running(desk):
            await _revision(desk, "a", 2)
            await _revision(desk, "b", 2)
            await _tick(desk, 2)
    assert len(await desk.budgets()) == 4


async def test_after_a_modification_the_ramp_still_begins_at_the_ceiling_in_force(desk: Desk) -> None:
    await desk.clock.advance(22)
    await desk.service.accept(event(START, -10.0, modification_number=1))
    modified = (await desk.newest("a")).budget.intervals[0]
    assert modified.ramp_from_kw == 98.5  # two seconds into the ramp from 100 to 85 kW
    for site_id in ("a", "b"):
        await desk.meters(site_id, START - timedelta(seconds=60), [110.0] * 60)
    async with running(desk):
        await _revision(desk, "a", 3)
    ramp, hold, _ = (await desk.newest("a")).budget.intervals
    assert (ramp.start, ramp.ramp_from_kw, hold.limit_kw) == (modified.start, 98.5, 105.0)


async def test_what_was_cancelled_is_not_reissued(desk: Desk) -> None:
    for site_id in ("a", "b"):
        await desk.meters(site_id, START - timedelta(seconds=60), [110.0] * 60)
    async with running(desk) as timer:
        await _tick(desk, 5)
        await desk.service.accept(event(START, status=EventStatus.CANCELLED))
        timer.wake()
        await _tick(desk, 20)
    assert desk.clock.now() > START
    assert [(i.budget.site_id, i.purpose) for i in await desk.budgets()] == [
        ("a", "award"), ("b", "award"), ("a", "release"), ("b", "release"),
    ]  # fmt: skip
