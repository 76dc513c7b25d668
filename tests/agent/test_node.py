"""The node writes limits, and whoever opens it next gives back what a dead one left: real processes, real pynvml."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.simulation.nvml import library
from agent.simulation.nvml.state import GpuModel, NvmlState
from agent.workloads.jobs import FlexTier, Job, Workloads

UUIDS = tuple(f"GPU-00000000-0000-0000-0000-{i:012d}" for i in range(3))
DEFAULT_W = 400.0

StartNode = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def state(tmp_path: Path) -> NvmlState:
    jobs = (
        Job(job_id="capped", workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=UUIDS[:2]),
        Job(job_id="untouched", workload="decode", tier=FlexTier.FLEX_0, gpu_uuids=UUIDS[2:]),
    )
    (tmp_path / "workloads.json").write_text(Workloads(jobs=jobs).model_dump_json())
    return NvmlState.create(tmp_path / "gpus.state", UUIDS, GpuModel())


@pytest.fixture
def start_node(state: NvmlState, built: Path, tmp_path: Path) -> StartNode:
    def start(action: str, simulated: str = "simulated") -> subprocess.Popen[str]:
        environ = {**os.environ, "LD_LIBRARY_PATH": str(built.parent), library.STATE_VARIABLE: str(state.path)}
        command = [sys.executable, "-m", "tests.agent.node_process", str(tmp_path), simulated, action]
        return subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def finish(process: subprocess.Popen[str]) -> tuple[Any, str]:
    """Its last line as JSON (None without one), and what it said on standard error."""
    output, errors = process.communicate(input="\n", timeout=30)
    lines = output.splitlines()
    return json.loads(lines[-1]) if lines else None, errors


def caps_w(state: NvmlState) -> list[float]:
    return [float(mw) / 1000 for mw in state.gpus["cap_mw"]]


def test_what_was_capped_is_given_back(start_node: StartNode) -> None:
    seen, errors = finish(start_node("apply"))
    assert errors == ""
    assert seen == {"limits": dict.fromkeys(UUIDS, DEFAULT_W), "counts": {"capped": 2, "untouched": 1}, "priors": {}}


def test_the_next_process_restores_what_a_killed_one_left(start_node: StartNode, state: NvmlState) -> None:
    dead = start_node("die")
    finish_code = dead.wait(timeout=30)
    dead.communicate()
    assert finish_code == -signal.SIGKILL
    assert caps_w(state) == [250.0, 250.0, DEFAULT_W]
    seen, _ = finish(start_node("read"))
    assert seen["limits"] == dict.fromkeys(UUIDS, DEFAULT_W)
    assert seen["priors"] == {}


def test_a_lease_that_still_runs_is_honoured_by_the_next_process(start_node: StartNode) -> None:
    holder = start_node("hold")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    holder.kill()
    holder.communicate()
    seen, _ = finish(start_node("read"))
    assert seen["limits"] == {UUIDS[0]: 250.0, UUIDS[1]: 250.0, UUIDS[2]: DEFAULT_W}
    assert seen["priors"] == dict.fromkeys(UUIDS, DEFAULT_W)


def test_only_one_process_writes_limits(start_node: StartNode) -> None:
    holder = start_node("hold")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    second = start_node("read")
    seen, errors = finish(second)
    assert seen is None
    assert errors.startswith("NodeError:")
    assert "another agent writes these GPUs" in errors
    finish(holder)


def test_a_simulated_driver_is_refused_unless_asked_for(start_node: StartNode) -> None:
    seen, errors = finish(start_node("read", simulated="real"))
    assert seen is None
    assert "the NVML library is simulated (negawatt-sim" in errors


def test_a_lost_gpu_is_left_out_and_the_others_go_on(start_node: StartNode, state: NvmlState) -> None:
    state.gpus["lost"][0] = 1
    seen, _ = finish(start_node("apply"))
    assert seen["counts"] == {"capped": 1, "untouched": 1}
