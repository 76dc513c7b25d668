"""GPUs whose power can be read and held down, whoever made them.

Two actuators: a power limit, and a clock lock for work that draws less than any limit (LLM decode). Both are of the
whole GPU, also where it is split into instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.errors import GpuError


class Hold(StrEnum):
    """What keeps a GPU's clocks down."""

    POWER_CAP = "power cap"
    CLOCKS = "clock setting"
    HEAT = "heat"
    HARDWARE = "hardware"
    """An external power brake, or a fault that the board protects itself from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU now. What the board does not tell is None."""

    power_w: float
    """Mean of about the last second."""
    instant_w: float
    """At this moment; the mean where the board tells only that."""
    energy_mj: int | None
    """A counter since the driver was loaded."""
    utilisation: float | None
    """Share of the last sampling period in which something ran."""
    clock_mhz: float | None
    held: frozenset[Hold]


class GpuDevice(Protocol):
    """One GPU. Every call raises the GpuError that says what to do about it."""

    uuid: str
    model: str
    """Its type, as its maker names it."""
    instances: tuple[str, ...]
    """UUIDs of the parts it is split into (MIG), each with tenants of its own; empty for a whole GPU."""
    forgets: bool
    """Its driver forgets limits and clocks as soon as no process uses the GPU."""

    def bounds_w(self) -> tuple[float, float] | None:
        """The lowest and the highest limit it takes; None when it takes none and is only read. Unit: W."""

    def clock_bounds_mhz(self) -> tuple[float, float] | None:
        """The lowest and the highest clock it can be locked to; None when it does not tell. Unit: MHz."""

    def read(self) -> GpuReading:
        """Its telemetry now."""

    def limit_w(self) -> float:
        """The limit that software set. Unit: W."""

    def enforced_w(self) -> float:
        """The limit in force: lower than the one set where something out of band holds it down. Unit: W."""

    def set_limit_w(self, limit_w: float) -> None:
        """Set a limit inside ``bounds_w``. Unit: W."""

    def lock_clocks_mhz(self, high_mhz: float) -> None:
        """Keep its clock at or below ``high_mhz``, a clock inside ``clock_bounds_mhz``. Unit: MHz."""

    def unlock_clocks(self) -> None:
        """Let its clock go where it wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The GPUs of one node now."""

    devices: Sequence[GpuDevice]
    left_out: Mapping[str, GpuError]
    """Those that do not even say who they are, by what else names them: why."""


class Gpus(Protocol):
    """The GPUs of one node."""

    def devices(self) -> Found:
        """Every GPU, whatever state it is in. Raises GpuError when not even their number is known."""

    def reopen(self) -> None:
        """After the driver was gone; devices found before are void, and so may their limits be. Raises GpuError."""
