"""What is told to be in force, in virtual time: each change at its instant, none twice, over restarts too."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from grid.events import Decision, EventStatus, OptType
from tests.ven.world import World, dispatch, world
from ven.simulation.faults import FaultKind
from ven.wire.payload import Service

Told = list[tuple[float, list[tuple[str, int, float]]]]


def told(one: World, since: datetime) -> Told:
    """Seconds since ``since``, and the events in force with modification and kW."""
    return [
        (
            (at - since).total_seconds(),
            [(event.event_id, event.modification_number, event.signals[0].value) for event in events],
        )
        for at, events in one.watcher.told
    ]


async def start_of(one: World, event_id: str = "event-1") -> datetime:
    """Once it is answered."""
    await one.until(lambda: bool(one.answers(event_id)))
    return next(event.start for event in one.sink.accepted if event.event_id == event_id)


STEPS: dict[str, Any] = {"duration_s": 90.0, "signals": [dispatch(30.0, -10.0, 60.0, -20.0)]}
EXPECTED: Told = [(0.0, [("event-1", 0, -10.0)]), (30.0, [("event-1", 0, -20.0)]), (90.0, [])]


async def test_each_interval_is_told_at_its_instant(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call(**STEPS)
        start = await start_of(one)
        await one.clock.advance(600)
        assert told(one, start) == EXPECTED


@pytest.mark.parametrize("dies_at_s", [-20.0, 0.0, 10.0, 30.0, 45.0, 90.0])
async def test_a_restart_tells_nothing_twice_and_forgets_nothing(tmp_path: Path, dies_at_s: float) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call(**STEPS)
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + dies_at_s)
        await one.restart()
        await one.clock.advance(300)
        assert told(one, start) == EXPECTED


async def test_a_change_that_passed_meanwhile_is_told_after_the_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call(**STEPS)
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 10.0)
        await one.stop()
        await one.clock.advance(30)
        await one.restart()
        await one.clock.advance(10)
        assert told(one, start) == [EXPECTED[0], (40.0, [("event-1", 0, -20.0)])]
        await one.stop()
        await one.clock.advance(300)
        await one.restart()
        assert told(one, start)[2:] == [(350.0, [])]


async def test_a_modification_of_what_runs_is_one_change(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": 10}) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call()
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        one.modify(signals=[dispatch(600.0, -50.0)])
        await one.until(lambda: len(one.answers()) == 2)
        events = [found for _, found in told(one, start)]
        assert events == [[("event-1", 0, -30.0)], [("event-1", 1, -50.0)]]


async def test_while_a_modification_is_decided_on_the_former_runs_on(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": 10}, decision_timeout_s=5.0) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call()
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        one.sink.slow["event-1"] = 3.0
        one.modify(signals=[dispatch(600.0, -50.0)])
        await one.until(lambda: len(one.answers()) == 2)
        assert [found for _, found in told(one, start)] == [[("event-1", 0, -30.0)], [("event-1", 1, -50.0)]]


async def test_a_cancel_ends_what_runs_at_once_however_slow_the_sink(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": 10}) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call()
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        one.sink.slow["event-1"] = 1e6
        one.cancel()
        await one.until(lambda: len(one.sink.accepted) == 2)
        await one.clock.advance(0)
        cancelled = one.sink.accepted[-1]
        assert cancelled.status is EventStatus.CANCELLED
        assert one.watcher.told[-1] == (one.sink.accepted_at[-1], ())
        await one.clock.advance(60)
        assert len(one.watcher.told) == 2


async def test_a_derate_takes_it_out_of_force(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call()
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        derated = Decision(opt=OptType.OPT_OUT, reason="derated", decided_at=one.clock.now())
        one.gateway.redecide(("ven-a", "event-1"), derated)
        await one.clock.advance(0)
        assert told(one, start)[-1] == (5.0, [])


async def test_the_higher_priority_counts_within_the_overlap(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call("long", duration_s=600.0, kw=-10.0, lead_s=60, priority=2)
        one.call("short", duration_s=60.0, kw=-20.0, lead_s=180, priority=1, targets={"resource_ids": ["site-2"]})
        start = await start_of(one, "long")
        await one.clock.advance(900)
        found = [
            ((at - start).total_seconds(), {event.event_id: event.resource_ids for event in events})
            for at, events in one.watcher.told
        ]
        assert found == [
            (0.0, {"long": ("site-1", "site-2")}),
            (120.0, {"long": ("site-1",), "short": ("site-2",)}),
            (180.0, {"long": ("site-1", "site-2")}),
            (600.0, {}),
        ]


async def test_a_test_event_and_an_event_opted_out_of_are_never_in_force(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call("test", test_event="true")
        one.sink.opt = OptType.OPT_OUT
        one.call("refused")
        await one.until(lambda: bool(one.answers("test")) and bool(one.answers("refused")))
        await one.clock.advance(900)
        assert one.watcher.told == []


# --- cancelled within the startafter tolerance (rule 65)


async def running_with_tolerance(one: World) -> None:
    await one.until(lambda: one.status.state == "serving")
    one.call(startafter_s=120.0, duration_s=3600.0)
    start = await start_of(one)
    await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
    assert one.watcher.told[-1][1] != ()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_cancelled_event_ends_at_random_within_the_tolerance(tmp_path: Path, restarts: bool) -> None:
    async with world(tmp_path) as one:
        await running_with_tolerance(one)
        one.cancel()
        await one.until(lambda: (1, "optIn", 200) in one.answers())
        heard = one.clock.now()
        if restarts:
            await one.restart()
        await one.clock.advance(150)
        ended_at, events = one.watcher.told[-1]
        assert events == ()
        assert heard - timedelta(seconds=1) <= ended_at <= heard + timedelta(seconds=120)
        cancelled = one.sink.accepted[-1]
        assert (cancelled.status, cancelled.cancel_at) == (EventStatus.CANCELLED, ended_at)
        assert one.sink.accepted_at[-1] == ended_at
        assert [event.status for event in one.sink.accepted].count(EventStatus.CANCELLED) == 1
        assert one.answers() == [(0, "optIn", 200), (1, "optIn", 200)]


async def test_the_tolerance_of_a_cancel_spreads(tmp_path: Path) -> None:
    ends = set()
    for k in range(5):
        (tmp_path / str(k)).mkdir()
        async with world(tmp_path / str(k)) as one:
            await running_with_tolerance(one)
            one.cancel()
            await one.clock.advance(150)
            ends.add(one.sink.accepted[-1].cancel_at)
    assert len(ends) > 1


async def test_an_event_that_does_not_run_ends_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call(startafter_s=120.0, lead_s=3600)
        await one.until(lambda: bool(one.answers()))
        one.cancel()
        await one.until(lambda: len(one.answers()) == 2)
        assert one.sink.accepted_at[-1] == one.sink.accepted[-1].cancel_at
        assert one.watcher.told == []


async def test_an_event_we_opted_out_of_does_not_come_into_force_by_its_cancel(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        one.sink.opt = OptType.OPT_OUT
        await one.until(lambda: one.status.state == "serving")
        one.call(startafter_s=120.0, duration_s=3600.0)
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        one.cancel()
        await one.until(lambda: len(one.answers()) == 2)
        await one.clock.advance(200)
        assert one.watcher.told == []


async def test_the_offset_of_the_start_is_kept_over_modifications_and_restarts(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call(startafter_s=120.0, lead_s=3600)
        await one.until(lambda: bool(one.answers()))
        await one.restart()
        one.modify(priority=1)
        await one.until(lambda: len(one.answers()) == 2)
        first, second = one.sink.accepted
        assert 0.0 <= first.start_offset_s <= 120.0
        assert first.start_offset_s == second.start_offset_s
        assert first.start == second.start


# --- gone from the list (rule 61)


async def test_an_active_event_that_vanishes_is_asked_for_once_more_and_then_ends_with_an_alarm(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call()
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        with one.operator():
            one.vtn.events.vanish("event-1")
        await one.until(lambda: len(one.watcher.told) == 2)
        assert told(one, start)[-1][1] == []
        (alarm,) = one.watcher.alarms
        assert "gone from the VTN's list" in alarm
        assert one.sink.accepted[-1].status is EventStatus.CANCELLED


async def test_a_vtn_that_cannot_confirm_ends_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call()
        start = await start_of(one)
        await one.clock.advance((start - one.clock.now()).total_seconds() + 5.0)
        with one.operator():
            one.vtn.events.vanish("event-1")
        one.fault(FaultKind.SERVER_ERROR, Service.EVENT)
        await one.clock.advance(120)
        assert (len(one.watcher.told), one.status.state) == (1, "serving")
        one.vtn.faults.clear()
        await one.until(lambda: len(one.watcher.told) == 2)
