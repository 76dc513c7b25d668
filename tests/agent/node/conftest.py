"""A node in the test's own process, on the simulated library behind unmodified pynvml."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.gpu.nvml import NvmlGpus
from agent.journal import AgentJournal
from agent.node import CHECK_EVERY_S, ApplyResult, Lease, LocalNode, Table
from agent.simulation.nvml.state import NvmlState
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.clock import VirtualClock
from tests.agent.gpu.conftest import UUIDS, gpus, loaded, state

__all__ = ["gpus", "loaded", "state"]

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
CAP_W, CLOCK_MHZ = 250.0, 900.0
TABLE = Table(caps_w={"job": CAP_W}, clocks_mhz={"job": CLOCK_MHZ})


class Rig:
    """Three library GPUs, one job on the first two; a journal; a clock that moves when told to."""

    def __init__(self, folder: Path, state: NvmlState, gpus: NvmlGpus) -> None:
        self.folder, self.state, self.gpus = folder, state, gpus
        self.clock = VirtualClock(NOW)
        self.jobs: tuple[Job, ...] = (
            Job(job_id="job", workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=UUIDS[:2]),
        )
        self.journal = AgentJournal.open(
            folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=self.clock
        )

    @asynccontextmanager
    async def node(self) -> AsyncIterator[LocalNode]:
        """A node that watches itself."""
        node = LocalNode.open(
            gpus=self.gpus,
            workloads=Workloads(jobs=self.jobs),
            journal=self.journal,
            folder=self.folder,
            locks=self.folder / "locks",
            clock=self.clock,
        )
        watching = asyncio.create_task(node.watch())
        try:
            yield node
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            node.close()

    def lease(self, seconds: float = 600.0) -> Lease:
        return Lease(until=self.clock.now() + timedelta(seconds=seconds))

    async def tick(self, node: LocalNode, table: Table = TABLE) -> ApplyResult:
        """What a site does once the node has had the time to look at everything again."""
        await self.clock.advance(CHECK_EVERY_S)
        await node.readings()
        return await node.apply(table, self.lease())

    def caps_w(self) -> list[float]:
        return [float(mw) / 1000 for mw in self.state.gpus["cap_mw"]]

    def locks_mhz(self) -> list[int]:
        return [int(mhz) for mhz in self.state.gpus["lock_max_mhz"]]


@pytest.fixture
def rig(tmp_path: Path, state: NvmlState, gpus: NvmlGpus) -> Iterator[Rig]:
    made = Rig(tmp_path, state, gpus)
    yield made
    made.journal.close()
