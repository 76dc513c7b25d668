"""Time, passed in wherever it matters.

This is the only module that touches the machine's clocks and asyncio's timers (ruff's banned-api keeps it so).
``SystemClock`` is the real one; ``AnchoredClock`` keeps UTC by monotonic time since its last sync, so a jump of
the wall clock moves nothing; ``VirtualClock`` moves only when told to, for tests and simulation.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a component may know about time."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary origin; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` (at once when not positive)."""

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Cancel the body and raise ``TimeoutError`` after ``seconds``."""


async def sleep_until(clock: Clock, when: datetime) -> None:
    """Return at ``when`` by ``clock``, in steps of at most a minute so that a re-anchored clock is noticed."""
    while (left_s := (when - clock.now()).total_seconds()) > 0:
        await clock.sleep(min(left_s, 60.0))


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


class AnchoredClock:
    """UTC counted on ``base``'s monotonic time from the last ``anchor``; starts on ``base``'s wall clock."""

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._utc = base.now()
        self._at = base.monotonic()

    def anchor(self, utc: datetime) -> timedelta:
        """Take ``utc`` as the present instant; returns how far this clock was behind it."""
        behind = utc - self.now()
        self._utc, self._at = utc, self._base.monotonic()
        return behind

    def now(self) -> datetime:
        return self._utc + timedelta(seconds=self._base.monotonic() - self._at)

    def monotonic(self) -> float:
        return self._base.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._base.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return self._base.timeout(seconds)


class VirtualClock:
    """A clock that stands still until ``advance`` is awaited."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a VirtualClock starts at an aware instant")
        self._start = start.astimezone(UTC)
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), wake))
        await wake

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire(_: asyncio.Future[None]) -> None:
            nonlocal expired
            if not wake.cancelled():
                expired = True
                task.cancel()

        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wake.add_done_callback(expire)
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), wake))
        try:
            yield
        except asyncio.CancelledError:
            if expired and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            wake.cancel()

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking every sleeper at its own instant and letting it run."""
        until = self._elapsed_s + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, wake = heapq.heappop(self._sleepers)
            if wake.done():
                continue
            self._elapsed_s = max(self._elapsed_s, at)
            wake.set_result(None)
            await _settle()
        self._elapsed_s = until
        await _settle()


async def _settle(turns: int = 20) -> None:
    """Let every task that is ready run; ``turns`` bounds how deep a chain of wake-ups is followed."""
    for _ in range(turns):
        await asyncio.sleep(0)
