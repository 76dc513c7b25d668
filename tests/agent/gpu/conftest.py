"""The simulated NVML library behind unmodified pynvml, in the test's own process."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gpu.nvml import NvmlGpus
from agent.simulation.nvml import library
from agent.simulation.nvml.state import GpuModel, NvmlState

UUIDS = tuple(f"GPU-{i}" for i in range(3))


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """pynvml opens the library by its soname, and finds the one that is loaded already."""
    ctypes.CDLL(str(library.build(tmp_path_factory.mktemp("nvml"))), mode=ctypes.RTLD_GLOBAL)


@pytest.fixture
def state(loaded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvmlState:
    made = NvmlState.create(tmp_path / "gpus.state", UUIDS, GpuModel())
    made.gpus["power_average_mw"], made.gpus["power_instant_mw"] = 300_000, 310_000
    monkeypatch.setenv(library.STATE_VARIABLE, str(made.path))
    return made


@pytest.fixture
def gpus(state: NvmlState) -> Iterator[NvmlGpus]:
    with NvmlGpus.open(simulated=True) as opened:
        yield opened
