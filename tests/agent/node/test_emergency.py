"""A staged emergency table is written at once, whatever is believed to be in force, and read back afterwards."""

from __future__ import annotations

import pynvml
import pytest

from agent.errors import NodeError
from agent.node import Table
from tests.agent.disks import read_only
from tests.agent.node.conftest import CAP_W, Rig

DEEP = Table(caps_w={"job": 100.0}, clocks_mhz={"job": 600.0})


async def test_a_level_is_written_by_one_call_and_given_back_like_any_other(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP, "shallow": Table(caps_w={"job": 300.0})})
        assert (await node.apply_staged("deep", rig.lease())).complete
        assert (rig.caps_w(), rig.locks_mhz()) == ([100.0, 100.0, 400.0], [600, 600, 0])
        assert (await node.apply_staged("shallow", rig.lease())).complete
        assert (rig.caps_w(), rig.locks_mhz()) == ([300.0, 300.0, 400.0], [0, 0, 0])
        assert (await node.restore()).complete
        assert (rig.caps_w(), rig.journal.touched()) == ([400.0] * 3, frozenset())


async def test_limits_are_written_even_where_they_are_believed_to_be_in_force(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        await node.apply_staged("deep", rig.lease())
        rig.state.gpus["cap_mw"][0] = 400_000
        assert (await node.apply_staged("deep", rig.lease())).complete
        assert rig.caps_w()[0] == 100.0


async def test_a_level_that_was_never_staged_changes_nothing(rig: Rig) -> None:
    async with rig.node() as node:
        with pytest.raises(NodeError, match="stage it before"):
            await node.apply_staged("deep", rig.lease())
        await node.stage({"deep": DEEP})
        await node.stage({})
        with pytest.raises(NodeError, match="no emergency table 'deep'"):
            await node.apply_staged("deep", rig.lease())
    assert rig.caps_w() == [400.0] * 3


async def test_a_write_that_fails_twice_holds_no_other_up_and_one_that_fails_once_is_made_good(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        rig.state.inject("nvmlDeviceSetPowerManagementLimit", pynvml.NVML_ERROR_NO_PERMISSION, gpu=0)
        result = await node.apply_staged("deep", rig.lease())
        assert (result.complete, rig.caps_w()) == (False, [400.0, 100.0, 400.0])
        assert [alarm.split(":")[0] for alarm in result.alarms] == ["GPU-0"]
        rig.state.inject("nvmlDeviceSetPowerManagementLimit", pynvml.NVML_ERROR_NO_PERMISSION, gpu=0, calls=1)
        assert (await node.apply_staged("deep", rig.lease())).complete
        assert rig.caps_w() == [100.0, 100.0, 400.0]


async def test_a_gpu_that_is_lost_in_an_emergency_holds_no_other_up(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        rig.state.gpus["lost"][0] = 1
        result = await node.apply_staged("deep", rig.lease())
        assert result.complete
        assert rig.caps_w() == [400.0, 100.0, 400.0]


async def test_no_full_disk_stands_in_the_way_and_what_gpus_had_is_journalled_once_it_can_be(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        with read_only(rig.journal):
            result = await node.apply_staged("deep", rig.lease())
            assert (rig.caps_w()[:2], rig.locks_mhz()[:2]) == ([100.0, 100.0], [600, 600])
            assert not result.complete
            assert "do not end this process" in result.alarms[0]
            await rig.clock.advance(5)
            assert rig.caps_w()[:2] == [100.0, 100.0], "no lease is there yet that could end"
        assert rig.journal.touched() == frozenset()
        assert (await rig.tick(node)).complete
        assert rig.journal.prior_limits_w() == {"GPU-0": 400.0, "GPU-1": 400.0}
        assert rig.journal.clock_locks() == {"GPU-0", "GPU-1"}


async def test_a_limit_is_given_back_though_only_its_clock_lock_is_journalled(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        await node.apply(Table(caps_w={}, clocks_mhz={"job": 900.0}), rig.lease())
        with read_only(rig.journal):
            await node.apply_staged("deep", rig.lease())
        assert (await node.restore()).complete
        assert (rig.caps_w(), rig.locks_mhz()) == ([400.0] * 3, [0] * 3)


async def test_what_only_the_process_knows_outlasts_a_driver_that_was_gone(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        with read_only(rig.journal):
            await node.apply_staged("deep", rig.lease())
        rig.state.inject("nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_UNINITIALIZED, calls=1)
        rig.state.inject("nvmlDeviceGetUUID", pynvml.NVML_ERROR_UNKNOWN, gpu=0)
        await node.readings()
        await rig.clock.advance(5)
        assert not (await node.restore()).complete
        rig.state.inject("nvmlDeviceGetUUID", 0, gpu=0)
        await rig.clock.advance(5)
        assert (await node.restore()).complete
        assert (rig.caps_w(), rig.locks_mhz()) == ([400.0] * 3, [0] * 3)


async def test_what_an_emergency_changed_is_given_back_though_it_was_never_journalled(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        with read_only(rig.journal):
            await node.apply_staged("deep", rig.lease())
            await node.restore()
            assert (rig.caps_w(), rig.locks_mhz()) == ([400.0] * 3, [0] * 3)
        assert (await node.restore()).complete


async def test_a_lease_that_cannot_be_extended_is_told_with_its_end(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": Table(caps_w={"job": 100.0})})
        await node.apply(Table(caps_w={"job": CAP_W}), rig.lease(60))
        with read_only(rig.journal):
            result = await node.apply_staged("deep", rig.lease(600))
        assert rig.caps_w()[:2] == [100.0, 100.0]
        assert "limits are given back at 12:01:00 UTC" in result.alarms[0]
