"""Unmodified pynvml sees the simulated GPUs, and the C and Python sides agree on every byte."""

from __future__ import annotations

import ctypes
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.simulation.errors import CompilerError, StateError
from agent.simulation.nvml import library
from agent.simulation.nvml.state import (
    GPU,
    HEADER,
    HEADER_BYTES,
    RING_LENGTH,
    SYMBOLS,
    WRITE,
    ErrorClass,
    GpuModel,
    NvmlState,
)
from grid.clock import SystemClock
from tests.agent.simulation.conftest import RunPynvml

UUIDS = tuple(f"GPU-00000000-0000-0000-0000-{i:012d}" for i in range(4))


@pytest.fixture
def state(tmp_path: Path) -> NvmlState:
    return NvmlState.create(tmp_path / "gpus.state", UUIDS, GpuModel())


def test_c_and_python_lay_the_state_out_alike(nvml_library: Path) -> None:
    layout = ctypes.CDLL(str(nvml_library)).negawatt_nvml_layout
    layout.argtypes, layout.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_size_t
    text = ctypes.create_string_buffer(32768)
    assert layout(text, len(text)) > 0
    lines = {name: (int(a), int(b)) for name, a, b in (line.split() for line in text.value.decode().splitlines())}
    python = {
        f"{owner}.{name}": (dtype.fields[name][1], dtype.fields[name][0].itemsize)
        for owner, dtype in (("header", HEADER), ("gpu", GPU), ("write", WRITE))
        if dtype.names is not None and dtype.fields is not None
        for name in dtype.names
    }
    sizes = {
        "size.header": (HEADER_BYTES, HEADER.itemsize),
        "size.gpu": (GPU.itemsize, RING_LENGTH),
        "size.write": (WRITE.itemsize, len(SYMBOLS)),
    }
    symbols = {f"symbol.{name}": (number, 0) for number, name in enumerate(SYMBOLS)}
    assert lines == {**python, **sizes, **symbols}
    assert GPU.itemsize % 8 == HEADER.itemsize % 8 == 0


def test_pynvml_reads_what_the_plant_wrote(state: NvmlState, run_pynvml: RunPynvml) -> None:
    state.gpus["power_average_mw"] = [300_000, 310_000, 320_000, 330_000]
    state.gpus["power_instant_mw"] = 301_500
    state.gpus["energy_mj"] = 2**40
    state.gpus["utilization_pct"] = 87
    state.gpus["temperature_c"] = 61
    state.gpus["process_id"] = 4711
    state.gpus["memory_used_bytes"] = 40 * 2**30
    state.gpus["event_reasons"] = 4
    out = run_pynvml(
        state.path,
        """
nv.nvmlInit()
out["driver"] = nv.nvmlSystemGetDriverVersion()
out["nvml"] = nv.nvmlSystemGetNVMLVersion()
out["uuids"] = [nv.nvmlDeviceGetUUID(nv.nvmlDeviceGetHandleByIndex(i)) for i in range(nv.nvmlDeviceGetCount())]
gpu = nv.nvmlDeviceGetHandleByUUID(out["uuids"][2])
out["index"] = nv.nvmlDeviceGetIndex(gpu)
out["name"] = nv.nvmlDeviceGetName(gpu)
out["power"] = nv.nvmlDeviceGetPowerUsage(gpu)
out["energy"] = nv.nvmlDeviceGetTotalEnergyConsumption(gpu)
out["utilization"] = nv.nvmlDeviceGetUtilizationRates(gpu).gpu
out["temperature"] = [nv.nvmlDeviceGetTemperature(gpu, 0), nv.nvmlDeviceGetTemperatureV(gpu, 0)]
out["processes"] = [p.pid for p in nv.nvmlDeviceGetComputeRunningProcesses(gpu)]
out["memory"] = nv.nvmlDeviceGetMemoryInfo(gpu).used
out["reasons"] = nv.nvmlDeviceGetCurrentClocksEventReasons(gpu)
out["pci"] = nv.nvmlDeviceGetPciInfo(gpu).busId
out["mig"] = nv.nvmlDeviceGetMigMode(gpu)
out["persistence"] = nv.nvmlDeviceGetPersistenceMode(gpu)
out["clock"] = nv.nvmlDeviceGetMaxClockInfo(gpu, nv.NVML_CLOCK_SM)
fields = nv.nvmlDeviceGetFieldValues(gpu, [185, 186, 83, 5])
out["fields"] = [fields[0].value.uiVal, fields[1].value.uiVal, fields[2].value.ullVal, fields[3].nvmlReturn]
nv.nvmlShutdown()
out["after"] = code(nv.nvmlDeviceGetPowerUsage, gpu)
""",
    )
    assert out["driver"].startswith("negawatt-sim")
    assert out["uuids"] == list(UUIDS)
    assert (out["index"], out["power"], out["energy"], out["utilization"]) == (2, 320_000, 2**40, 87)
    assert (out["temperature"], out["processes"], out["memory"], out["reasons"]) == ([61, 61], [4711], 40 * 2**30, 4)
    assert out["pci"].startswith("00000000:27:00")
    assert (out["mig"], out["persistence"], out["clock"]) == ([0, 0], 1, 1410)
    assert out["fields"] == [320_000, 301_500, 2**40, 3]
    assert out["after"] == 1


def test_caps_are_bounded_and_outlive_their_writer(state: NvmlState, run_pynvml: RunPynvml) -> None:
    state.gpus["out_of_band_mw"][1] = 180_000
    before = SystemClock().now() - timedelta(milliseconds=1)
    out = run_pynvml(
        state.path,
        """
nv.nvmlInit()
gpu = nv.nvmlDeviceGetHandleByIndex(1)
out["limits"] = nv.nvmlDeviceGetPowerManagementLimitConstraints(gpu)
out["default"] = nv.nvmlDeviceGetPowerManagementDefaultLimit(gpu)
out["codes"] = [code(nv.nvmlDeviceSetPowerManagementLimit, gpu, mw) for mw in (99_999, 400_001, 250_000)]
out["cap"] = nv.nvmlDeviceGetPowerManagementLimit(gpu)
out["enforced"] = nv.nvmlDeviceGetEnforcedPowerLimit(gpu)
out["locks"] = [code(nv.nvmlDeviceSetGpuLockedClocks, gpu, *lock) for lock in ((900, 800), (210, 900))]
""",
    )
    assert out["limits"] == [100_000, 400_000]
    assert (out["default"], out["cap"], out["enforced"]) == (400_000, 250_000, 180_000)
    assert out["codes"] == [2, 2, 0]
    assert out["locks"] == [2, 0]
    assert state.gpus["cap_mw"].tolist() == [400_000, 250_000, 400_000, 400_000]
    assert state.enforced_w().tolist() == [400.0, 180.0, 400.0, 400.0]
    assert state.gpus["lock_max_mhz"].tolist() == [0, 900, 0, 0]
    assert state.gpus["cap_writes"].tolist() == [0, 1, 0, 0]
    first = state.first_writes(before)
    assert [at is None for at in first] == [True, False, True, True]
    assert first[1] is not None
    assert before <= first[1] <= before + timedelta(minutes=1)
    assert state.first_writes(first[1] + timedelta(microseconds=2))[1] is None
    again = run_pynvml(
        state.path, "nv.nvmlInit(); out['cap'] = nv.nvmlDeviceGetPowerManagementLimit(nv.nvmlDeviceGetHandleByIndex(1))"
    )
    assert again == {"cap": 250_000}


def test_every_error_can_be_injected(state: NvmlState, run_pynvml: RunPynvml) -> None:
    state.inject(ErrorClass.LIMIT_WRITE, 4)
    state.inject(ErrorClass.TELEMETRY, 3, gpu=0)
    state.inject(ErrorClass.CLOCK_WRITE, 999, gpu=1)
    state.gpus["lost"][3] = 1
    statements = """
nv.nvmlInit()
gpus = [nv.nvmlDeviceGetHandleByIndex(i) for i in range(3)]
out["write"] = [code(nv.nvmlDeviceSetPowerManagementLimit, gpu, 300_000) for gpu in gpus]
out["power"] = [code(nv.nvmlDeviceGetPowerUsage, gpu) for gpu in gpus]
out["clock"] = [code(nv.nvmlDeviceSetGpuLockedClocks, gpu, 210, 900) for gpu in gpus]
out["lost"] = code(nv.nvmlDeviceGetHandleByIndex, 3)
"""
    out = run_pynvml(state.path, statements)
    assert out == {"write": [4, 4, 4], "power": [3, 0, 0], "clock": [0, 999, 0], "lost": 15}
    state.inject(ErrorClass.LIMIT_WRITE, 0)
    assert run_pynvml(state.path, statements)["write"] == [0, 0, 0]
    state.inject(ErrorClass.INIT, 9)
    assert run_pynvml(state.path, "out['init'] = code(nv.nvmlInit)") == {"init": 9}


def test_one_function_fails_on_one_gpu_as_often_as_it_was_told_to(state: NvmlState, run_pynvml: RunPynvml) -> None:
    state.inject("nvmlDeviceSetPowerManagementLimit", 10, gpu=0, calls=2)
    state.inject("nvmlDeviceGetPowerUsage", 999, calls=3)
    out = run_pynvml(
        state.path,
        """
nv.nvmlInit()
gpus = [nv.nvmlDeviceGetHandleByIndex(i) for i in range(2)]
out["write"] = [[code(nv.nvmlDeviceSetPowerManagementLimit, gpu, 300_000) for gpu in gpus] for _ in range(3)]
out["power"] = [code(nv.nvmlDeviceGetPowerUsage, gpu) for gpu in gpus + gpus]
out["energy"] = code(nv.nvmlDeviceGetTotalEnergyConsumption, gpus[0])
""",
    )
    assert out == {"write": [[10, 0], [10, 0], [0, 0]], "power": [999, 999, 999, 0], "energy": 0}


def test_every_function_can_fail_with_every_code(state: NvmlState, nvml_library: Path) -> None:
    exported = ctypes.CDLL(str(nvml_library))
    assert all(hasattr(exported, symbol) for symbol in SYMBOLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.STATE_VARIABLE, str(state.path))
        assert exported.nvmlInitWithFlags(0) == 0
    gpu = ctypes.c_void_p()
    assert exported.nvmlDeviceGetHandleByIndex_v2(1, ctypes.byref(gpu)) == 0
    room = [ctypes.byref(ctypes.create_string_buffer(1024)) for _ in range(3)]
    for symbol in SYMBOLS:
        concerns_a_gpu = symbol.startswith("nvmlDevice") and "Count_v2" not in symbol and "HandleBy" not in symbol
        call = getattr(exported, symbol)
        for nvml_code in (*range(1, 30), 999):
            state.inject(symbol, nvml_code, calls=1)
            assert call(*((gpu,) if concerns_a_gpu else ()), *room) == nvml_code, symbol
    assert exported.nvmlShutdown() == 0


def test_a_reloaded_driver_forgets_caps_and_locks_and_must_be_initialised_again(
    state: NvmlState, run_pynvml: RunPynvml
) -> None:
    state.gpus["energy_mj"] = 5_000
    out = run_pynvml(
        state.path,
        f"""
import sys
from pathlib import Path
from agent.simulation.nvml.state import GpuModel, NvmlState
path = Path({str(state.path)!r})
nv.nvmlInit()
gpu = nv.nvmlDeviceGetHandleByIndex(0)
nv.nvmlDeviceSetPowerManagementLimit(gpu, 200_000)
nv.nvmlDeviceSetGpuLockedClocks(gpu, 210, 900)
out["locked"] = [nv.nvmlDeviceGetClockInfo(gpu, 1), nv.nvmlDeviceGetCurrentClocksEventReasons(gpu)]
NvmlState.open(path).reload_driver()
out["gone"] = [code(nv.nvmlDeviceGetPowerUsage, gpu), code(nv.nvmlDeviceGetCount)]
nv.nvmlInit()
gpu = nv.nvmlDeviceGetHandleByIndex(0)
out["back"] = [nv.nvmlDeviceGetPowerManagementLimit(gpu), nv.nvmlDeviceGetTotalEnergyConsumption(gpu)]
out["clock"] = [nv.nvmlDeviceGetClockInfo(gpu, 1), nv.nvmlDeviceGetCurrentClocksEventReasons(gpu)]
NvmlState.create(path, {UUIDS!r}, GpuModel())
out["replaced"] = code(nv.nvmlDeviceGetPowerUsage, gpu)
nv.nvmlShutdown()
nv.nvmlInit()
out["again"] = code(nv.nvmlDeviceGetPowerUsage, nv.nvmlDeviceGetHandleByIndex(0))
""",
    )
    assert out == {
        "locked": [900, 2],
        "gone": [1, 1],
        "back": [400_000, 0],
        "clock": [1410, 0],
        "replaced": 1,
        "again": 0,
    }


def test_a_gpu_in_mig_mode_has_instances_and_its_limits_are_the_whole_gpus(
    state: NvmlState, run_pynvml: RunPynvml
) -> None:
    state.split(1, "MIG-a", "MIG-b")
    out = run_pynvml(
        state.path,
        """
nv.nvmlInit()
gpu = nv.nvmlDeviceGetHandleByIndex(1)
out["mode"] = nv.nvmlDeviceGetMigMode(gpu)
count = nv.nvmlDeviceGetMaxMigDeviceCount(gpu)
out["codes"] = [code(nv.nvmlDeviceGetMigDeviceHandleByIndex, gpu, i) for i in range(count)]
second = nv.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
out["uuid"] = nv.nvmlDeviceGetUUID(second)
out["whole"] = nv.nvmlDeviceGetUUID(nv.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(second))
out["is"] = [nv.nvmlDeviceIsMigDeviceHandle(handle).value for handle in (gpu, second)]
out["ids"] = [nv.nvmlDeviceGetGpuInstanceId(second), nv.nvmlDeviceGetComputeInstanceId(second)]
out["by uuid"] = nv.nvmlDeviceGetUUID(nv.nvmlDeviceGetHandleByUUID("MIG-b"))
out["refused"] = [code(nv.nvmlDeviceSetPowerManagementLimit, second, 200_000), code(nv.nvmlDeviceGetPowerUsage, second)]
out["utilisation"] = code(nv.nvmlDeviceGetUtilizationRates, gpu)
out["limit"] = code(nv.nvmlDeviceSetPowerManagementLimit, gpu, 200_000)
out["other"] = nv.nvmlDeviceGetMigMode(nv.nvmlDeviceGetHandleByIndex(0))
""",
    )
    assert out == {
        "mode": [1, 1],
        "codes": [0, 0, 6, 6, 6, 6, 6],
        "uuid": "MIG-b",
        "whole": UUIDS[1],
        "is": [0, 1],
        "ids": [2, 0],
        "by uuid": "MIG-b",
        "refused": [3, 3],
        "utilisation": 3,
        "limit": 0,
        "other": [0, 0],
    }


def test_an_older_board_lists_its_clocks_and_lacks_the_power_fields(state: NvmlState, run_pynvml: RunPynvml) -> None:
    state.gpus["no_power_fields"][0] = 1
    out = run_pynvml(
        state.path,
        """
nv.nvmlInit()
gpu = nv.nvmlDeviceGetHandleByIndex(0)
out["fields"] = [value.nvmlReturn for value in nv.nvmlDeviceGetFieldValues(gpu, [185, 186, 83])]
(memory,) = nv.nvmlDeviceGetSupportedMemoryClocks(gpu)
clocks = nv.nvmlDeviceGetSupportedGraphicsClocks(gpu, memory)
out["clocks"] = [min(clocks), max(clocks), len(clocks)]
""",
    )
    assert out == {"fields": [3, 3, 0], "clocks": [210, 1410, 81]}


def test_a_foreign_state_file_is_refused(tmp_path: Path, run_pynvml: RunPynvml) -> None:
    foreign = tmp_path / "foreign.state"
    foreign.write_bytes(b"\1" * 65536)
    assert run_pynvml(foreign, "out['init'] = code(nv.nvmlInit)") == {"init": 18}
    assert run_pynvml(tmp_path / "none", "out['init'] = code(nv.nvmlInit)") == {"init": 9}
    with pytest.raises(StateError, match="write it anew"):
        NvmlState.open(foreign)


def test_first_writes_refuses_what_the_ring_forgot(state: NvmlState, nvml_library: Path) -> None:
    _hammer(nvml_library, state, writes=RING_LENGTH + 1, threads=1)
    with pytest.raises(StateError, match="ask for a later time"):
        state.first_writes(datetime(2020, 1, 1, tzinfo=UTC))


def test_concurrent_writers_keep_every_write(state: NvmlState, nvml_library: Path) -> None:
    _hammer(nvml_library, state, writes=200, threads=4)
    kept = np.sort(state._rings[0]["sequence"])[-800:]
    assert kept.tolist() == list(range(1, 801))
    _hammer(nvml_library, state, writes=30_000, threads=4)
    assert int(state.gpus["cap_writes"][0]) == 800 + 120_000


def _hammer(nvml_library: Path, state: NvmlState, *, writes: int, threads: int) -> None:
    """Write GPU 0's cap from several threads at once, through the C functions themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.STATE_VARIABLE, str(state.path))
        nvml = ctypes.CDLL(str(nvml_library))
        assert nvml.nvmlInitWithFlags(0) == 0
        gpu = ctypes.c_void_p()
        assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(gpu)) == 0

        def write() -> None:
            for mw in range(200_000, 200_000 + writes):
                nvml.nvmlDeviceSetPowerManagementLimit(gpu, mw)

        workers = [threading.Thread(target=write) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert nvml.nvmlShutdown() == 0


def test_no_compiler_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match="apt-get install gcc"):
        library.build(tmp_path / "out", {"PATH": str(tmp_path)})
    with pytest.raises(CompilerError, match="set CC"):
        library.build(tmp_path / "out", {"CC": str(tmp_path / "missing")})
