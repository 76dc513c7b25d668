"""A battery, whatever it speaks: it is only ever used behind a dead-man of its own."""

from __future__ import annotations

from typing import Protocol

from agent.control.readings import BatteryReading

REVERT_AFTER_S = 10
"""How long a set-point stands that nobody renews: the dead-man."""


class Battery(Protocol):
    """Power positive for discharge. Every call raises BatteryError when the battery does not answer."""

    async def read(self) -> BatteryReading:
        """Power, charge and ratings now."""

    async def beat(self) -> None:
        """Once a second, whether it is commanded or not: show it that its controller lives, where it asks for that."""

    async def arm(self) -> None:
        """Set the reversion that stops it when nobody renews its set-point; BatteryUnsafeError if it takes none."""

    async def set_power(self, power_kw: float) -> None:
        """Hold this power, and renew the dead-man; BatteryError if it must be armed (again) first. Unit: kW."""

    async def release(self) -> None:
        """Give it back to its own controller; does nothing when it has it already."""

    async def close(self) -> None:
        """Hang up; a set-point left in force ends by the dead-man."""
