"""The tick: one row for each second the meter gave, none made up, and every device given back at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.control.loop import ControlLoop
from agent.control.readings import BatteryReading, ClassReading, MeterReading
from agent.control.tuning import Tuning
from agent.errors import BatteryError, BatteryUnsafeError, MeterError
from agent.journal import AgentJournal
from agent.node import ApplyResult, Lease, LocalNode, NodePort
from agent.site import AFTER_BOUNDARY_S, Devices, SiteAgent
from agent.spool import Spool
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.clock import AnchoredClock, Clock, VirtualClock
from grid.intervals import Interval, floor_to
from grid.messages import METER_COLUMNS, METER_STREAM, BudgetInterval, SiteBudget, TelemetryFrame
from tests.agent.disks import read_only
from tests.agent.gpus import FakeGpu, FakeGpus

START = datetime(2026, 7, 1, 12, 0, 0, 500_000, tzinfo=UTC)
JOB = Job(job_id="batch", workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=("GPU-0",))
SITE_KW, GPU_KW = 20.0, 10.0


class FakeMeter:
    """Gives the second before now, except while it is silent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.silent = self.frozen = self.stuck = False
        self.closed = False
        self._freed = asyncio.Event()
        self._reads = 0

    async def read(self) -> MeterReading:
        end = floor_to(self._clock.now(), 1)
        if self.stuck:
            await self._freed.wait()
        if self.silent:
            raise MeterError("meter silent: check it")
        self._reads += not self.frozen
        covers = Interval(start=end - timedelta(seconds=1), end=end)
        return MeterReading(site_kw=SITE_KW + 0.01 * (self._reads % 2), covers=covers)

    def let_go(self) -> None:
        self.stuck = False
        self._freed.set()

    async def close(self) -> None:
        self.closed = True


class FakeBattery:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.unsafe = self.silent = False

    async def read(self) -> BatteryReading:
        if self.silent:
            raise BatteryError("battery silent: check it")
        return BatteryReading(power_kw=0.0, soc_pct=50.0, energy_kwh=0.5, max_discharge_kw=2.0, max_charge_kw=2.0)

    async def arm(self) -> None:
        if self.unsafe:
            raise BatteryUnsafeError("the battery has no WSetRvrtTms: without a dead-man it is not used")
        self.told.append("arm")

    async def set_power(self, power_kw: float) -> None:
        self.told.append("set")

    async def release(self) -> None:
        self.told.append("release")

    async def close(self) -> None:
        self.told.append("close")


class FakeNode:
    """A node of one class."""

    def __init__(self) -> None:
        self.tables: list[Mapping[str, float]] = []
        self.leases: list[Lease] = []
        self.restored = 0
        self.fails = False

    async def apply(self, table: Mapping[str, float], lease: Lease) -> ApplyResult:
        self.tables.append(dict(table))
        self.leases.append(lease)
        return ApplyResult(complete=True)

    async def restore(self) -> ApplyResult:
        if self.fails:
            raise RuntimeError("the driver is gone")
        self.restored += 1
        return ApplyResult(complete=True)

    async def readings(self) -> Mapping[str, ClassReading]:
        return {"batch": ClassReading(power_kw=GPU_KW, instant_kw=GPU_KW, gpu_count=27, prior_w=400.0)}

    def failing(self) -> str | None:
        return None

    async def watch(self) -> None:
        await asyncio.Event().wait()


class Bench:
    """An agent on a clock that only moves when told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock(START)
        self.grid_clock = AnchoredClock(self.clock)
        self.meter, self.battery, self.node = FakeMeter(self.grid_clock), FakeBattery(), FakeNode()
        self.spool = Spool.open(folder / "spool.sqlite", "a")
        self.journal = AgentJournal.open(
            folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=self.grid_clock
        )
        self.agent = self.agent_of(self.node)

    def agent_of(self, node: NodePort) -> SiteAgent:
        return SiteAgent(
            site_id="a",
            devices=Devices(meter=self.meter, battery=self.battery, node=node),
            loop=ControlLoop(site_id="a", jobs=(JOB,), tuning=Tuning()),
            journal=self.journal,
            spool=self.spool,
            clock=self.grid_clock,
            tuning=Tuning(),
        )

    def frames(self) -> list[TelemetryFrame]:
        """Everything spooled, in order."""
        found: list[TelemetryFrame] = []
        after = -1
        while (frame := self.spool.frame(METER_STREAM, after=after, dt_s=1.0)) is not None:
            found.append(frame)
            after = frame.seq + frame.rows - 1
        return found

    def budget(self, limit_kw: float) -> SiteBudget:
        """In force from the next tick on, for 20 s."""
        end = START + timedelta(seconds=20)
        return SiteBudget(
            site_id="a",
            revision=1,
            issued_at=START,
            intervals=(BudgetInterval(start=START, end=end, limit_kw=limit_kw),),
            not_after=end,
            release_ramp_s=5.0,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    running = asyncio.create_task(made.agent.run(link_lost=lambda: False, ticked=lambda: None))
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.spool.close()
    made.journal.close()


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


async def test_a_clean_stop_gives_every_device_back(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    running = asyncio.create_task(made.agent.run(link_lost=lambda: False, ticked=lambda: None))
    made.agent.take_budget(made.budget(SITE_KW * 0.9))
    await made.clock.advance(5)
    restored = made.node.restored
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert made.node.restored == restored + 1
    assert made.battery.told[-2:] == ["release", "close"]
    assert made.meter.closed
    made.spool.close()
    made.journal.close()


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
    made.spool.close()
    made.journal.close()


async def test_limits_are_given_back_when_the_lease_ends_while_the_loop_is_stuck(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    gpu = FakeGpu("GPU-0")
    node = LocalNode.open(
        gpus=FakeGpus(gpu),
        workloads=Workloads(jobs=(JOB,)),
        journal=made.journal,
        folder=tmp_path,
        locks=tmp_path / "locks",
        clock=made.clock,
    )
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
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    node.close()
    made.spool.close()
    made.journal.close()


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


async def test_a_battery_that_was_gone_is_armed_again_before_it_is_used(bench: Bench) -> None:
    bench.agent.take_budget(bench.budget(SITE_KW * 0.9))
    await bench.clock.advance(3)
    bench.battery.silent = True
    await bench.clock.advance(2)
    bench.battery.silent = False
    told = len(bench.battery.told)
    await bench.clock.advance(1)
    assert bench.battery.told[told:] == ["arm", "set"]
