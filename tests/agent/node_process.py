"""One node in a process of its own, for tests: does what its arguments say and prints what it saw.

    python -m tests.agent.node_process FOLDER SIMULATED apply|die|read|hold

``die`` caps and then ends by SIGKILL; ``hold`` caps and waits for a line on standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.gpu.nvml import NvmlGpus
from agent.journal import AgentJournal
from agent.node import Lease, LocalNode
from agent.workloads.jobs import Workloads
from grid.clock import SystemClock
from grid.errors import NegawattError

CAP_W = 250.0


async def main(folder: Path, simulated: bool, action: str) -> None:
    clock = SystemClock()
    journal = AgentJournal.open(folder / "journal.sqlite", site_id="a", key=Ed25519PrivateKey.generate(), clock=clock)
    with NvmlGpus.open(simulated=simulated) as gpus:
        workloads = Workloads.read(folder / "workloads.json")
        node = LocalNode.open(gpus=gpus, workloads=workloads, journal=journal, folder=folder, clock=clock)
        if action != "read":
            lease_s = -1.0 if action == "die" else 60.0
            lease = Lease(until=clock.now() + timedelta(seconds=lease_s))
            result = await node.apply({"capped": CAP_W, "untouched": 400.0}, lease)
            assert result.complete, result.alarms
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "hold":
            sys.stdout.write("holding\n")
            sys.stdout.flush()
            sys.stdin.readline()
        if action == "apply":
            await node.restore()
        readings = await node.readings()
        limits = {gpu.uuid: gpu.limit_w() for gpu in gpus.devices()}
        counts = {class_id: reading.gpu_count for class_id, reading in readings.items()}
        sys.stdout.write(json.dumps({"limits": limits, "counts": counts, "priors": journal.prior_limits_w()}) + "\n")
        node.close()
    journal.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "simulated", sys.argv[3]))
    except NegawattError as error:
        sys.exit(f"{type(error).__name__}: {error}")
