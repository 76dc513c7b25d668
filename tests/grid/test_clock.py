"""Clocks that stand still until told, and one that a jump of the wall clock cannot move."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from grid.clock import AnchoredClock, SystemClock, VirtualClock, sleep_until

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


async def test_sleepers_wake_in_order_each_at_its_own_instant() -> None:
    clock = VirtualClock(START)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps_s: float) -> None:
        for nap_s in naps_s:
            await clock.sleep(nap_s)
            woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 2, 2))
        group.create_task(sleeper("b", 3))
        await clock.advance(2.5)
        assert woken == [("a", 2)]
        await clock.advance(10)
    assert woken == [("a", 2), ("b", 3), ("a", 4)]
    assert clock.now() == START + timedelta(seconds=12.5)


async def test_virtual_timeout_expires_only_when_time_passes() -> None:
    clock = VirtualClock(START)

    async def wait(for_s: float) -> str:
        try:
            async with clock.timeout(5):
                await clock.sleep(for_s)
        except TimeoutError:
            return "timed out"
        return "done"

    async with asyncio.TaskGroup() as group:
        quick, slow = group.create_task(wait(4)), group.create_task(wait(6))
        await clock.advance(20)
    assert (quick.result(), slow.result()) == ("done", "timed out")


async def test_real_timeout_and_sleep_until() -> None:
    clock = SystemClock()
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.01):
            await asyncio.Event().wait()
    soon = clock.now() + timedelta(milliseconds=20)
    await sleep_until(clock, soon)
    assert clock.now() >= soon


async def test_anchored_clock_follows_monotonic_time_from_its_last_sync() -> None:
    class Jumpy(VirtualClock):
        jump = timedelta()

        def now(self) -> datetime:
            return super().now() + self.jump

    base = Jumpy(START)
    clock = AnchoredClock(base)
    assert clock.anchor(START + timedelta(seconds=3)) == timedelta(seconds=3)
    base.jump = timedelta(hours=-5)
    await base.advance(10)
    assert clock.now() == START + timedelta(seconds=13)
