"""The simulated GPUs' state file, seen from Python: the same words that nvml_sim.c reads and writes.

The plant creates the file and is the only writer of what GPUs draw; the library is the only writer of caps and clock
locks. Every number is an aligned 64-bit word, and numpy moves such words whole, so neither side waits for the other.
A driver that is reloaded, or a file that is created anew, puts caps back at their defaults, and every client has to
initialise NVML again. Any function can be told to fail with any NVML code, on one GPU or all, for ever or for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.simulation.errors import StateError
from grid.intervals import EPOCH

MAGIC = 0x3154544157414745
VERSION = 2
RING_LENGTH = 1024
HEADER_BYTES = 4096
MIG_MAX = 7
"""MIG instances of a GPU."""
DRIVER_VERSION = "negawatt-sim 1.0"
"""A node agent that was not told to simulate refuses a driver of this name."""
NVML_VERSION = "12.negawatt-sim"


SYMBOLS = (
    *("nvmlInitWithFlags", "nvmlShutdown", "nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion"),
    *("nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetIndex"),
    *("nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetSerial", "nvmlDeviceGetPciInfo_v3"),
    *("nvmlDeviceGetPersistenceMode", "nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount"),
    *("nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceIsMigDeviceHandle"),
    *("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", "nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId"),
    *("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetUtilizationRates"),
    *("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo"),
    *("nvmlDeviceGetSupportedMemoryClocks", "nvmlDeviceGetSupportedGraphicsClocks"),
    *("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMemoryInfo"),
    *("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerManagementLimit"),
    *("nvmlDeviceGetPowerManagementDefaultLimit", "nvmlDeviceGetPowerManagementLimitConstraints"),
    *("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceSetPowerManagementLimit"),
    *("nvmlDeviceSetPowerManagementLimit_v2", "nvmlDeviceSetGpuLockedClocks", "nvmlDeviceResetGpuLockedClocks"),
)
"""Functions an error can be injected into, in the order of nvml_state.h."""


class ErrorClass(Enum):
    """Functions that fail together, by what a client wants of them."""

    INIT = ("nvmlInitWithFlags",)
    ENUMERATE = ("nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByUUID")
    IDENTITY = (
        *("nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion", "nvmlDeviceGetIndex", "nvmlDeviceGetName"),
        *("nvmlDeviceGetUUID", "nvmlDeviceGetSerial", "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPersistenceMode"),
        *("nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex"),
        *("nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetSupportedMemoryClocks", "nvmlDeviceGetSupportedGraphicsClocks"),
    )
    TELEMETRY = (
        *("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetUtilizationRates"),
        *("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetClockInfo"),
        *("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMemoryInfo"),
        *("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetFieldValues"),
    )
    LIMIT_READ = (
        *("nvmlDeviceGetPowerManagementLimit", "nvmlDeviceGetPowerManagementDefaultLimit"),
        *("nvmlDeviceGetPowerManagementLimitConstraints", "nvmlDeviceGetEnforcedPowerLimit"),
    )
    LIMIT_WRITE = ("nvmlDeviceSetPowerManagementLimit", "nvmlDeviceSetPowerManagementLimit_v2")
    CLOCK_WRITE = ("nvmlDeviceSetGpuLockedClocks", "nvmlDeviceResetGpuLockedClocks")


HEADER = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u8"),
        ("gpu_count", "<u8"),
        ("gpu_bytes", "<u8"),
        ("ring_length", "<u8"),
        ("driver_version", "S80"),
        ("nvml_version", "S80"),
        ("loads", "<u8"),
        ("inject", "<u8", (len(SYMBOLS),)),
    ]
)

_GPU_TEXTS = (("uuid", 96), ("name", 96), ("serial", 32), ("pci_bus_id", 32))
_GPU_WORDS = (
    *("min_limit_mw", "max_limit_mw", "default_limit_mw", "min_clock_mhz", "max_clock_mhz", "memory_total_bytes"),
    *("no_power_fields", "not_persistent", "mig_mode"),
    *("power_average_mw", "power_instant_mw", "energy_mj", "utilization_pct", "temperature_c", "clock_mhz"),
    *("throughput_ppm",),
    *("memory_used_bytes", "event_reasons", "process_id", "lost", "out_of_band_mw"),
    *("cap_mw", "lock_min_mhz", "lock_max_mhz", "cap_writes", "clock_writes"),
)
GPU = np.dtype(
    [
        *((name, f"S{size}") for name, size in _GPU_TEXTS),
        ("mig_uuid", "S96", (MIG_MAX,)),
        *((name, "<u8") for name in _GPU_WORDS),
        ("inject", "<u8", (len(SYMBOLS),)),
    ]
)

WRITE = np.dtype([("sequence", "<u8"), ("at_ns", "<u8"), ("cap_mw", "<u8")])


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """What all GPUs of a site have in common; the defaults are those of an A100 400 W."""

    name: str = "A100-like 400W (negawatt-sim)"
    min_limit_w: float = 100.0
    max_limit_w: float = 400.0
    min_clock_mhz: int = 210
    max_clock_mhz: int = 1410
    memory_bytes: int = 80 * 2**30
    idle_w: float = 60.0
    """Drawn while nothing runs."""


class NvmlState:
    """A mapped state file. ``gpus`` is a structured array of GPU, one element a GPU."""

    def __init__(self, path: Path, words: np.memmap[Any, Any]) -> None:
        self.path = path
        self.header = words[: HEADER.itemsize].view(HEADER)
        count = int(self.header["gpu_count"][0])
        rings_at = HEADER_BYTES + count * GPU.itemsize
        self.gpus = words[HEADER_BYTES:rings_at].view(GPU)
        self._rings = words[rings_at:].view(WRITE).reshape(count, RING_LENGTH)
        self.uuids = tuple(uuid.decode("ascii") for uuid in self.gpus["uuid"].tolist())

    @classmethod
    def create(cls, path: Path, uuids: Sequence[str], model: GpuModel) -> NvmlState:
        """Write a new file of idle GPUs at their default caps; to clients of an older one the driver is gone."""
        header = np.zeros(1, HEADER)
        header["magic"], header["version"] = MAGIC, VERSION
        header["gpu_count"], header["gpu_bytes"], header["ring_length"] = len(uuids), GPU.itemsize, RING_LENGTH
        header["driver_version"], header["nvml_version"] = DRIVER_VERSION.encode(), NVML_VERSION.encode()
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(header.tobytes().ljust(HEADER_BYTES, b"\0"))
            file.write(_new_gpus(uuids, model).tobytes())
            file.truncate(HEADER_BYTES + len(uuids) * (GPU.itemsize + RING_LENGTH * WRITE.itemsize))
        with suppress(StateError):
            cls.open(path).header["loads"] += 1
        partial.replace(path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> NvmlState:
        """Map an existing file. Raises StateError."""
        try:
            words = np.memmap(path, dtype=np.uint8, mode="r+")
        except (OSError, ValueError) as error:
            raise StateError(f"cannot map the GPUs' state file {path}: {error}") from error
        header = words[: HEADER.itemsize].view(HEADER)[0] if len(words) >= HEADER_BYTES else None
        if header is None or (header["magic"], header["version"], header["gpu_bytes"]) != (
            MAGIC,
            VERSION,
            GPU.itemsize,
        ):
            raise StateError(f"{path} is not a GPU state file of this version: let the plant write it anew")
        return cls(path, words)

    def enforced_w(self) -> NDArray[np.float64]:
        """The limit in force per GPU: the cap, or the out-of-band cap where that is lower. Unit: W."""
        cap, out_of_band = self.gpus["cap_mw"], self.gpus["out_of_band_mw"]
        return np.where((out_of_band > 0) & (out_of_band < cap), out_of_band, cap) * 1e-3

    def inject(self, what: ErrorClass | str, nvml_code: int, *, gpu: int | None = None, calls: int = 0) -> None:
        """Let a function, or all of a class, return ``nvml_code`` (0: work again), on one GPU or everywhere.

        ``calls``: how many calls of each function fail before it works again; 0 for all of them.
        """
        symbols = (what,) if isinstance(what, str) else what.value
        words = self.header["inject"][0] if gpu is None else self.gpus["inject"][gpu]
        for symbol in symbols:
            words[SYMBOLS.index(symbol)] = nvml_code | calls << 32

    def reload_driver(self) -> None:
        """Caps, clock locks and energy counters are back at their defaults; clients must initialise NVML again."""
        gpus = self.gpus
        gpus["cap_mw"] = gpus["default_limit_mw"]
        gpus["lock_min_mhz"] = gpus["lock_max_mhz"] = gpus["energy_mj"] = 0
        self.header["loads"] += 1

    @property
    def loads(self) -> int:
        """How often the driver was reloaded."""
        return int(self.header["loads"][0])

    def split(self, gpu: int, *instance_uuids: str) -> None:
        """Turn MIG on for a GPU, with these instances; without any, turn it off."""
        self.gpus["mig_mode"][gpu] = bool(instance_uuids)
        self.gpus["mig_uuid"][gpu] = b""
        self.gpus["mig_uuid"][gpu, : len(instance_uuids)] = [uuid.encode("ascii") for uuid in instance_uuids]

    def first_writes(self, since: datetime) -> list[datetime | None]:
        """When each GPU's cap was first written at or after ``since``; None where it was not.

        Raises StateError when a ring no longer reaches back that far.
        """
        since_ns = (since - EPOCH) // timedelta(microseconds=1) * 1000
        rings = self._rings.copy()
        settled = rings["sequence"] > 0
        reaches_ns = np.where(settled, rings["at_ns"], np.iinfo(np.uint64).max).min(axis=1)
        if np.any((self.gpus["cap_writes"] > RING_LENGTH) & (reaches_ns > since_ns)):
            raise StateError(f"only the last {RING_LENGTH} cap writes of a GPU are kept: ask for a later time")
        after = np.where(settled & (rings["at_ns"] >= since_ns), rings["at_ns"], np.iinfo(np.uint64).max).min(axis=1)
        return [
            None if at == np.iinfo(np.uint64).max else EPOCH + timedelta(microseconds=int(at) // 1000) for at in after
        ]


def _new_gpus(uuids: Sequence[str], model: GpuModel) -> NDArray[np.void]:
    gpus = np.zeros(len(uuids), GPU)
    gpus["uuid"] = [uuid.encode("ascii") for uuid in uuids]
    gpus["name"] = model.name.encode("ascii")
    gpus["serial"] = [f"SIM{i:08d}".encode("ascii") for i in range(len(uuids))]
    gpus["pci_bus_id"] = [f"{i // 8:08X}:{16 * (i % 8) + 7:02X}:00.0".encode("ascii") for i in range(len(uuids))]
    gpus["min_limit_mw"] = round(model.min_limit_w * 1000)
    gpus["cap_mw"] = gpus["default_limit_mw"] = gpus["max_limit_mw"] = round(model.max_limit_w * 1000)
    gpus["min_clock_mhz"], gpus["max_clock_mhz"] = model.min_clock_mhz, model.max_clock_mhz
    gpus["clock_mhz"] = model.max_clock_mhz
    gpus["memory_total_bytes"] = model.memory_bytes
    gpus["power_average_mw"] = gpus["power_instant_mw"] = round(model.idle_w * 1000)
    return gpus
