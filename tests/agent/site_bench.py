"""A site agent on a clock that only moves when told to, with devices in memory that fail as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.battery.device import Battery
from agent.control.loop import ControlLoop
from agent.control.readings import BatteryReading, ClassReading, MeterReading
from agent.control.tuning import Tuning
from agent.errors import BatteryError, BatteryUnsafeError, MeterError
from agent.journal import AgentJournal
from agent.node import ApplyResult, ClassTelemetry, Lease, LocalNode, NodePort, Table
from agent.site import Devices, SiteAgent
from agent.spool import Spool
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.clock import AnchoredClock, Clock, VirtualClock
from grid.intervals import Interval, floor_to
from grid.messages import METER_STREAM, BudgetInterval, SiteBudget, TelemetryFrame
from tests.agent.gpus import FakeGpu, FakeGpus

START = datetime(2026, 7, 1, 12, 0, 0, 500_000, tzinfo=UTC)
JOB = Job(job_id="batch", workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=("GPU-0",))
SITE_KW, GPU_KW = 20.0, 10.0


class FakeMeter:
    """Gives the second before now, except while it is silent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.silent = self.frozen = self.stuck = False
        self.closed = self.second_stands_in = False
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
        return MeterReading(
            site_kw=SITE_KW + 0.01 * (self._reads % 2),
            covers=covers,
            from_check=self.second_stands_in,
            alarms=("the second meter stands in",) if self.second_stands_in else (),
        )

    def let_go(self) -> None:
        self.stuck = False
        self._freed.set()

    async def close(self) -> None:
        self.closed = True


class FakeBattery:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.unsafe = self.silent = self.keeps_set_point = False

    async def beat(self) -> None:
        """It asks for none."""

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
        if self.keeps_set_point:
            raise BatteryError("battery does not let go: check it")
        self.told.append("release")

    async def close(self) -> None:
        self.told.append("close")


class FakeNode:
    """A node of one class."""

    def __init__(self) -> None:
        self.tables: list[Mapping[str, float]] = []
        self.leases: list[Lease] = []
        self.staged: dict[str, Table] = {}
        self.restored = 0
        self.fails = False

    async def apply(self, table: Table, lease: Lease) -> ApplyResult:
        self.tables.append(dict(table.caps_w))
        self.leases.append(lease)
        return ApplyResult(complete=True)

    async def stage(self, tables: Mapping[str, Table]) -> None:
        self.staged = dict(tables)

    async def apply_staged(self, level: str, lease: Lease) -> ApplyResult:
        return await self.apply(self.staged[level], lease)

    async def restore(self) -> ApplyResult:
        if self.fails:
            raise RuntimeError("the driver is gone")
        self.restored += 1
        return ApplyResult(complete=True)

    async def readings(self) -> Mapping[str, ClassReading]:
        return {"batch": ClassReading(power_kw=GPU_KW, instant_kw=GPU_KW, gpu_count=27, prior_w=400.0)}

    def telemetry(self) -> Mapping[str, ClassTelemetry]:
        return {}

    def failing(self) -> str | None:
        return None

    async def watch(self) -> None:
        await asyncio.Event().wait()


class Bench:
    """An agent on a clock that only moves when told to."""

    def __init__(self, folder: Path, *, spool_rows: int = 1000) -> None:
        self.folder = folder
        self.link_lost = False
        self.clock = VirtualClock(START)
        self.grid_clock = AnchoredClock(self.clock)
        self.meter, self.battery, self.node = FakeMeter(self.grid_clock), FakeBattery(), FakeNode()
        self.spool = Spool.open(folder / "spool.sqlite", "a", max_rows=spool_rows)
        self.journal = AgentJournal.open(
            folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=self.grid_clock
        )
        self.agent = self.agent_of(self.node)

    def agent_of(self, node: NodePort, battery: Battery | None = None) -> SiteAgent:
        return SiteAgent(
            site_id="a",
            devices=Devices(meter=self.meter, battery=battery or self.battery, node=node),
            loop=ControlLoop(site_id="a", jobs=(JOB,), tuning=Tuning()),
            journal=self.journal,
            spool=self.spool,
            clock=self.grid_clock,
            tuning=Tuning(),
        )

    def close(self) -> None:
        self.spool.close()
        self.journal.close()

    def local_node(self, gpu: FakeGpu) -> LocalNode:
        return LocalNode.open(
            gpus=FakeGpus(gpu),
            workloads=Workloads(jobs=(JOB,)),
            journal=self.journal,
            folder=self.folder,
            locks=self.folder / "locks",
            clock=self.clock,
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
