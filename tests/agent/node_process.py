"""One node in a process of its own, for tests: does what its arguments say and prints what it saw.

    python -m tests.agent.node_process FOLDER LOCKS SIMULATED ACTION

``read`` only reads; ``apply`` caps and restores; ``die`` caps and ends by SIGKILL; ``hold`` caps and waits for a line
on standard input; ``wait`` waits for that line before it caps and restores; ``again`` caps, waits for the line, and
caps again when the limits in force are due to be checked; ``watch`` reads, waits for the line, and goes on watching
for as long; ``reload`` caps, waits for a line and ticks, twice. Its clock stands still but for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import GpuError
from agent.gpu.nvml import NvmlGpus
from agent.journal import AgentJournal
from agent.node import CHECK_EVERY_S, Lease, LocalNode, Table
from agent.workloads.jobs import Workloads
from grid.clock import SystemClock, VirtualClock
from grid.errors import NegawattError

TABLE = Table(caps_w={"capped": 250.0, "untouched": 400.0}, clocks_mhz={"capped": 900.0})


async def main(folder: Path, locks: Path, simulated: bool, action: str) -> None:
    clock = VirtualClock(SystemClock().now())
    journal = AgentJournal.open(folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=clock)
    with NvmlGpus.open(simulated=simulated) as gpus:
        workloads = Workloads.read(folder / "workloads.json")
        node = LocalNode.open(gpus=gpus, workloads=workloads, journal=journal, folder=folder, locks=locks, clock=clock)
        seen = await act(node, clock, action)
        readings = await node.readings()
        seen["limits"] = dict(limits_w(gpus))
        seen["counts"] = {class_id: reading.gpu_count for class_id, reading in readings.items()}
        seen["priors"] = journal.prior_limits_w()
        seen["failing"] = node.failing()
        sys.stdout.write(json.dumps(seen) + "\n")
        node.close()
    journal.close()


async def act(node: LocalNode, clock: VirtualClock, action: str) -> dict[str, object]:
    """What came of the last write."""
    lease = Lease(until=clock.now() + timedelta(seconds=-1.0 if action == "die" else 60.0))
    if action == "read":
        return {}
    if action == "watch":
        return await watch(node, clock)
    if action == "wait":
        wait_for_line()
    result = await node.apply(TABLE, lease)
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "reload":
        return {"ticks": [await tick_after_line(node, clock, lease) for _ in range(2)]}
    if action in ("hold", "again"):
        wait_for_line()
    if action == "again":
        await clock.advance(CHECK_EVERY_S)
        result = await node.apply(TABLE, lease)
    if action in ("apply", "wait"):
        await node.restore()
    return {"complete": result.complete, "alarms": list(result.alarms)}


async def watch(node: LocalNode, clock: VirtualClock) -> dict[str, object]:
    """What the node said of its GPUs before and after it waited."""
    watching = asyncio.create_task(node.watch())
    failing = node.failing()
    wait_for_line()
    await clock.advance(CHECK_EVERY_S)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return {"failed": failing}


async def tick_after_line(node: LocalNode, clock: VirtualClock, lease: Lease) -> dict[str, object]:
    """What a site sees and does once its node has had the time to look again."""
    wait_for_line()
    watching = asyncio.create_task(node.watch())
    await node.readings()
    await clock.advance(CHECK_EVERY_S)
    await node.readings()
    result = await node.apply(TABLE, lease)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return {"complete": result.complete, "alarms": list(result.alarms), "failing": node.failing()}


def limits_w(gpus: NvmlGpus) -> Iterator[tuple[str, float]]:
    """Of the GPUs that tell."""
    for gpu in gpus.devices().devices:
        with suppress(GpuError):
            if gpu.bounds_w() is not None:
                yield gpu.uuid, gpu.limit_w()


def wait_for_line() -> None:
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    try:
        _, folder, locks, simulated, action = sys.argv
        asyncio.run(main(Path(folder), Path(locks), simulated == "simulated", action))
    except NegawattError as error:
        sys.exit(f"{type(error).__name__}: {error}")
