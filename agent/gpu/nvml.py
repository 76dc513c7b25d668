"""NVIDIA GPUs through pynvml: the only module that knows NVML.

NVML's codes become one error class each, by the table below, which is the policy; what is worth another try gets it
at once. Limits outlive this process and are lost when the driver reloads; a clock lock can be set and taken back, but
NVML has no call that reads it. The ``_v2`` setter of nvidia-ml-py drops its return code, so v1 is used.

Reference: NVML API reference manual; NVML_FI_DEV_POWER_AVERAGE (185) and _INSTANT (186) are of R530 and newer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import pynvml

from agent.errors import (
    GpuDriverError,
    GpuError,
    GpuLimitError,
    GpuLostError,
    GpuPermissionError,
    GpuTelemetryOnlyError,
    GpuTransientError,
)
from agent.gpu.device import Found, GpuReading, Hold

SIMULATED_PREFIX = "negawatt-sim"
"""How the driver version of the simulated library begins."""
MW_PER_W = 1000.0

_UNSUPPORTED = (GpuTelemetryOnlyError, "this GPU, or its driver, does not do that: it is only read")
_POLICY: dict[int, tuple[type[GpuError], str]] = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: _UNSUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: _UNSUPPORTED,
    pynvml.NVML_ERROR_DEPRECATED: _UNSUPPORTED,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: _UNSUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION: (GpuPermissionError, "not permitted: run the node agent as root"),
    pynvml.NVML_ERROR_OPERATING_SYSTEM: (
        GpuPermissionError,
        "the system keeps this process from the GPU: let its cgroup use /dev/nvidia*",
    ),
    pynvml.NVML_ERROR_INVALID_ARGUMENT: (GpuLimitError, "outside what this GPU takes"),
    pynvml.NVML_ERROR_FREQ_NOT_SUPPORTED: (GpuLimitError, "not a clock of this GPU"),
    pynvml.NVML_ERROR_GPU_IS_LOST: (GpuLostError, "the GPU is lost: drain the node and reboot it"),
    pynvml.NVML_ERROR_GPU_NOT_FOUND: (GpuLostError, "the GPU is lost: drain the node and reboot it"),
    pynvml.NVML_ERROR_RESET_REQUIRED: (GpuLostError, "the GPU needs a reset: drain the node and reset it"),
    pynvml.NVML_ERROR_INSUFFICIENT_POWER: (GpuLostError, "the GPU has no power: check its cables"),
    pynvml.NVML_ERROR_IRQ_ISSUE: (GpuLostError, "the GPU's interrupts fail: drain the node and reboot it"),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (GpuDriverError, "no NVIDIA driver is loaded: load it"),
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (GpuDriverError, "there is no libnvidia-ml.so.1: install the NVIDIA driver"),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (GpuDriverError, "driver and library differ in version: reboot"),
    pynvml.NVML_ERROR_UNINITIALIZED: (GpuDriverError, "NVML is not initialised: the driver was reloaded"),
}
"""What each code means and what to do; any other (time-out, unknown) is tried again."""

_HOLDS: dict[int, Hold] = {
    pynvml.nvmlClocksEventReasonApplicationsClocksSetting: Hold.CLOCKS,
    pynvml.nvmlClocksEventReasonSwPowerCap: Hold.POWER_CAP,
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: Hold.HEAT,
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: Hold.HEAT,
    pynvml.nvmlClocksEventReasonHwSlowdown: Hold.HARDWARE,
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: Hold.HARDWARE,
}
"""Idle, sync boost and display clocks hold nothing down that we care about."""

P = ParamSpec("P")
R = TypeVar("R")


def _by_policy(call: Callable[P, R]) -> Callable[P, R]:
    """Raise NVML's errors as the class their code stands for, a passing one only the second time."""

    @functools.wraps(call)
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except pynvml.NVMLError as error:
            kind, advice = _POLICY.get(error.value, (GpuTransientError, "it is tried again"))
            raise kind(f"NVML: {error}: {advice}") from error

    @functools.wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return once(*args, **kwargs)
        except GpuTransientError:
            return once(*args, **kwargs)

    return checked


def _if_told(call: Callable[P, R]) -> Callable[P, R | None]:
    """None where the GPU does not tell: what is good to know must not hide its power."""
    checked = _by_policy(call)

    @functools.wraps(call)
    def optional(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return checked(*args, **kwargs)
        except (GpuLostError, GpuDriverError):
            raise
        except GpuError:
            return None

    return optional


class NvmlGpu:
    """One GPU by its handle."""

    @_by_policy
    def __init__(self, index: int) -> None:
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.uuid: str = pynvml.nvmlDeviceGetUUID(self._handle)
        self.model = self._name() or "of unknown type"
        self.instances = tuple(_mig_instances(self._handle))
        self.forgets = self._persistence() == pynvml.NVML_FEATURE_DISABLED

    @_if_told
    def _name(self) -> str:
        return str(pynvml.nvmlDeviceGetName(self._handle))

    @_if_told
    def _persistence(self) -> int:
        return int(pynvml.nvmlDeviceGetPersistenceMode(self._handle))

    def bounds_w(self) -> tuple[float, float] | None:
        """Queried, never assumed: they differ by board and by vBIOS. Unit: W."""
        try:
            low_mw, high_mw = self._constraints_mw()
        except GpuTelemetryOnlyError:
            return None
        return low_mw / MW_PER_W, high_mw / MW_PER_W

    @_by_policy
    def _constraints_mw(self) -> tuple[int, int]:
        low_mw, high_mw = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(self._handle)
        return int(low_mw), int(high_mw)

    @_if_told
    def clock_bounds_mhz(self) -> tuple[float, float]:
        """The clocks it supports at its fastest memory clock. Unit: MHz."""
        memory_mhz = max(pynvml.nvmlDeviceGetSupportedMemoryClocks(self._handle))
        clocks_mhz = pynvml.nvmlDeviceGetSupportedGraphicsClocks(self._handle, memory_mhz)
        return float(min(clocks_mhz)), float(max(clocks_mhz))

    def read(self) -> GpuReading:
        """Power by fields 185 and 186 where they are, else by the older call, which A100 answers for an instant."""
        average_mw, instant_mw, energy_mj = self._fields()
        if average_mw is None:
            average_mw = self._power_mw()
        reasons = self._event_reasons() or 0
        return GpuReading(
            power_w=average_mw / MW_PER_W,
            instant_w=(average_mw if instant_mw is None else instant_mw) / MW_PER_W,
            energy_mj=energy_mj,
            utilisation=self._utilisation(),
            clock_mhz=self._clock_mhz(),
            held=frozenset(hold for bit, hold in _HOLDS.items() if reasons & bit),
        )

    def _fields(self) -> tuple[int | None, int | None, int | None]:
        """Average and instant power, and the energy counter, in one call. Unit: mW, mW, mJ."""
        values = self._field_values()
        if values is None:
            return None, None, None
        average, instant, energy = values
        return (
            int(average.value.uiVal) if average.nvmlReturn == pynvml.NVML_SUCCESS else None,
            int(instant.value.uiVal) if instant.nvmlReturn == pynvml.NVML_SUCCESS else None,
            int(energy.value.ullVal) if energy.nvmlReturn == pynvml.NVML_SUCCESS else None,
        )

    @_if_told
    def _field_values(self) -> Any:
        fields = [
            pynvml.NVML_FI_DEV_POWER_AVERAGE,
            pynvml.NVML_FI_DEV_POWER_INSTANT,
            pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
        ]
        return pynvml.nvmlDeviceGetFieldValues(self._handle, fields)

    @_by_policy
    def _power_mw(self) -> int:
        return int(pynvml.nvmlDeviceGetPowerUsage(self._handle))

    @_if_told
    def _utilisation(self) -> float:
        return float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu) / 100.0

    @_if_told
    def _clock_mhz(self) -> float:
        return float(pynvml.nvmlDeviceGetClockInfo(self._handle, pynvml.NVML_CLOCK_SM))

    @_if_told
    def _event_reasons(self) -> int:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))

    @_by_policy
    def limit_w(self) -> float:
        """The limit software set; the enforced one may be lower. Unit: W."""
        return float(pynvml.nvmlDeviceGetPowerManagementLimit(self._handle)) / MW_PER_W

    @_by_policy
    def enforced_w(self) -> float:
        """The lowest of all limits, those set out of band by the chassis among them. Unit: W."""
        return float(pynvml.nvmlDeviceGetEnforcedPowerLimit(self._handle)) / MW_PER_W

    @_by_policy
    def set_limit_w(self, limit_w: float) -> None:
        """Set a limit inside the GPU's constraints. Unit: W."""
        pynvml.nvmlDeviceSetPowerManagementLimit(self._handle, round(limit_w * MW_PER_W))

    @_by_policy
    def lock_clocks_mhz(self, high_mhz: float) -> None:
        """From 0, which NVML takes for the lowest there is, so that an idle GPU can rest. Unit: MHz."""
        pynvml.nvmlDeviceSetGpuLockedClocks(self._handle, 0, round(high_mhz))

    @_by_policy
    def unlock_clocks(self) -> None:
        """Take any lock back, whoever set it."""
        pynvml.nvmlDeviceResetGpuLockedClocks(self._handle)


def _mig_instances(handle: Any) -> Iterator[str]:
    """UUIDs of the instances a GPU is split into."""
    try:
        split = _mig_mode(handle) == pynvml.NVML_DEVICE_MIG_ENABLE
    except GpuTelemetryOnlyError:
        return
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle) if split else 0):
        with suppress(pynvml.NVMLError_NotFound):
            yield pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))


@_by_policy
def _mig_mode(handle: Any) -> int:
    current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    return int(current)


class NvmlGpus:
    """The GPUs of this node."""

    @staticmethod
    @contextmanager
    def open(*, simulated: bool) -> Iterator[NvmlGpus]:
        """NVML, initialised. Raises GpuDriverError, also when the library is simulated and must not be, or must."""
        gpus = NvmlGpus(simulated=simulated)
        gpus.reopen()
        try:
            yield gpus
        finally:
            _shut_down()

    def __init__(self, *, simulated: bool) -> None:
        self._simulated = simulated

    def reopen(self) -> None:
        """Initialise NVML, anew where it was. Raises GpuError."""
        _shut_down()
        _initialise()
        try:
            _check_driver(simulated=self._simulated)
        except GpuError:
            _shut_down()
            raise

    def devices(self) -> Found:
        """Every GPU; one that is lost, or does not say who it is, is left out."""
        devices: list[NvmlGpu] = []
        left_out: dict[str, GpuError] = {}
        for index in range(_count()):
            try:
                devices.append(NvmlGpu(index))
            except GpuDriverError:
                raise
            except GpuError as error:
                left_out[f"GPU at index {index}"] = error
        return Found(devices=devices, left_out=left_out)


def _shut_down() -> None:
    # Not initialised, or gone: either way nothing of ours is left to shut down.
    with suppress(pynvml.NVMLError):
        pynvml.nvmlShutdown()


@_by_policy
def _initialise() -> None:
    pynvml.nvmlInit()


@_by_policy
def _count() -> int:
    return int(pynvml.nvmlDeviceGetCount())


@_by_policy
def _driver_version() -> Any:
    return pynvml.nvmlSystemGetDriverVersion()


def _check_driver(*, simulated: bool) -> None:
    version = str(_driver_version())
    if version.startswith(SIMULATED_PREFIX) and not simulated:
        raise GpuDriverError(
            f"the NVML library is simulated ({version}): unset LD_LIBRARY_PATH, or set simulated = true in [node]"
        )
    if simulated and not version.startswith(SIMULATED_PREFIX):
        raise GpuDriverError(f"[node] simulated = true, but this is a real driver ({version}): set it to false")
