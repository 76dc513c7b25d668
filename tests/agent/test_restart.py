"""What an agent that starts in the middle of an event learns from the limits it finds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import GpuTransientError
from agent.journal import AgentJournal
from agent.node import Lease, LocalNode, Table
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.clock import VirtualClock
from tests.agent.gpus import FakeGpu, FakeGpus

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LEASE = Lease(until=NOW + timedelta(minutes=5))


class Bench:
    """Two jobs of two GPUs each, and a journal; every ``open`` is another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock(NOW)
        self.gpus = [FakeGpu(f"GPU-{k}") for k in range(4)]
        self.journal = AgentJournal.open(
            folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=self.clock
        )

    def open(self) -> LocalNode:
        jobs = tuple(
            Job(job_id=name, workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=uuids)
            for name, uuids in (("a", ("GPU-0", "GPU-1")), ("b", ("GPU-2", "GPU-3")))
        )
        return LocalNode.open(
            gpus=FakeGpus(*self.gpus),
            workloads=Workloads(jobs=jobs),
            journal=self.journal,
            folder=self.folder,
            locks=self.folder / "locks",
            clock=self.clock,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


async def test_limits_left_in_force_are_read_back_by_class(bench: Bench) -> None:
    first = bench.open()
    assert first.in_force_w() == {}
    await first.apply(Table(caps_w={"a": 250.0}), LEASE)
    first.close()
    bench.gpus[0].limit = 230.0
    second = bench.open()
    assert second.in_force_w() == {"a": 230.0}
    bench.gpus[0].refuses_limit_read = GpuTransientError("timed out")
    assert second.in_force_w() == {"a": 250.0}
    second.close()


async def test_limits_that_no_lease_covers_are_given_back_and_not_resumed(bench: Bench) -> None:
    first = bench.open()
    await first.apply(Table(caps_w={"a": 250.0}), LEASE)
    first.close()
    await bench.clock.advance(301.0)
    second = bench.open()
    assert second.in_force_w() == {}
    second.close()
