"""Clock locks are held, checked and given back like caps, though NVML cannot read one."""

from __future__ import annotations

import pynvml
import pytest

from agent.node import Table
from agent.simulation.nvml.state import ErrorClass
from tests.agent.node.conftest import CAP_W, CLOCK_MHZ, TABLE, Rig

DEFAULT_W = 400.0
CAPS_ONLY = Table(caps_w={"job": CAP_W})


async def test_a_class_that_a_table_does_not_name_gets_its_clocks_back(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        assert rig.locks_mhz() == [CLOCK_MHZ, CLOCK_MHZ, 0]
        assert (await rig.tick(node, CAPS_ONLY)).complete
        assert (rig.locks_mhz(), rig.caps_w()[:2]) == ([0, 0, 0], [CAP_W, CAP_W])


async def test_clocks_alone_leave_the_limits_untouched_and_are_given_back(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node, Table(caps_w={}, clocks_mhz={"job": CLOCK_MHZ}))
        assert (rig.locks_mhz(), rig.caps_w()) == ([CLOCK_MHZ, CLOCK_MHZ, 0], [DEFAULT_W] * 3)
        assert rig.journal.prior_limits_w() == {}
        assert rig.journal.clock_locks() == {"GPU-0", "GPU-1"}
        assert (await node.restore()).complete
        assert (rig.locks_mhz(), rig.journal.touched(), rig.journal.lease_until()) == ([0] * 3, frozenset(), None)


@pytest.mark.parametrize(("asked_mhz", "locked_mhz"), [(100.0, 210), (900.0, 900), (5_000.0, 1410)])
async def test_a_clock_stays_inside_what_the_board_has(rig: Rig, asked_mhz: float, locked_mhz: int) -> None:
    async with rig.node() as node:
        assert (await rig.tick(node, Table(caps_w={}, clocks_mhz={"job": asked_mhz}))).complete
    assert rig.locks_mhz()[0] == locked_mhz


async def test_a_lock_is_not_written_again_while_it_holds(rig: Rig) -> None:
    async with rig.node() as node:
        for _ in range(3):
            await rig.tick(node)
    assert rig.state.gpus["clock_writes"].tolist() == [1, 1, 0]


async def test_a_lock_that_somebody_took_back_is_told_and_set_again(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.gpus["lock_max_mhz"][0] = 0
        result = await rig.tick(node)
        assert result.complete
        (alarm,) = result.alarms
        assert "GPU-0: locked to 900 MHz, runs at 1410 MHz and is locked again" in alarm
        assert rig.locks_mhz()[0] == CLOCK_MHZ
        assert rig.state.gpus["clock_writes"].tolist() == [2, 1, 0]


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NOT_SUPPORTED])
async def test_a_lock_that_was_never_taken_need_not_be_given_back(rig: Rig, code: int) -> None:
    rig.state.inject(ErrorClass.CLOCK_WRITE, code, gpu=0)
    async with rig.node() as node:
        for _ in range(3):
            await rig.tick(node)
        assert rig.locks_mhz() == [0, CLOCK_MHZ, 0]
        head = rig.journal.newest_head()
        assert head is not None
        assert head.seq == 0, "what is refused is journalled once"
        assert (await node.restore()).complete
        assert rig.journal.touched() == frozenset()


async def test_locks_that_a_dead_process_left_are_honoured_until_their_lease_ends(rig: Rig) -> None:
    async with rig.node() as node:
        await node.apply(TABLE, rig.lease(seconds=30))
    async with rig.node() as node:
        assert rig.locks_mhz()[0] == CLOCK_MHZ
        await rig.clock.advance(31)
        assert (rig.locks_mhz(), rig.caps_w()) == ([0] * 3, [DEFAULT_W] * 3)
        assert rig.journal.touched() == frozenset()


async def test_a_lock_that_a_dead_process_left_is_taken_back_by_a_table_without_it(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node)
    async with rig.node() as node:
        await rig.tick(node, CAPS_ONLY)
        assert (rig.locks_mhz(), rig.caps_w()[0]) == ([0] * 3, CAP_W)


async def test_a_board_without_clocks_is_held_by_its_limit_alone_and_says_so(rig: Rig) -> None:
    rig.state.inject("nvmlDeviceGetSupportedMemoryClocks", pynvml.NVML_ERROR_NOT_SUPPORTED, gpu=0)
    async with rig.node() as node:
        result = await rig.tick(node)
        assert result.complete
        assert result.alarms == ("GPU-0: it takes no clock lock, and is held by its power limit alone",)
        assert (rig.locks_mhz(), rig.caps_w()[0]) == ([0, CLOCK_MHZ, 0], CAP_W)
        assert node.telemetry()["job"].clock_bounds_mhz is None


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NOT_SUPPORTED])
async def test_a_lock_that_cannot_be_given_back_stays_in_the_journal(rig: Rig, code: int) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.inject("nvmlDeviceResetGpuLockedClocks", code, gpu=0)
        result = await node.restore()
        assert not result.complete
        assert "GPU-0" in result.alarms[0]
        assert rig.journal.touched() == {"GPU-0"}
        rig.state.inject("nvmlDeviceResetGpuLockedClocks", 0, gpu=0)
        assert (await node.restore()).complete
        assert (rig.locks_mhz(), rig.journal.touched()) == ([0] * 3, frozenset())
