"""What the node does when GPUs refuse, vanish or lose their job, and when nobody renews its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import (
    GpuDriverError,
    GpuLostError,
    GpuPermissionError,
    GpuTelemetryOnlyError,
    GpuTransientError,
    NodeError,
)
from agent.journal import AgentJournal
from agent.node import CHECK_EVERY_S, POWER_STANDS_S, READ_ONLY, Lease, LocalNode, Table
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.clock import VirtualClock
from tests.agent.disks import read_only
from tests.agent.gpus import DEFAULT_W, FakeGpu, FakeGpus

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
CAP_W = 250.0
REFUSED = GpuPermissionError("not permitted: run the node agent as root")
LOST = GpuLostError("the GPU is lost: drain the node and reboot it")
UNSUPPORTED = GpuTelemetryOnlyError("this GPU takes no power limit: it is only read")


class Bench:
    """One machine: GPUs whose limits outlive every node, and a journal on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock(NOW)
        self.first, self.second = FakeGpu("GPU-1"), FakeGpu("GPU-2")
        self.gpus = FakeGpus(self.first, self.second)
        self.journal = AgentJournal.open(
            folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=self.clock
        )

    def open(self, *uuids: str) -> LocalNode:
        job = Job(job_id="job", workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=uuids or ("GPU-1", "GPU-2"))
        return LocalNode.open(
            gpus=self.gpus,
            workloads=Workloads(jobs=(job,)),
            journal=self.journal,
            folder=self.folder,
            locks=self.folder / "locks",
            clock=self.clock,
        )

    @contextmanager
    def node(self, *uuids: str) -> Iterator[LocalNode]:
        node = self.open(*uuids)
        try:
            yield node
        finally:
            node.close()

    def lease(self, seconds: float = 60.0) -> Lease:
        return Lease(until=self.clock.now() + timedelta(seconds=seconds))

    def limits_w(self) -> tuple[float, float]:
        return self.first.limit, self.second.limit

    def audited(self) -> int:
        """Entries of the audit chain."""
        head = self.journal.newest_head()
        return 0 if head is None else head.seq + 1


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


# --- every limit comes back -------------------------------------------------------------------------------------


async def test_a_gpu_whose_job_is_gone_gets_its_limit_back_at_once_and_the_others_keep_their_lease(
    bench: Bench,
) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
    with bench.node("GPU-1"):
        assert bench.limits_w() == (CAP_W, DEFAULT_W)
    assert bench.journal.prior_limits_w() == {"GPU-1": DEFAULT_W}
    assert bench.journal.lease_until() is not None


async def test_limits_are_given_back_even_when_every_job_has_gone_elsewhere(bench: Bench) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
    with pytest.raises(NodeError, match="none of the workloads' GPUs is on this node"):
        bench.open("GPU-elsewhere")
    assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
    assert bench.journal.prior_limits_w() == {}


@pytest.mark.parametrize("lost_at", ["write", "start"])
async def test_a_gpu_that_was_lost_while_capped_gets_its_limit_back_once_it_answers(bench: Bench, lost_at: str) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease(seconds=1))
        if lost_at == "write":
            bench.first.refuses_write = LOST
            await node.restore()
    await bench.clock.advance(2)
    bench.gpus.present = (bench.second,)
    with bench.node():
        pass
    assert bench.limits_w() == (CAP_W, DEFAULT_W)
    assert bench.journal.prior_limits_w() == {"GPU-1": DEFAULT_W}
    bench.first.refuses_write, bench.gpus.present = None, (bench.first, bench.second)
    with bench.node():
        pass
    assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
    assert bench.journal.prior_limits_w() == {}


async def test_a_gpu_that_is_lost_while_it_is_found_is_left_out(bench: Bench) -> None:
    bench.first.refuses_limit_read = LOST
    with bench.node() as node:
        assert (await node.readings())["job"].gpu_count == 1


async def test_a_gpu_whose_limit_is_not_read_at_the_start_is_capped_once_it_is(bench: Bench) -> None:
    bench.first.refuses_limit_read = GpuTransientError("time-out: it is tried again")
    with bench.node() as node:
        assert node.failing() == "GPU-1: time-out: it is tried again"
        assert (await node.readings())["job"].gpu_count == 1
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
        assert bench.limits_w() == (DEFAULT_W, CAP_W)
        bench.first.refuses_limit_read = None
        watch = asyncio.create_task(node.watch())
        await bench.clock.advance(CHECK_EVERY_S)
        assert node.failing() is None
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
        assert bench.limits_w() == (CAP_W, CAP_W)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_capped_gpu_that_is_left_out_is_not_called_restored_until_it_is(bench: Bench) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
    bench.first.refuses_bounds = GpuTransientError("time-out: it is tried again")
    with bench.node() as node:
        result = await node.restore()
        assert bench.limits_w() == (CAP_W, DEFAULT_W)
        assert (result.complete, result.alarms) == (
            False,
            ("GPU-1: capped and not given back: time-out: it is tried again",),
        )
        bench.first.refuses_bounds = None
        watch = asyncio.create_task(node.watch())
        await bench.clock.advance(CHECK_EVERY_S)
        assert (await node.restore()).complete
        assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


# --- the lease --------------------------------------------------------------------------------------------------


async def test_a_lease_that_nobody_renews_ends_with_the_limits_given_back(bench: Bench) -> None:
    with bench.node() as node:
        watch = asyncio.create_task(node.watch())
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease(seconds=30))
        await bench.clock.advance(29)
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease(seconds=30))
        await bench.clock.advance(29)
        assert bench.limits_w() == (CAP_W, CAP_W)
        await bench.clock.advance(2)
        assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
        assert bench.journal.prior_limits_w() == {}
        result = await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
        assert result.complete
        assert bench.limits_w() == (CAP_W, CAP_W), "a loop that is there again goes on"
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_refused_restore_after_the_lease_is_tried_until_it_is_taken(bench: Bench) -> None:
    with bench.node() as node:
        watch = asyncio.create_task(node.watch())
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease(seconds=5))
        bench.first.refuses_write = REFUSED
        await bench.clock.advance(10)
        assert bench.limits_w() == (CAP_W, DEFAULT_W)
        bench.first.refuses_write = None
        await bench.clock.advance(1)
        assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


# --- a disk that takes no change --------------------------------------------------------------------------------


async def test_no_gpu_is_changed_whose_prior_limit_cannot_be_journalled(bench: Bench) -> None:
    with bench.node() as node:
        with read_only(bench.journal):
            result = await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
        assert not result.complete
        assert "takes no change" in result.alarms[0]
        assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
        assert (await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())).complete
        assert bench.limits_w() == (CAP_W, CAP_W)


async def test_gpus_whose_prior_limits_are_journalled_are_still_capped_and_given_back(bench: Bench) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease(30))
        with read_only(bench.journal):
            result = await node.apply(Table(caps_w={"job": 200.0}), bench.lease(60))
            assert bench.limits_w() == (200.0, 200.0)
            assert "takes no change" in result.alarms[0]
            result = await node.restore()
            assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)
            assert not result.complete
        assert (await node.restore()).complete
    assert bench.journal.prior_limits_w() == {}


# --- refused writes ---------------------------------------------------------------------------------------------


async def test_refused_caps_and_restores_are_told_each_time_and_audited_once(bench: Bench) -> None:
    bench.first.refuses_write = REFUSED
    lease = bench.lease()
    with bench.node() as node:
        for _ in range(3):
            result = await node.apply(Table(caps_w={"job": CAP_W}), lease)
            assert not result.complete
            assert "run the node agent as root" in result.alarms[0]
        assert bench.audited() == 1
        bench.first.limit, bench.second.refuses_write = CAP_W, REFUSED
        for _ in range(3):
            result = await node.restore()
            assert (result.complete, len(result.alarms)) == (False, 2)
        assert bench.audited() == 1


async def test_a_limit_that_already_reads_back_is_not_written_again(bench: Bench) -> None:
    bench.first.refuses_write = REFUSED
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
        assert (await node.restore()).complete
    assert bench.journal.prior_limits_w() == {}
    assert bench.second.writes == 2


async def test_a_cap_that_almost_is_the_prior_limit_is_given_back_all_the_same(bench: Bench) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": DEFAULT_W - 0.3}), bench.lease())
        assert (await node.restore()).complete
    assert bench.limits_w() == (DEFAULT_W, DEFAULT_W)


async def test_a_gpu_that_takes_no_write_is_told_during_the_event_and_only_read_from_then_on(bench: Bench) -> None:
    bench.first.refuses_write = UNSUPPORTED
    with bench.node() as node:
        for _ in range(2):
            result = await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
            assert result.complete
            assert result.alarms == (f"GPU-1: {UNSUPPORTED}",)
        assert set(await node.readings()) == {"job", f"job{READ_ONLY}"}
        restored = await node.restore()
        assert (restored.complete, restored.alarms) == (True, ())
        assert (await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())).alarms == ()
    assert bench.limits_w() == (DEFAULT_W, CAP_W)


async def test_a_capped_gpu_that_takes_no_write_any_more_keeps_its_prior_limit_in_the_journal(bench: Bench) -> None:
    with bench.node() as node:
        await node.apply(Table(caps_w={"job": CAP_W}), bench.lease())
        bench.first.refuses_write = UNSUPPORTED
        result = await node.restore()
        assert not result.complete
        assert "capped and not given back" in result.alarms[0]
        assert bench.journal.prior_limits_w() == {"GPU-1": DEFAULT_W}


# --- readings ---------------------------------------------------------------------------------------------------


async def test_a_gpu_never_read_is_missing_and_not_at_rest(bench: Bench) -> None:
    bench.first.refuses_read = GpuDriverError("driver and library differ in version: reboot")
    with bench.node() as node:
        reading = (await node.readings())["job"]
        assert (reading.gpu_count, reading.power_kw) == (1, 0.3)
        assert node.failing() == "GPU-1: driver and library differ in version: reboot"


async def test_the_last_power_of_a_gpu_stands_for_a_while_and_then_it_is_missing(bench: Bench) -> None:
    with bench.node() as node:
        await node.readings()
        bench.first.refuses_read = GpuDriverError("NVML is not initialised: the driver was reloaded")
        await bench.clock.advance(POWER_STANDS_S)
        assert (await node.readings())["job"].power_kw == 0.6
        await bench.clock.advance(1)
        assert (await node.readings())["job"].power_kw == 0.3
        bench.first.refuses_read = None
        assert (await node.readings())["job"].power_kw == 0.6
        assert node.failing() is None


# --- the lock ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", ["is on this node", "can be used.*run the node agent as root"])
def test_a_node_that_could_not_be_opened_holds_no_lock(bench: Bench, says: str) -> None:
    if says == "is on this node":
        bench.gpus.present = ()
    else:
        bench.first.refuses_limit_read = bench.second.refuses_limit_read = REFUSED
    with pytest.raises(NodeError, match=says):
        bench.open()
    bench.gpus.present = (bench.first, bench.second)
    bench.first.refuses_limit_read = bench.second.refuses_limit_read = None
    with bench.node():
        pass


@pytest.mark.parametrize("lock", ["node.lock", "locks/GPU-1.lock"])
def test_a_lock_that_cannot_be_made_says_what_to_do(bench: Bench, lock: str) -> None:
    (bench.folder / lock).mkdir(parents=True)
    with pytest.raises(NodeError, match="make its folder writable"):
        bench.open()
