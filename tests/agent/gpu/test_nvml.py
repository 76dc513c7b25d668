"""The driver on the simulated library: what each NVML code becomes at each call, and what a GPU tells."""

from __future__ import annotations

from collections.abc import Callable

import pynvml
import pytest

from agent.errors import (
    GpuDriverError,
    GpuError,
    GpuLimitError,
    GpuLostError,
    GpuPermissionError,
    GpuTelemetryOnlyError,
    GpuTransientError,
)
from agent.gpu.device import GpuDevice, Hold
from agent.gpu.nvml import NvmlGpus
from agent.simulation.nvml.state import ErrorClass, NvmlState
from tests.agent.gpu.conftest import UUIDS

POLICY: dict[type[GpuError], tuple[int, ...]] = {
    GpuTelemetryOnlyError: (3, 13, 25, 26),
    GpuPermissionError: (4, 17),
    GpuLimitError: (2, 24),
    GpuLostError: (8, 11, 15, 16, 28),
    GpuDriverError: (1, 9, 12, 18),
    GpuTransientError: (5, 6, 7, 10, 14, 19, 20, 21, 22, 23, 27, 29, 999),
}
CODES = [(code, kind) for kind, codes in POLICY.items() for code in codes]

GPU_CALLS: dict[str, tuple[ErrorClass | str, Callable[[GpuDevice], object]]] = {
    "get power": (ErrorClass.TELEMETRY, lambda gpu: gpu.read()),
    "get limit": ("nvmlDeviceGetPowerManagementLimit", lambda gpu: gpu.limit_w()),
    "get enforced limit": ("nvmlDeviceGetEnforcedPowerLimit", lambda gpu: gpu.enforced_w()),
    "set limit": ("nvmlDeviceSetPowerManagementLimit", lambda gpu: gpu.set_limit_w(250.0)),
    "set clocks": ("nvmlDeviceSetGpuLockedClocks", lambda gpu: gpu.lock_clocks_mhz(900.0)),
    "reset clocks": ("nvmlDeviceResetGpuLockedClocks", lambda gpu: gpu.unlock_clocks()),
}


def test_every_code_of_nvml_has_its_place_in_the_policy() -> None:
    known = {value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}
    assert {code for code, _ in CODES} >= known - {pynvml.NVML_ERROR_RESET_TYPE_NOT_SUPPORTED}


@pytest.mark.parametrize("call", GPU_CALLS)
@pytest.mark.parametrize(("code", "kind"), CODES)
def test_each_error_of_each_call_is_what_the_policy_says(
    state: NvmlState, gpus: NvmlGpus, code: int, kind: type[GpuError], call: str
) -> None:
    gpu = gpus.devices().devices[1]
    what, use = GPU_CALLS[call]
    state.inject(what, code, gpu=1)
    with pytest.raises(kind) as raised:
        use(gpu)
    assert type(raised.value) is kind
    assert raised.value.__cause__.value == code  # type: ignore[union-attr]
    state.inject(what, 0, gpu=1)
    use(gpu)


@pytest.mark.parametrize("call", ["init", "version", "enumerate"])
@pytest.mark.parametrize(("code", "kind"), CODES)
def test_each_error_of_the_node_s_own_calls_is_what_the_policy_says(
    state: NvmlState, gpus: NvmlGpus, code: int, kind: type[GpuError], call: str
) -> None:
    what = {"init": "nvmlInitWithFlags", "version": "nvmlSystemGetDriverVersion", "enumerate": "nvmlDeviceGetCount_v2"}
    state.inject(what[call], code)
    with pytest.raises(kind):
        _found_anew(gpus)
    state.inject(what[call], 0)
    assert _found_anew(gpus) == 3


def _found_anew(gpus: NvmlGpus) -> int:
    gpus.reopen()
    return len(gpus.devices().devices)


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_a_gpu_that_does_not_say_who_it_is_is_left_out_and_a_driver_error_is_everybody_s(
    state: NvmlState, gpus: NvmlGpus, code: int, kind: type[GpuError]
) -> None:
    state.inject("nvmlDeviceGetHandleByIndex_v2", code, gpu=0)
    if kind is GpuDriverError:
        with pytest.raises(GpuDriverError):
            gpus.devices()
        return
    found = gpus.devices()
    assert [gpu.uuid for gpu in found.devices] == list(UUIDS[1:])
    assert type(found.left_out["GPU at index 0"]) is kind


@pytest.mark.parametrize("call", GPU_CALLS)
def test_an_error_that_passes_is_tried_again_at_once(state: NvmlState, gpus: NvmlGpus, call: str) -> None:
    gpu = gpus.devices().devices[1]
    what, use = GPU_CALLS[call]
    state.inject(what, pynvml.NVML_ERROR_TIMEOUT, gpu=1, calls=1)
    use(gpu)


def test_a_gpu_tells_average_and_instant_power_energy_and_what_holds_it_back(state: NvmlState, gpus: NvmlGpus) -> None:
    state.gpus["energy_mj"], state.gpus["utilization_pct"] = 5_000, 80
    state.gpus["event_reasons"] = 0x1 | 0x4 | 0x20 | 0x80
    gpu = gpus.devices().devices[0]
    reading = gpu.read()
    assert (reading.power_w, reading.instant_w, reading.energy_mj) == (300.0, 310.0, 5_000)
    assert (reading.utilisation, reading.clock_mhz) == (0.8, 1410.0)
    assert reading.held == {Hold.POWER_CAP, Hold.HEAT, Hold.HARDWARE}
    gpu.lock_clocks_mhz(900.0)
    assert (gpu.read().clock_mhz, Hold.CLOCKS in gpu.read().held) == (900.0, True)


@pytest.mark.parametrize("older", ["without the power fields", "without any field"])
def test_an_older_board_tells_its_power_all_the_same(state: NvmlState, gpus: NvmlGpus, older: str) -> None:
    if older == "without any field":
        state.inject("nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    state.gpus["no_power_fields"] = 1
    reading = gpus.devices().devices[0].read()
    assert (reading.power_w, reading.instant_w) == (300.0, 300.0)
    assert (reading.energy_mj is None) == (older == "without any field")


@pytest.mark.parametrize(
    "symbol",
    ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetClockInfo"],
)
def test_what_a_board_does_not_tell_does_not_hide_its_power(state: NvmlState, gpus: NvmlGpus, symbol: str) -> None:
    state.inject(symbol, pynvml.NVML_ERROR_NO_PERMISSION)
    assert gpus.devices().devices[0].read().power_w == 300.0


def test_limits_and_clocks_are_asked_of_each_board(state: NvmlState, gpus: NvmlGpus) -> None:
    state.gpus["min_limit_mw"][1], state.gpus["max_limit_mw"][1] = 200_000, 700_000
    state.gpus["max_clock_mhz"][1] = 1980
    state.gpus["name"][1] = b"H100-like"
    first, second, _ = gpus.devices().devices
    assert (first.bounds_w(), second.bounds_w()) == ((100.0, 400.0), (200.0, 700.0))
    assert (first.clock_bounds_mhz(), second.clock_bounds_mhz()) == ((210.0, 1410.0), (210.0, 1980.0))
    assert second.model == "H100-like"
    state.inject("nvmlDeviceGetSupportedGraphicsClocks", pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert first.clock_bounds_mhz() is None


@pytest.mark.parametrize("code", POLICY[GpuTelemetryOnlyError])
def test_a_board_or_driver_without_limits_or_mig_is_a_whole_gpu_that_is_only_read(
    state: NvmlState, gpus: NvmlGpus, code: int
) -> None:
    state.inject("nvmlDeviceGetMigMode", code, gpu=0)
    state.inject("nvmlDeviceGetPowerManagementLimitConstraints", code, gpu=0)
    gpu = gpus.devices().devices[0]
    assert (gpu.uuid, gpu.instances, gpu.bounds_w()) == (UUIDS[0], (), None)


def test_a_split_gpu_names_its_instances_and_tells_no_utilisation(state: NvmlState, gpus: NvmlGpus) -> None:
    state.split(2, "MIG-a", "MIG-b")
    gpu = gpus.devices().devices[2]
    assert gpu.instances == ("MIG-a", "MIG-b")
    assert (gpu.read().utilisation, gpu.read().power_w) == (None, 300.0)


def test_a_simulated_driver_is_taken_only_when_asked_for(state: NvmlState) -> None:
    with pytest.raises(GpuDriverError, match="is simulated"), NvmlGpus.open(simulated=False):
        pass
    state.header["driver_version"] = b"570.1"
    with pytest.raises(GpuDriverError, match="a real driver"), NvmlGpus.open(simulated=True):
        pass
