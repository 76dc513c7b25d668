"""The error policy at work: each class of NVML error, at each call, in the middle of an event.

Every error is injected in the C library. Whatever one GPU does, the other is held down and read, and everything that
was changed is given back in the end.
"""

from __future__ import annotations

import pynvml
import pytest

from agent.errors import GpuError
from agent.node import READ_ONLY, ApplyResult, LocalNode
from agent.simulation.nvml.state import ErrorClass
from tests.agent.node.conftest import CAP_W, CLOCK_MHZ, Rig

UNSUPPORTED, PERMISSION, LIMIT = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
)
LOST, DRIVER, PASSING = (
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_TIMEOUT,
)
CLASSES = (UNSUPPORTED, PERMISSION, LIMIT, LOST, DRIVER, PASSING)
DEFAULT_W = 400.0

CALLS: dict[str, ErrorClass | str] = {
    "get power": ErrorClass.TELEMETRY,
    "get limit": "nvmlDeviceGetPowerManagementLimit",
    "set limit": "nvmlDeviceSetPowerManagementLimit",
    "set clocks": "nvmlDeviceSetGpuLockedClocks",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", CLASSES)
async def test_a_gpu_that_fails_at_a_call_is_handled_by_its_error_s_class(rig: Rig, code: int, call: str) -> None:
    async with rig.node() as node:
        rig.state.inject(CALLS[call], code, gpu=0)
        result = await rig.tick(node)
        readings = await node.readings()
        assert rig.caps_w()[1] == CAP_W, "the other GPU is held down whatever this one does"
        assert rig.locks_mhz()[1] == CLOCK_MHZ
        if code == LOST:
            await _dropped(rig, node, result)
            return
        if call == "get power":
            assert readings["job"].gpu_count == 1
            assert "GPU-0: NVML" in (node.failing() or "")
            assert result.complete == (rig.caps_w()[0] == CAP_W)
        elif code == UNSUPPORTED:
            assert result.complete
            assert any("GPU-0" in alarm and "only read" in alarm for alarm in result.alarms)
            assert (f"job{READ_ONLY}" in readings) == (call != "set clocks")
        else:
            assert not result.complete
            assert any(alarm.startswith("GPU-0: NVML") for alarm in result.alarms)
        await _works_again(rig, node, call, code)


async def _dropped(rig: Rig, node: LocalNode, result: ApplyResult) -> None:
    """Its watts are the others', and what it had stays in the journal for whoever finds it again."""
    assert (await node.readings())["job"].gpu_count == 1
    assert result.complete
    assert any("GPU-0" in alarm and "lost" in alarm for alarm in result.alarms)
    assert (await node.restore()).complete
    assert rig.caps_w()[1] == DEFAULT_W
    assert rig.journal.touched() <= {"GPU-0"}


async def _works_again(rig: Rig, node: LocalNode, call: str, code: int) -> None:
    rig.state.inject(CALLS[call], 0, gpu=0)
    await rig.tick(node)
    result = await rig.tick(node)
    assert (result.complete, node.failing()) == (True, None)
    if code != UNSUPPORTED or call == "get power":
        assert rig.caps_w()[:2] == [CAP_W, CAP_W]
        assert rig.locks_mhz()[:2] == [CLOCK_MHZ, CLOCK_MHZ]
    assert (await node.restore()).complete
    assert (rig.caps_w(), rig.locks_mhz(), rig.journal.touched()) == ([DEFAULT_W] * 3, [0] * 3, frozenset())


@pytest.mark.parametrize("call", [ErrorClass.INIT, "nvmlDeviceGetCount_v2"])
@pytest.mark.parametrize("code", CLASSES)
async def test_a_driver_that_does_not_come_back_is_told_until_it_does_and_then_held_again(
    rig: Rig, code: int, call: ErrorClass | str
) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.reload_driver()
        rig.state.inject(call, code)
        for _ in range(3):
            await node.readings()
            await rig.tick(node)
        assert "NVML" in (node.failing() or "")
        assert rig.caps_w() == [DEFAULT_W] * 3
        rig.state.inject(call, 0)
        await rig.tick(node)
        result = await rig.tick(node)
        assert (result.complete, node.failing()) == (True, None)
        assert (rig.caps_w()[:2], rig.locks_mhz()[:2]) == ([CAP_W] * 2, [CLOCK_MHZ] * 2)


@pytest.mark.parametrize("call", [ErrorClass.INIT, "nvmlDeviceGetCount_v2"])
@pytest.mark.parametrize("code", CLASSES)
async def test_at_the_start_a_driver_that_does_not_answer_is_an_error_that_says_what_to_do(
    rig: Rig, code: int, call: ErrorClass | str
) -> None:
    rig.state.inject(call, code)
    with pytest.raises(GpuError, match="NVML: "):
        await _start(rig)


async def _start(rig: Rig) -> None:
    rig.gpus.reopen()
    async with rig.node():
        pass


async def test_a_gpu_lost_in_an_event_leaves_its_watts_to_the_others(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.gpus["lost"][1] = 1
        result = await rig.tick(node)
        assert result.complete
        assert "GPU-1: NVML" in result.alarms[0]
        assert (await node.readings())["job"].gpu_count == 1
        assert rig.journal.prior_limits_w() == {"GPU-0": DEFAULT_W, "GPU-1": DEFAULT_W}


async def test_limits_lost_in_a_reload_nobody_noticed_are_found_and_set_again(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.gpus["cap_mw"] = rig.state.gpus["default_limit_mw"]
        rig.state.gpus["lock_max_mhz"] = 0
        result = await rig.tick(node)
        assert (rig.caps_w()[:2], result.complete) == ([CAP_W] * 2, True)
        assert sum("the driver was reloaded" in alarm for alarm in result.alarms) == 2
        await rig.tick(node)
        assert rig.locks_mhz() == [CLOCK_MHZ, CLOCK_MHZ, 0]
