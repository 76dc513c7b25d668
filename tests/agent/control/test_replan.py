"""The worker's plan for racks and feeds, and who asks for it when."""

from __future__ import annotations

import pickle
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.control.allocate import Allocator, CapClass, Scale, SiteCurves
from agent.control.demand import Demand
from agent.control.layout import Layout, Rack
from agent.control.replan import EVERY_S, Replanner, plan
from agent.workloads.curves import PUBLISHED
from grid.clock import VirtualClock

CURVE = PUBLISHED["infer_llama_8b"]
CLASSES = [CapClass(class_id=name, curve=CURVE, floor=0.5, price_usd_per_gpu_hour=2.0) for name in "ab"]
SCALES = {
    name: Scale(gpu_count=20, gain=1.0, cost_gain=1.0, demand=Demand.full(CURVE), debit=debit)
    for name, debit in (("a", 1.0), ("b", 2.0))
}
ALLOCATOR = Allocator(CLASSES)
FULL_KW = 20 * CURVE.max_power_w / 1000


def layout(*, r1_kw: float = 100.0, f1_kw: float = 100.0) -> Layout:
    """Job a is in both racks, job b in the second; both on one feed."""
    return Layout(
        racks={"r1": Rack(feed="f1", limit_kw=r1_kw), "r2": Rack(feed="f1", limit_kw=100.0)},
        feed_limit_kw={"f1": f1_kw},
        gpus={"a": {"r1": 10, "r2": 10}, "b": {"r2": 20}},
    )


def planned(tree: Layout) -> dict[str, float]:
    return dict(plan(tree, ALLOCATOR.curves(SCALES)).most_w)


def test_nothing_is_held_back_where_limits_are_wide() -> None:
    assert planned(layout()) == {}


def test_a_rack_holds_back_the_job_in_it() -> None:
    assert planned(layout(r1_kw=3.0)) == pytest.approx({"a": 300.0})


def test_a_feed_holds_back_what_is_cheapest_behind_it_and_the_tick_goes_on_from_there() -> None:
    found = plan(layout(f1_kw=2 * FULL_KW - 1.0), ALLOCATOR.curves(SCALES))
    assert set(found.most_w) == {"a"}
    bounded = found.bounded(SCALES)
    assert ALLOCATOR.full_kw(bounded) == pytest.approx(2 * FULL_KW - 1.0)
    # To the site's budget by way of the feed's limit, or straight.
    for budget_kw in (2 * FULL_KW - 0.5, 2 * FULL_KW - 1.5, 2 * FULL_KW - 4.0):
        at_once = ALLOCATOR.allocate(min(budget_kw, 2 * FULL_KW - 1.0), SCALES).power_w
        assert ALLOCATOR.allocate(budget_kw, bounded).power_w == pytest.approx(at_once)
    # What is asked of the worker does not depend on what it said before.
    assert plan(layout(f1_kw=2 * FULL_KW - 1.0), ALLOCATOR.curves(bounded)) == found


def test_a_limit_below_the_floors_is_named() -> None:
    found = plan(layout(r1_kw=0.5), ALLOCATOR.curves(SCALES))
    assert set(found.short_kw) == {"r1"}
    assert found.most_w["a"] == pytest.approx(CLASSES[0].floor_w)


def test_jobs_that_draw_nothing_or_are_nowhere_are_no_obstacle() -> None:
    idle = {"a": replace(SCALES["a"], gpu_count=0), "b": SCALES["b"]}
    found = plan(layout(r1_kw=0.5, f1_kw=FULL_KW - 1.0), ALLOCATOR.curves(idle))
    assert set(found.most_w) == {"b"}
    nowhere = replace(layout(), gpus={})
    assert plan(nowhere, ALLOCATOR.curves(SCALES)).most_w == {}


def test_the_work_and_its_answer_fit_through_a_pipe_to_another_process() -> None:
    work = (layout(r1_kw=3.0), ALLOCATOR.curves(SCALES))
    answer = plan(*work)
    assert pickle.loads(pickle.dumps(plan(*pickle.loads(pickle.dumps(work))))) == answer


class ByHand(Executor):
    """An executor whose work is done when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Future[Any]]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.asked.append((lambda: fn(*args, **kwargs), future))
        return future

    def finish(self, error: Exception | None = None) -> None:
        work, future = self.asked[-1]
        if error is None:
            future.set_result(work())
        else:
            future.set_exception(error)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime(2026, 7, 1, tzinfo=UTC))


def curves() -> SiteCurves:
    return ALLOCATOR.curves(SCALES)


async def test_it_is_asked_again_when_it_is_time_and_never_waited_for(clock: VirtualClock) -> None:
    worker = ByHand()
    replanner = Replanner(executor=worker, clock=clock)
    tree = layout(r1_kw=3.0)
    replanner.refresh(tree, curves)
    await clock.advance(2 * EVERY_S)
    replanner.refresh(tree, curves)
    assert (len(worker.asked), replanner.plan) == (1, None)
    worker.finish()
    replanner.refresh(tree, curves)
    assert replanner.plan is not None
    assert len(worker.asked) == 2
    worker.finish()
    replanner.refresh(tree, curves)
    assert len(worker.asked) == 2
    await clock.advance(EVERY_S)
    replanner.refresh(tree, curves)
    assert len(worker.asked) == 3


async def test_a_limit_that_changes_is_planned_for_at_once(clock: VirtualClock) -> None:
    worker = ByHand()
    replanner = Replanner(executor=worker, clock=clock)
    replanner.refresh(layout(), curves)
    worker.finish()
    replanner.refresh(layout(r1_kw=3.0), curves)
    assert len(worker.asked) == 2


async def test_a_dead_worker_leaves_its_last_word_and_is_told(clock: VirtualClock) -> None:
    worker = ByHand()
    replanner = Replanner(executor=worker, clock=clock)
    tree = layout(r1_kw=3.0)
    replanner.refresh(tree, curves)
    worker.finish()
    await clock.advance(EVERY_S)
    replanner.refresh(tree, curves)
    word = replanner.plan
    worker.finish(BrokenProcessPool("killed"))
    replanner.refresh(tree, curves)
    assert replanner.plan is word
    assert "killed" in replanner.alarm
    await clock.advance(EVERY_S)
    replanner.refresh(tree, curves)
    worker.finish()
    replanner.refresh(tree, curves)
    assert replanner.alarm == ""
