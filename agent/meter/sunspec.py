"""A SunSpec revenue meter (models 201 to 204) over Modbus TCP.

Its W is the mean of the last whole second; import is positive, as SunSpec says for a meter at the grid.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agent.control.readings import MeterReading
from agent.errors import MeterError
from agent.modbus import SunSpecDevice, SunSpecError
from grid.clock import Clock
from grid.intervals import Interval, floor_to
from grid.units import W_PER_KW

MODELS = (203, 204, 202, 201)
SECOND = timedelta(seconds=1)


class SunSpecMeter:
    """Reads W once a call."""

    def __init__(self, host: str, port: int, unit: int, *, clock: Clock) -> None:
        self._device = SunSpecDevice(host, port, unit)
        self._clock = clock

    async def read(self) -> MeterReading:
        """The mean of the last whole second before now. Raises MeterError."""
        boundary = floor_to(self._clock.now(), 1)
        try:
            watts = await self._device.call(_watts)
        except SunSpecError as error:
            raise MeterError(f"meter {error}: check its address in [meter] and its network") from error
        if watts is None:
            raise MeterError(
                "the meter shows no power: it has just started, or has none of the SunSpec models 201 to 204"
            )
        return MeterReading(site_kw=watts / W_PER_KW, covers=Interval(start=boundary - SECOND, end=boundary))

    async def close(self) -> None:
        await self._device.close()


def _watts(device: Any) -> float | None:
    for number in MODELS:
        if number in device.models:
            model = device.models[number][0]
            # One request, so that W and its scale factor belong together.
            model.read()
            return None if model.W.cvalue is None else float(model.W.cvalue)
    return None
