"""GPUs whose power can be read and capped, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.errors import GpuError


class GpuDevice(Protocol):
    """One GPU. Every call raises the GpuError that says what to do about it."""

    uuid: str

    def bounds_w(self) -> tuple[float, float] | None:
        """The lowest and the highest limit it takes; None when it takes none and is only read. Unit: W."""

    def power_w(self) -> float:
        """Mean of about the last second. Unit: W."""

    def instant_w(self) -> float:
        """At this moment. Unit: W."""

    def limit_w(self) -> float:
        """The limit in force by software. Unit: W."""

    def set_limit_w(self, limit_w: float) -> float:
        """Set a limit inside ``bounds_w``; returns what reads back. Unit: W."""


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
