"""A pause that somebody else can cut short."""

from __future__ import annotations

import asyncio

from grid.clock import Clock


class Alarm:
    """Sleeps by ``clock`` unless rung."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the present wait, or the next one at once."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds`` or when rung."""
        try:
            if seconds <= 0:
                await self._clock.sleep(0)
                return
            async with self._clock.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()
