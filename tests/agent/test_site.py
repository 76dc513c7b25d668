"""The tick: one row for each second the meter gave, none made up, and every device given back at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.control.tuning import Tuning
from agent.errors import GpuPermissionError, NodeError
from agent.service import metrics
from agent.site import AFTER_BOUNDARY_S, TICK_S
from grid.messages import METER_COLUMNS, OnLinkLoss
from tests.agent.disks import read_only
from tests.agent.gpus import FakeGpu
from tests.agent.site_bench import GPU_KW, SITE_KW, START, Bench
from tests.agent.tasks import stopped


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    running = asyncio.create_task(made.agent.run(link_lost=lambda: made.link_lost, ticked=lambda: None))
    yield made
    await stopped(running)
    made.close()


async def test_each_row_bears_the_second_its_mean_covers(bench: Bench) -> None:
    await bench.clock.advance(0.5 + AFTER_BOUNDARY_S)
    (frame,) = bench.frames()
    assert frame.t0 == START.replace(microsecond=0)
    assert bench.clock.now() == frame.t0 + timedelta(seconds=1 + AFTER_BOUNDARY_S)
    assert tuple(frame.columns) == METER_COLUMNS
    await bench.clock.advance(4)
    (frame,) = bench.frames()
    assert frame.rows == 5
    assert frame.columns["gpu_kw"] == [GPU_KW] * 5
    assert frame.columns["limit_kw"] == [None] * 5


async def test_seconds_the_meter_did_not_give_are_missing(bench: Bench) -> None:
    await bench.clock.advance(2)
    bench.meter.silent = True
    await bench.clock.advance(3)
    assert bench.agent.seen.alarms[0] == "meter silent: check it"
    bench.meter.silent = False
    await bench.clock.advance(2)
    first, second = bench.frames()
    assert (first.rows, second.rows) == (2, 2)
    assert second.t0 - first.t0 == timedelta(seconds=5)


@pytest.mark.parametrize("behind_s", [120.0, -120.0, 0.6])
async def test_a_clock_that_is_set_takes_its_rows_with_it_and_stops_neither_control_nor_telemetry(
    bench: Bench, behind_s: float
) -> None:
    behind = timedelta(seconds=behind_s)
    await bench.clock.advance(15.5)
    bench.grid_clock.anchor(bench.grid_clock.now() + behind)
    bench.agent.clock_set(behind)
    assert len(bench.agent.seen.alarms) == 1
    assert "check its NTP" in bench.agent.seen.alarms[0]
    await bench.clock.advance(15)
    frames = bench.frames()
    rows = [frame.time_of(row) for frame in frames for row in range(frame.rows)]
    assert len(rows) in (29, 30, 31)
    assert rows == sorted(set(rows))
    assert rows[-1] - rows[0] <= timedelta(seconds=31)
    assert timedelta(seconds=1) <= bench.grid_clock.now() - rows[-1] < timedelta(seconds=2.5)
    assert bench.agent.seen.actions is not None
    assert bench.agent.seen.actions.baseline_kw is not None
    bench.agent.clock_set(timedelta(milliseconds=20))
    assert not bench.agent.seen.alarms


async def test_rows_stamped_before_the_clock_was_last_set_are_left_as_they_are(bench: Bench) -> None:
    await bench.clock.advance(5)
    bench.agent.clock_set(timedelta())
    first, *_ = bench.frames()
    bench.grid_clock.anchor(bench.grid_clock.now() + timedelta(seconds=60))
    bench.agent.clock_set(timedelta(seconds=60))
    assert bench.frames() == [first]


async def test_a_second_in_which_the_clock_is_set_is_missing(bench: Bench) -> None:
    await bench.clock.advance(15)
    rows = sum(frame.rows for frame in bench.frames())
    bench.meter.stuck = True
    await bench.clock.advance(1)
    bench.grid_clock.anchor(bench.grid_clock.now() - timedelta(seconds=120))
    bench.agent.clock_set(timedelta(seconds=-120))
    bench.meter.let_go()
    await bench.clock.advance(3)
    frames = bench.frames()
    assert sum(frame.rows for frame in frames) in (rows + 2, rows + 3)
    assert max(frame.time_of(frame.rows - 1) for frame in frames) < bench.grid_clock.now()
    assert bench.agent.seen.actions is not None
    assert bench.agent.seen.actions.baseline_kw is not None


async def test_what_a_doubted_meter_says_is_kept_as_questionable(bench: Bench) -> None:
    bench.meter.frozen = True
    await bench.clock.advance(20)
    qualities = [quality for frame in bench.frames() for quality in frame.quality]
    assert set(qualities) == {0, 10}
    assert qualities == sorted(qualities)


async def test_rows_of_a_second_meter_are_questionable(bench: Bench) -> None:
    await bench.clock.advance(5)
    bench.meter.second_stands_in = True
    await bench.clock.advance(5)
    assert "the second meter stands in" in bench.agent.seen.alarms
    qualities = [quality for frame in bench.frames() for quality in frame.quality]
    assert qualities == [0] * 5 + [10] * 5


async def test_a_budget_caps_under_a_lease_that_outlives_event_and_release(bench: Bench) -> None:
    await bench.clock.advance(2)
    assert bench.node.tables == []
    budget = bench.budget(SITE_KW * 0.9)
    assert bench.agent.take_budget(budget).accepted
    await bench.clock.advance(10)
    assert bench.node.tables[-1]["batch"] < 400.0
    until = budget.not_after + timedelta(seconds=budget.release_ramp_s + Tuning().restore_grace_s)
    assert {lease.until for lease in bench.node.leases} == {until}
    assert "set" in bench.battery.told
    restored = bench.node.restored
    await bench.clock.advance(15)
    assert bench.node.restored == restored + 1
    assert not bench.agent.capped
    begun = bench.node.leases[-1].until - until
    assert {lease.until for lease in bench.node.leases} == {until, until + begun}, "it does not slide along"
    assert begun <= timedelta(seconds=TICK_S), "when the release begins is the tick that sees the event over"


async def test_a_release_that_begins_early_shortens_the_lease_and_an_event_that_goes_on_has_it_back(
    bench: Bench,
) -> None:
    budget = bench.budget(SITE_KW * 0.9).model_copy(update={"on_link_loss": OnLinkLoss.RELEASE})
    grace_s = budget.release_ramp_s + Tuning().restore_grace_s
    bench.agent.take_budget(budget)
    await bench.clock.advance(5)
    bench.link_lost = True
    await bench.clock.advance(3)
    bench.link_lost = False
    await bench.clock.advance(2)
    begun = START + timedelta(seconds=5 + AFTER_BOUNDARY_S + 0.5)
    whole, short = (at + timedelta(seconds=grace_s) for at in (budget.not_after, begun))
    assert list(dict.fromkeys(lease.until for lease in bench.node.leases)) == [whole, short]
    assert bench.node.leases[-1].until == whole


async def test_a_clean_stop_gives_every_device_back(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    running = asyncio.create_task(made.agent.run(link_lost=lambda: False, ticked=lambda: None))
    made.agent.take_budget(made.budget(SITE_KW * 0.9))
    await made.clock.advance(5)
    restored = made.node.restored
    await stopped(running)
    assert made.node.restored == restored + 1
    assert made.battery.told[-2:] == ["release", "close"]
    assert made.meter.closed
    made.close()


async def test_a_stop_gives_the_battery_back_even_when_the_node_fails(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    made.node.fails = True
    running = asyncio.create_task(made.agent.run(link_lost=lambda: False, ticked=lambda: None))
    made.agent.take_budget(made.budget(SITE_KW * 0.9))
    await made.clock.advance(5)
    running.cancel()
    with pytest.raises(RuntimeError, match="the driver is gone"):
        await running
    assert made.battery.told[-2:] == ["release", "close"]
    assert made.meter.closed
    made.close()


async def test_a_stop_that_leaves_a_limit_in_force_fails_and_says_which(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    gpu = FakeGpu("GPU-0")
    node = made.local_node(gpu)
    running = asyncio.create_task(made.agent_of(node).run(link_lost=lambda: False, ticked=lambda: None))
    made.agent.take_budget(made.budget(SITE_KW * 0.9))
    await made.clock.advance(5)
    assert gpu.limit < 400.0
    gpu.refuses_write = GpuPermissionError("not permitted: run the node agent as root")
    running.cancel()
    with pytest.raises(NodeError, match=r"limits are still in force.*GPU-0: not permitted"):
        await running
    assert made.battery.told[-2:] == ["release", "close"]
    assert made.meter.closed
    node.close()
    made.close()


async def test_a_gpu_that_is_not_read_is_an_alarm_until_it_is(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    gpu = FakeGpu("GPU-0")
    node = made.local_node(gpu)
    agent = made.agent_of(node)
    gpu.refuses_read = GpuPermissionError("not permitted: run the node agent as root")
    await agent.tick(link_lost=False)
    assert agent.seen.failing["gpus"] == "GPU-0: not permitted: run the node agent as root"
    assert agent.seen.failing["gpus"] in agent.seen.alarms
    gpu.refuses_read = None
    await agent.tick(link_lost=False)
    assert agent.seen.failing == {}
    node.close()
    made.close()


async def test_limits_are_given_back_when_the_lease_ends_while_the_loop_is_stuck(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    gpu = FakeGpu("GPU-0")
    node = made.local_node(gpu)
    agent = made.agent_of(node)
    running = asyncio.create_task(agent.run(link_lost=lambda: False, ticked=lambda: None))
    budget = made.budget(SITE_KW * 0.9)
    agent.take_budget(budget)
    await made.clock.advance(5)
    made.meter.stuck = True
    lease_s = (budget.not_after - START).total_seconds() + budget.release_ramp_s + Tuning().restore_grace_s
    await made.clock.advance(lease_s - 6)
    assert gpu.limit < 400.0
    await made.clock.advance(2)
    assert gpu.limit == 400.0
    await stopped(running)
    node.close()
    made.close()


async def test_telemetry_that_is_dropped_unsent_is_an_alarm_and_counted(tmp_path: Path) -> None:
    made = Bench(tmp_path, spool_rows=3)
    for _ in range(5):
        await made.clock.advance(1)
        await made.agent.tick(link_lost=False)
    assert any("dropped unsent" in alarm for alarm in made.agent.seen.alarms)
    registry = metrics(made.agent, made.spool)
    assert registry.get_sample_value("negawatt_telemetry_evicted_rows") == 2
    assert registry.get_sample_value("negawatt_site_power_watts") == pytest.approx(1000 * SITE_KW, abs=10)
    made.close()


@pytest.mark.parametrize(("site_kw", "shown"), [(0.0, "0.0"), (None, "nan")])
async def test_a_site_that_draws_nothing_is_not_one_without_a_reading(
    bench: Bench, site_kw: float | None, shown: str
) -> None:
    bench.agent.seen.row = {"site_kw": site_kw}
    assert str(metrics(bench.agent, bench.spool).get_sample_value("negawatt_site_power_watts")) == shown


async def test_a_full_disk_stops_telemetry_and_not_control(bench: Bench) -> None:
    budget = bench.budget(SITE_KW * 0.9)
    bench.agent.take_budget(budget)
    await bench.clock.advance(3)
    with read_only(bench.spool, bench.journal):
        told = len(bench.battery.told)
        await bench.clock.advance(3)
        assert bench.battery.told[told:] == ["set"] * 3
        assert any("spool.sqlite takes no change" in alarm for alarm in bench.agent.seen.alarms)
        ack = bench.agent.take_budget(budget.model_copy(update={"revision": 2}))
        assert not ack.accepted
        assert "journal.sqlite takes no change" in ack.reason
        assert bench.agent.budget_revision() == 1
    await bench.clock.advance(2)
    assert bench.agent.take_budget(budget.model_copy(update={"revision": 2})).accepted
    assert bench.agent.seen.failing == {}
    assert [frame.rows for frame in bench.frames()] == [3, 2]


async def test_a_battery_without_a_dead_man_is_not_used(bench: Bench) -> None:
    bench.battery.unsafe = True
    bench.agent.take_budget(bench.budget(SITE_KW * 0.9))
    await bench.clock.advance(5)
    assert "set" not in bench.battery.told
    assert any("without a dead-man" in alarm for alarm in bench.agent.seen.alarms)


async def test_an_unsafe_battery_is_dropped_only_once_it_is_released(bench: Bench) -> None:
    bench.agent.take_budget(bench.budget(SITE_KW * 0.9))
    await bench.clock.advance(3)
    bench.battery.silent = True
    await bench.clock.advance(1)
    told = len(bench.battery.told)
    bench.battery.silent, bench.battery.unsafe, bench.battery.keeps_set_point = False, True, True
    await bench.clock.advance(3)
    assert any("does not let go" in alarm for alarm in bench.agent.seen.alarms)
    bench.battery.keeps_set_point = False
    await bench.clock.advance(3)
    assert bench.battery.told[told:] == ["release", "close"]
    assert any("without a dead-man" in alarm for alarm in bench.agent.seen.alarms)


async def test_a_battery_that_was_gone_is_armed_again_before_it_is_used(bench: Bench) -> None:
    bench.agent.take_budget(bench.budget(SITE_KW * 0.9))
    await bench.clock.advance(3)
    bench.battery.silent = True
    await bench.clock.advance(2)
    bench.battery.silent = False
    told = len(bench.battery.told)
    await bench.clock.advance(1)
    assert bench.battery.told[told:] == ["arm", "set"]
