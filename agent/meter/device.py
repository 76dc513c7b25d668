"""A site's meter, whatever it speaks."""

from __future__ import annotations

from typing import Protocol

from agent.control.readings import MeterReading


class Meter(Protocol):
    """Gives the newest whole second at the point of interconnection."""

    async def read(self) -> MeterReading:
        """The mean of the last whole second, import positive. Unit: kW. Raises MeterError."""

    async def close(self) -> None:
        """Hang up."""
