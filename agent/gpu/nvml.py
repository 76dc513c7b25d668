"""NVIDIA GPUs through pynvml: the only module that knows NVML.

NVML's codes become one error class each, by the table below, which is the policy. Limits outlive this process and
are lost when the driver reloads. The ``_v2`` setter of nvidia-ml-py drops its return code, so v1 is used and every
write is read back.
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
from agent.gpu.device import Found

SIMULATED_PREFIX = "negawatt-sim"
"""How the driver version of the simulated library begins."""
MW_PER_W = 1000.0

_POLICY: dict[int, tuple[type[GpuError], str]] = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: (GpuTelemetryOnlyError, "this GPU takes no power limit: it is only read"),
    pynvml.NVML_ERROR_NO_PERMISSION: (GpuPermissionError, "not permitted: run the node agent as root"),
    pynvml.NVML_ERROR_INVALID_ARGUMENT: (GpuLimitError, "the limit is outside what this GPU takes"),
    pynvml.NVML_ERROR_GPU_IS_LOST: (GpuLostError, "the GPU is lost: drain the node and reboot it"),
    pynvml.NVML_ERROR_RESET_REQUIRED: (GpuLostError, "the GPU needs a reset: drain the node and reset it"),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (GpuDriverError, "no NVIDIA driver is loaded: load it"),
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (GpuDriverError, "there is no libnvidia-ml.so.1: install the NVIDIA driver"),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (GpuDriverError, "driver and library differ in version: reboot"),
    pynvml.NVML_ERROR_UNINITIALIZED: (GpuDriverError, "NVML is not initialised: the driver was reloaded"),
}
"""What each code means and what to do; any other (time-out, unknown) is tried again."""

P = ParamSpec("P")
R = TypeVar("R")


def _by_policy(call: Callable[P, R]) -> Callable[P, R]:
    """Raise NVML's errors as the class their code stands for."""

    @functools.wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except pynvml.NVMLError as error:
            kind, advice = _POLICY.get(error.value, (GpuTransientError, "it is tried again"))
            raise kind(f"NVML: {error}: {advice}") from error

    return checked


class NvmlGpu:
    """One GPU by its handle."""

    @_by_policy
    def __init__(self, index: int) -> None:
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.uuid: str = pynvml.nvmlDeviceGetUUID(self._handle)

    @_by_policy
    def bounds_w(self) -> tuple[float, float] | None:
        """Queried, never assumed: they differ by board and by vBIOS. Unit: W."""
        try:
            low_mw, high_mw = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(self._handle)
        except pynvml.NVMLError_NotSupported:
            return None
        return low_mw / MW_PER_W, high_mw / MW_PER_W

    @_by_policy
    def power_w(self) -> float:
        """Mean of about the last second (Ampere and newer). Unit: W."""
        return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / MW_PER_W

    @_by_policy
    def instant_w(self) -> float:
        """At this moment (field 186). Unit: W."""
        (value,) = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        if value.nvmlReturn != pynvml.NVML_SUCCESS:
            return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / MW_PER_W
        return float(value.value.uiVal) / MW_PER_W

    @_by_policy
    def limit_w(self) -> float:
        """The limit software set; the enforced one may be lower. Unit: W."""
        return float(pynvml.nvmlDeviceGetPowerManagementLimit(self._handle)) / MW_PER_W

    @_by_policy
    def set_limit_w(self, limit_w: float) -> float:
        """Set a limit inside the GPU's constraints; returns what reads back. Unit: W."""
        pynvml.nvmlDeviceSetPowerManagementLimit(self._handle, round(limit_w * MW_PER_W))
        return float(pynvml.nvmlDeviceGetPowerManagementLimit(self._handle)) / MW_PER_W


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
        """Every GPU; one that is lost, or fails twice, is left out."""
        devices: list[NvmlGpu] = []
        left_out: dict[str, GpuError] = {}
        for index in range(_count()):
            try:
                devices.append(_answering(index))
            except GpuDriverError:
                raise
            except GpuError as error:
                left_out[f"GPU at index {index}"] = error
        return Found(devices=devices, left_out=left_out)


def _answering(index: int) -> NvmlGpu:
    try:
        return NvmlGpu(index)
    except GpuTransientError:
        return NvmlGpu(index)


def _shut_down() -> None:
    # Without NVML initialised or its library loaded there is nothing to shut down.
    with suppress(pynvml.NVMLError_Uninitialized, pynvml.NVMLError_LibraryNotFound):
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
