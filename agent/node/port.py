"""What the control loop may ask of a node's GPUs, and what it gets back: the seam between a law and its actuators.

A table names a cap and a clock by class; the node knows which GPUs those are, what they take and what they had
before. It holds under a lease and falls back when that ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from agent.control.readings import ClassReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a table holds without being renewed; then the prior limits come back."""

    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What every GPU of a class is held to."""

    caps_w: Mapping[str, float]
    """Limit per GPU; a class that is not named keeps what it has. Unit: W."""
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    """Highest clock; a class that is not named gets its clocks back. For work that no cap binds. Unit: MHz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """What came of a write to many GPUs."""

    complete: bool
    """Every GPU that answers reads back what was asked."""
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTelemetry:
    """All GPUs of one class at the last reading, beyond their power."""

    energy_kwh: float | None
    """Used since the node was opened; None when a GPU has no counter."""
    utilisation: float | None
    """Mean share of the time in which something ran; None when no GPU tells."""
    capped: int
    """GPUs that their power limit holds back now: where it is 0 under a cap, the cap does not bind."""
    slowed: int
    """GPUs that heat or their hardware holds back now: a higher cap gives them nothing."""
    clock_bounds_mhz: tuple[float, float] | None
    """What every GPU of the class can be locked to; None when one takes no lock."""
    models: frozenset[str]


class NodePort(Protocol):
    """What the control loop may ask of the GPUs of a site."""

    async def apply(self, table: Table, lease: Lease) -> ApplyResult:
        """Hold every GPU to its class's cap and clock."""

    async def stage(self, tables: Mapping[str, Table]) -> None:
        """Keep the emergency tables by level, in the place of those staged before."""

    async def apply_staged(self, level: str, lease: Lease) -> ApplyResult:
        """Write a staged table at once and read it back afterwards. Raises NodeError when it was never staged."""

    async def restore(self) -> ApplyResult:
        """Give every GPU the limit and the clocks it had before."""

    async def readings(self) -> Mapping[str, ClassReading]:
        """Power now, by class."""

    def telemetry(self) -> Mapping[str, ClassTelemetry]:
        """What else was read then, by the same classes."""

    def failing(self) -> str | None:
        """Which GPUs of ours are neither lost nor in our hands now, and why; None when there are none."""

    async def watch(self) -> None:
        """Until cancelled: give the limits back when the lease ends, whatever the control loop does."""
