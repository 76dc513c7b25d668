"""A site's meter with a second one beside it, which stands in when the first gives nothing.

Both are read at once, and a reading carries what the second showed of the same second, for whoever doubts the first.
Only a reading of the first settles: one of the second says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from agent.control.readings import MeterReading
from agent.errors import MeterError
from agent.meter.device import Meter


class CheckedMeter:
    """A meter made of two."""

    def __init__(self, main: Meter, check: Meter) -> None:
        self._main = main
        self._check = check

    async def read(self) -> MeterReading:
        """The first meter's second, or the second's; raises MeterError when neither gives one."""
        main, check = await asyncio.gather(_read(self._main), _read(self._check))
        if isinstance(main, MeterReading):
            if isinstance(check, MeterReading):
                return replace(main, check_kw=check.site_kw)
            return replace(main, alarms=(f"the second meter gives nothing: {check}",))
        if isinstance(check, MeterReading):
            return replace(check, from_check=True, alarms=(f"the second meter stands in for the first: {main}",))
        raise MeterError(f"{main}; and the second meter: {check}") from main

    async def close(self) -> None:
        await self._main.close()
        await self._check.close()


async def _read(meter: Meter) -> MeterReading | MeterError:
    try:
        return await meter.read()
    except MeterError as error:
        return error
