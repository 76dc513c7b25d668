"""A clock that runs faster than the machine's, the same in every process that is told its origin."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from grid.clock import SystemClock

_MACHINE = SystemClock()


@dataclass(frozen=True, kw_only=True)
class FastClock:
    """``Clock`` on the machine's monotonic time, which processes share."""

    start: datetime
    origin_s: float
    """Monotonic time of the machine at ``start``."""
    speed: float

    @classmethod
    def starting_now(cls, speed: float) -> FastClock:
        return cls(start=_MACHINE.now(), origin_s=_MACHINE.monotonic(), speed=speed)

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return (_MACHINE.monotonic() - self.origin_s) * self.speed

    async def sleep(self, seconds: float) -> None:
        await _MACHINE.sleep(seconds / self.speed)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[Any]:
        return _MACHINE.timeout(seconds / self.speed)
