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

import pynvml
import pytest

from agent.simulation.nvml import library
from agent.simulation.nvml.state import ErrorClass, GpuModel, NvmlState
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
    def start(action: str, simulated: str = "simulated", folder: Path = tmp_path) -> subprocess.Popen[str]:
        environ = {**os.environ, "LD_LIBRARY_PATH": str(built.parent), library.STATE_VARIABLE: str(state.path)}
        where = (str(folder), str(tmp_path / "locks"))
        command = [sys.executable, "-m", "tests.agent.node_process", *where, simulated, action]
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


def locks_mhz(state: NvmlState) -> list[int]:
    return [int(mhz) for mhz in state.gpus["lock_max_mhz"]]


def test_what_was_capped_is_given_back(start_node: StartNode) -> None:
    seen, errors = finish(start_node("apply"))
    assert errors == ""
    assert seen == {
        "complete": True,
        "alarms": [],
        "limits": dict.fromkeys(UUIDS, DEFAULT_W),
        "counts": {"capped": 2, "untouched": 1},
        "priors": {},
        "failing": None,
    }


def test_the_next_process_restores_what_a_killed_one_left(start_node: StartNode, state: NvmlState) -> None:
    dead = start_node("die")
    finish_code = dead.wait(timeout=30)
    dead.communicate()
    assert finish_code == -signal.SIGKILL
    assert (caps_w(state), locks_mhz(state)) == ([250.0, 250.0, DEFAULT_W], [900, 900, 0])
    seen, _ = finish(start_node("read"))
    assert seen["limits"] == dict.fromkeys(UUIDS, DEFAULT_W)
    assert (seen["priors"], locks_mhz(state)) == ({}, [0, 0, 0])


def test_a_lease_that_still_runs_is_honoured_by_the_next_process(start_node: StartNode) -> None:
    holder = start_node("hold")
    until_it_waits(holder)
    holder.kill()
    holder.communicate()
    seen, _ = finish(start_node("read"))
    assert seen["limits"] == {UUIDS[0]: 250.0, UUIDS[1]: 250.0, UUIDS[2]: DEFAULT_W}
    assert seen["priors"] == dict.fromkeys(UUIDS, DEFAULT_W)


@pytest.mark.parametrize("folder", [".", "elsewhere"])
def test_only_one_process_writes_limits_wherever_it_keeps_its_journal(
    start_node: StartNode, tmp_path: Path, folder: str
) -> None:
    holder = start_node("hold")
    until_it_waits(holder)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "workloads.json").write_text((tmp_path / "workloads.json").read_text())
    second = start_node("read", folder=tmp_path / folder)
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


@pytest.mark.parametrize("what", [ErrorClass.ENUMERATE, ErrorClass.IDENTITY, ErrorClass.LIMIT_READ])
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_TIMEOUT, pynvml.NVML_ERROR_NO_PERMISSION])
def test_a_gpu_that_fails_at_the_start_keeps_no_other_from_its_limit_and_comes_back(
    start_node: StartNode, state: NvmlState, what: ErrorClass, code: int
) -> None:
    start_node("die").communicate(timeout=30)
    state.inject(what, code, gpu=0)
    node = until_it_waits(start_node("watch"))
    assert caps_w(state) == [250.0, DEFAULT_W, DEFAULT_W]
    state.inject(what, 0, gpu=0)
    seen, _ = finish(node)
    assert "NVML" in seen["failed"]
    assert caps_w(state) == [DEFAULT_W] * 3
    assert (seen["failing"], seen["priors"], seen["counts"]) == (None, {}, {"capped": 2, "untouched": 1})


def test_a_node_none_of_whose_gpus_can_be_used_says_why(start_node: StartNode, state: NvmlState) -> None:
    state.inject(ErrorClass.LIMIT_READ, pynvml.NVML_ERROR_NO_PERMISSION)
    _, errors = finish(start_node("read"))
    assert errors.startswith("NodeError: none of the workloads' GPUs can be used")
    assert "run the node agent as root" in errors


def test_caps_are_set_again_after_the_driver_was_reloaded(start_node: StartNode, state: NvmlState) -> None:
    node = until_it_waits(start_node("reload"))
    assert caps_w(state) == [250.0, 250.0, DEFAULT_W]
    state.path.unlink()
    for what in ErrorClass:
        state.inject(what, pynvml.NVML_ERROR_UNINITIALIZED)
    go_on(node)
    until_it_waits(node)
    reloaded = NvmlState.create(state.path, UUIDS, GpuModel())
    seen, _ = finish(node)
    gone, back = seen["ticks"]
    assert not gone["complete"]
    assert "NVML" in gone["alarms"][0]
    assert "driver" in gone["failing"]
    assert back == {"complete": True, "alarms": [], "failing": None}
    assert (caps_w(reloaded), locks_mhz(reloaded)) == ([250.0, 250.0, DEFAULT_W], [900, 900, 0])


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def until_it_waits(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """What it logs before is skipped."""
    assert process.stdout is not None
    assert "waiting\n" in iter(process.stdout.readline, "")
    return process


def test_the_prior_limit_is_the_one_in_force_at_the_first_change(start_node: StartNode, state: NvmlState) -> None:
    waiting = until_it_waits(start_node("wait"))
    state.gpus["cap_mw"] = [300_000, 350_000, 380_000]  # somebody else's doing, after the agent started
    seen, _ = finish(waiting)
    assert list(seen["limits"].values()) == [300.0, 350.0, 380.0]


def test_a_cap_never_raises_a_limit_and_limits_of_a_class_may_differ(start_node: StartNode, state: NvmlState) -> None:
    state.gpus["cap_mw"] = [200_000, 400_000, 380_000]
    seen, _ = finish(start_node("hold"))
    assert list(seen["limits"].values()) == [200.0, 250.0, 380.0]


def test_a_limit_somebody_else_set_is_found_set_again_and_told(start_node: StartNode, state: NvmlState) -> None:
    holder = until_it_waits(start_node("again"))
    state.gpus["cap_mw"][0] = 400_000
    seen, _ = finish(holder)
    assert seen["limits"][UUIDS[0]] == 250.0
    (alarm,) = seen["alarms"]
    assert "250 W were set, 400 W found and set again" in alarm


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "run the node agent as root"),
        (pynvml.NVML_ERROR_INVALID_ARGUMENT, "outside what this GPU takes"),
        (pynvml.NVML_ERROR_UNKNOWN, "tried again"),
    ],
)
def test_a_refused_write_is_told_with_what_to_do(
    start_node: StartNode, state: NvmlState, code: int, advice: str
) -> None:
    state.inject(ErrorClass.LIMIT_WRITE, code, gpu=0)
    seen, _ = finish(start_node("hold"))
    assert not seen["complete"]
    (alarm,) = seen["alarms"]
    assert UUIDS[0] in alarm
    assert advice in alarm
    assert seen["limits"][UUIDS[1]] == 250.0


def test_a_gpu_that_takes_no_limit_is_only_read(start_node: StartNode, state: NvmlState) -> None:
    state.inject(ErrorClass.LIMIT_READ, pynvml.NVML_ERROR_NOT_SUPPORTED, gpu=0)
    seen, _ = finish(start_node("hold"))
    assert seen["complete"]
    assert seen["counts"] == {"capped (read only)": 1, "capped": 1, "untouched": 1}
    assert caps_w(state) == [DEFAULT_W, 250.0, DEFAULT_W]


def test_without_a_driver_the_node_says_so(start_node: StartNode, state: NvmlState) -> None:
    state.inject(ErrorClass.INIT, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    seen, errors = finish(start_node("read"))
    assert seen is None
    assert errors.startswith("GpuDriverError: NVML: Driver Not Loaded: no NVIDIA driver is loaded")
