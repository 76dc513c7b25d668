"""How long an emergency takes on a node: from a staged table called for to the last cap written.

    python -m tests.benchmarks.emergency [--gpus 64] [--runs 500] [--folder DIR]

Library GPUs behind real pynvml; the library stamps each write. ``untouched`` is the worst case, where every prior
limit has to reach the disk first; ``held`` is an emergency in the middle of an event. The floor is the same number of
bare calls of the C function by ctypes, in the same runs. ``--folder`` says on which disk the journal is. JSON; every
figure is of simulated GPUs: what a real driver takes for a write comes on top.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.gpu.nvml import NvmlGpus
from agent.journal import AgentJournal
from agent.node import Lease, LocalNode, Table
from agent.simulation.nvml import library
from agent.simulation.nvml.state import GpuModel, NvmlState
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.clock import SystemClock

GOAL_P99_MS = 100.0
GPUS_PER_JOB = 8
CAP_W, HELD_MHZ, DEEP_W, DEEP_MHZ = 300.0, 900.0, 120.0, 600.0
LEVEL = "deep"


@dataclass(kw_only=True)
class Timings:
    """Milliseconds from the call, one entry a run."""

    first_cap: list[float] = field(default_factory=list)
    last_cap: list[float] = field(default_factory=list)
    read_back: list[float] = field(default_factory=list)
    """The call has returned: everything is read back."""

    def figures(self) -> dict[str, dict[str, float]]:
        return {name: percentiles(values) for name, values in vars(self).items()}


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    p50, p99, top = np.percentile(values_ms, [50, 99, 100])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "max_ms": round(float(top), 3)}


class Bench:
    """One node of library GPUs."""

    def __init__(self, folder: Path, gpus: int) -> None:
        self.clock = SystemClock()
        self.uuids = tuple(f"GPU-{i:03d}" for i in range(gpus))
        self.jobs = tuple(
            Job(
                job_id=f"job-{first // GPUS_PER_JOB}",
                workload="infer_llama_8b",
                tier=FlexTier.FLEX_3,
                gpu_uuids=self.uuids[first : first + GPUS_PER_JOB],
            )
            for first in range(0, gpus, GPUS_PER_JOB)
        )
        self.nvml = ctypes.CDLL(str(library.build(folder / "nvml")), mode=ctypes.RTLD_GLOBAL)
        self.state = NvmlState.create(folder / "gpus.state", self.uuids, GpuModel())
        os.environ[library.STATE_VARIABLE] = str(self.state.path)
        self.folder = folder

    async def run(self, runs: int) -> dict[str, Any]:
        journal = AgentJournal.open(
            self.folder / "journal.sqlite", site_id="bench", key=Ed25519PrivateKey.generate(), clock=self.clock
        )
        untouched, held, floor = Timings(), Timings(), []
        with NvmlGpus.open(simulated=True) as gpus:
            node = LocalNode.open(
                gpus=gpus,
                workloads=Workloads(jobs=self.jobs),
                journal=journal,
                folder=self.folder,
                locks=self.folder / "locks",
                clock=self.clock,
            )
            await node.stage({LEVEL: self._table(DEEP_W, DEEP_MHZ)})
            for _ in range(runs):
                await self._emergency(node, untouched)
                await node.restore()
                await node.apply(self._table(CAP_W, HELD_MHZ), self._lease())
                await self._emergency(node, held)
                await node.restore()
                floor.append(self._floor())
            await node.restore()
            node.close()
        journal.close()
        return {"untouched": untouched.figures(), "held": held.figures(), "floor": percentiles(floor)}

    async def _emergency(self, node: LocalNode, into: Timings) -> None:
        called = self.clock.now()
        result = await node.apply_staged(LEVEL, self._lease())
        into.read_back.append(_ms(self.clock.now() - called))
        assert result.complete, result.alarms
        written = [at for at in self.state.first_writes(called) if at is not None]
        assert len(written) == len(self.uuids)
        assert (self.state.gpus["cap_mw"] == round(DEEP_W * 1000)).all()
        into.first_cap.append(_ms(min(written) - called))
        into.last_cap.append(_ms(max(written) - called))

    def _floor(self) -> float:
        set_limit, handles = self.nvml.nvmlDeviceSetPowerManagementLimit, self._handles()
        limit = ctypes.c_uint(round(CAP_W * 1000))
        called = self.clock.now()
        for handle in handles:
            set_limit(handle, limit)
        return _ms(max(at for at in self.state.first_writes(called) if at is not None) - called)

    def _handles(self) -> list[ctypes.c_void_p]:
        handles = [ctypes.c_void_p() for _ in self.uuids]
        for index, handle in enumerate(handles):
            self.nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        return handles

    def _table(self, cap_w: float, clock_mhz: float) -> Table:
        """The first job, which stands for decode, is held by its clocks as well."""
        return Table(
            caps_w={job.job_id: cap_w for job in self.jobs},
            clocks_mhz={self.jobs[0].job_id: clock_mhz},
        )

    def _lease(self) -> Lease:
        return Lease(until=self.clock.now() + timedelta(minutes=10))


def _ms(span: timedelta) -> float:
    return span / timedelta(milliseconds=1)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.emergency", description=__doc__)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="make temporary files here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = asyncio.run(Bench(Path(folder), options.gpus).run(options.runs))
    met = all(figures[case]["last_cap"]["p99_ms"] <= GOAL_P99_MS for case in ("untouched", "held"))
    report = {
        "simulated": True,
        "gpus": options.gpus,
        "runs": options.runs,
        "goal_p99_ms": GOAL_P99_MS,
        "met": met,
        **figures,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
