"""The live view: unknown is null, phases follow the clock, subscribers are not flooded."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from aggregator.board import BudgetView, EventView, NowBoard, VenView
from grid.clock import VirtualClock
from grid.events import OptType
from grid.messages import BudgetInterval, Capability, CapabilitySegment, Live, SiteBudget

T0 = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def _live(site_id: str, at: datetime, site_kw: float) -> Live:
    return Live(site_id=site_id, at=at, values={"site_kw": site_kw, "gpu_kw": 60.0, "battery_kw": 0.0, "soc_pct": 50.0})


def _capability(site_id: str, baseline_kw: float, kw: float) -> Capability:
    return Capability(
        site_id=site_id,
        at=T0,
        baseline_kw=baseline_kw,
        deliverable_kw=kw,
        segments=(CapabilitySegment(kw=kw, usd_per_kwh=0.1),),
    )


def _budget(site_id: str, limit_kw: float) -> BudgetView:
    hold = BudgetInterval(start=T0, end=T0 + timedelta(seconds=60), limit_kw=limit_kw)
    budget = SiteBudget(site_id=site_id, revision=3, issued_at=T0, intervals=(hold,), not_after=hold.end)
    return BudgetView(budget=budget, baseline_kw=100.0, owed_kw=100.0 - limit_kw)


async def test_what_is_stale_or_unheard_is_null_and_the_sum_with_it() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "Site A", "b": "Site B"})
    assert [site["link"] for site in board.snapshot()["sites"]] == ["never", "never"]
    for site_id, kw in (("a", 80.0), ("b", 90.0)):
        board.link(site_id, connected=True)
        board.capability(_capability(site_id, 100.0, 30.0))
        board.live(_live(site_id, T0, kw))
    board.budget(_budget("a", 75.0))
    now = board.snapshot()
    assert now["portfolio"] == {
        "site_kw": 170.0, "limit_kw": None, "baseline_kw": 200.0, "deliverable_kw": 60.0, "target_kw": 165.0,
    }  # fmt: skip
    await clock.advance(4)
    board.live(_live("a", clock.now(), 76.0))
    board.link("b", connected=False)
    await clock.advance(2)
    later = board.snapshot()
    a, b = later["sites"]
    assert (a["site_kw"], a["stale"], a["limit_kw"], a["budget_revision"]) == (76.0, False, 75.0, 3)
    assert (b["site_kw"], b["stale"], b["link"]) == (None, True, "down")
    assert later["portfolio"]["site_kw"] is None
    assert [row["sites"]["a"]["site_kw"] for row in later["history"]] == [80.0, None, None, None, 76.0]
    json.dumps(later)
    await clock.advance(60)
    assert board.snapshot()["sites"][0]["limit_kw"] is None
    assert board.snapshot()["sites"][0]["deliverable_kw"] is None


async def test_history_keeps_five_minutes_and_forgets_what_is_older() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "A"})
    board.live(_live("a", T0 - timedelta(hours=1), 1.0))
    for _ in range(320):
        board.live(_live("a", clock.now(), 2.0))
        await clock.advance(1)
    assert len(board.snapshot()["history"]) == 300  # the last one came a second ago


async def test_a_sample_of_a_wrong_clock_is_not_history() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "A", "b": "B"})
    board.live(_live("a", T0, 1.0))
    board.live(_live("a", T0 - timedelta(days=2), 2.0))
    now = board.snapshot()
    assert [row["sites"]["a"]["site_kw"] for row in now["history"]] == [1.0]
    assert now["sites"][0]["site_kw"] == 2.0


async def test_a_late_sample_does_not_keep_older_ones_in_the_history() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "A"})
    board.live(_live("a", T0, 1.0))
    board.live(_live("a", T0 - timedelta(seconds=290), 2.0))  # behind a fresher one
    await clock.advance(11)
    board.live(_live("a", clock.now(), 3.0))
    assert len(board.snapshot()["history"]) == 12


async def test_the_history_of_a_silent_site_ends_too() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "A", "b": "B"})
    board.live(_live("a", T0, 1.0))
    await clock.advance(172_800)
    board.live(_live("b", clock.now(), 2.0))
    assert len(board.snapshot()["history"]) == 1


async def test_the_phase_follows_the_clock_and_an_opt_out_has_none() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "A"})
    assert board.snapshot()["event"] is None
    start = T0 + timedelta(seconds=10)
    view = EventView(
        enrolment_id="p", event_id="e", opt=OptType.OPT_IN, reason="", committed_kw=20.0, start=start,
        hold_start=start + timedelta(seconds=20), hold_end=start + timedelta(seconds=110),
        release_end=start + timedelta(seconds=130),
    )  # fmt: skip
    board.event(view)
    phases = []
    for step in (0, 10, 20, 90, 20):
        await clock.advance(step)
        phases.append(board.snapshot()["event"]["phase"])
    assert phases == ["notice", "ramp", "hold", "release", "done"]
    refused = EventView(
        enrolment_id="p", event_id="f", opt=OptType.OPT_OUT, reason="too much", committed_kw=None,
        start=clock.now(), hold_start=start, hold_end=start, release_end=start,
    )  # fmt: skip
    assert refused.phase(clock.now()) == "none"


async def test_subscribers_hear_at_most_every_second_and_at_least_every_five() -> None:
    clock = VirtualClock(T0)
    board = NowBoard(clock, {"a": "A"})
    heard: list[float] = []

    async def listen() -> None:
        async for _ in board.subscribe():
            heard.append(clock.monotonic())  # noqa: PERF401  (one by one, as they come)

    task = asyncio.create_task(listen())
    await clock.advance(0)
    for _ in range(10):
        board.ven(VenView(enrolment_id="p", ven_name="v", registered=True, last_poll=clock.now()))
        await clock.advance(0.25)
    await clock.advance(20)
    task.cancel()
    assert heard[:3] == [0.0, 1.0, 2.0]
    gaps = [b - a for a, b in pairwise(heard)]
    assert min(gaps) >= 1.0
    assert max(gaps) <= 5.0
