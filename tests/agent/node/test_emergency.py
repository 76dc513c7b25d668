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


async def test_a_disk_that_is_full_lets_those_gpus_be_written_that_are_journalled(rig: Rig) -> None:
    async with rig.node() as node:
        await node.stage({"deep": DEEP})
        await node.apply(Table(caps_w={"job": CAP_W}), rig.lease())
        with read_only(rig.journal):
            result = await node.apply_staged("deep", rig.lease())
        assert not result.complete
        assert (rig.caps_w()[:2], rig.locks_mhz()[:2]) == ([100.0, 100.0], [0, 0])
        assert "no further GPU is held down" in result.alarms[0]
