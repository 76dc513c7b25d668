"""GPUs that are not alike: split ones, several types on one node, and ones that something else holds lower."""

from __future__ import annotations

import pynvml
import pytest

from agent.node import Table
from agent.workloads.jobs import FlexTier, Job
from tests.agent.node.conftest import CAP_W, Rig


def job(job_id: str, tier: FlexTier, *uuids: str, price: float = 2.0) -> Job:
    return Job(job_id=job_id, workload="infer_llama_8b", tier=tier, gpu_uuids=uuids, price_usd_per_gpu_hour=price)


@pytest.mark.parametrize(
    ("tenants", "rules"),
    [
        ((job("gives", FlexTier.FLEX_3, "MIG-a"), job("cannot", FlexTier.FLEX_0, "MIG-b")), "cannot"),
        ((job("cannot", FlexTier.FLEX_0, "MIG-b"), job("gives", FlexTier.FLEX_3, "MIG-a")), "cannot"),
        ((job("dear", FlexTier.FLEX_2, "MIG-a", price=3.0), job("cheap", FlexTier.FLEX_2, "MIG-b")), "dear"),
        ((job("whole", FlexTier.FLEX_1, "GPU-0"), job("part", FlexTier.FLEX_2, "MIG-b")), "whole"),
    ],
)
async def test_a_split_gpu_is_ruled_by_the_tenant_with_the_least_to_give(
    rig: Rig, tenants: tuple[Job, ...], rules: str
) -> None:
    rig.state.split(0, "MIG-a", "MIG-b")
    rig.jobs = tenants
    async with rig.node() as node:
        assert set(await node.readings()) == {rules}
        others = {tenant.job_id: 150.0 for tenant in tenants if tenant.job_id != rules}
        await node.apply(Table(caps_w={**others, rules: 350.0}), rig.lease())
        assert rig.caps_w() == [350.0, 400.0, 400.0]
        assert rig.journal.prior_limits_w() == {"GPU-0": 400.0}


async def test_a_split_gpu_is_found_again_after_its_driver_was_gone(rig: Rig) -> None:
    rig.state.split(0, "MIG-a")
    rig.jobs = (job("job", FlexTier.FLEX_3, "MIG-a"),)
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.reload_driver()
        rig.state.inject("nvmlDeviceGetMigMode", 10, gpu=0)
        await node.readings()
        await rig.tick(node)
        assert "GPU-0" in (node.failing() or "")
        rig.state.inject("nvmlDeviceGetMigMode", 0, gpu=0)
        await rig.tick(node)
        assert (rig.caps_w()[0], node.failing()) == (CAP_W, None)


async def test_every_type_of_board_is_held_inside_its_own_limits(rig: Rig) -> None:
    gpus = rig.state.gpus
    gpus["name"][1], gpus["min_limit_mw"][1], gpus["max_clock_mhz"][1] = b"H100-like", 200_000, 1980
    gpus["max_limit_mw"][1] = gpus["default_limit_mw"][1] = gpus["cap_mw"][1] = 700_000
    async with rig.node() as node:
        for cap_w, in_force_w in ((100.0, [100.0, 200.0]), (600.0, [400.0, 600.0])):
            assert (await node.apply(Table(caps_w={"job": cap_w}), rig.lease())).complete
            assert rig.caps_w()[:2] == in_force_w
        await node.readings()
        told = node.telemetry()["job"]
        assert told.models == {"A100-like 400W (negawatt-sim)", "H100-like"}
        assert told.clock_bounds_mhz == (210.0, 1410.0)
        assert (await node.restore()).complete
    assert rig.caps_w() == [400.0, 700.0, 400.0]


async def test_a_limit_set_out_of_band_is_told_and_not_fought(rig: Rig) -> None:
    async with rig.node() as node:
        await rig.tick(node)
        rig.state.gpus["out_of_band_mw"][0] = 180_000
        writes = rig.state.gpus["cap_writes"].tolist()
        for _ in range(2):
            result = await rig.tick(node)
            assert result.complete
            assert result.alarms == (
                "GPU-0: 180 W are in force where 250 W were set: the chassis or its controller holds it lower",
            )
        assert rig.state.gpus["cap_writes"].tolist() == writes
        rig.state.gpus["out_of_band_mw"][0] = 0
        assert (await rig.tick(node)).alarms == ()


async def test_a_board_that_tells_no_enforced_limit_is_not_written_again_and_again(rig: Rig) -> None:
    rig.state.inject("nvmlDeviceGetEnforcedPowerLimit", pynvml.NVML_ERROR_NOT_SUPPORTED)
    async with rig.node() as node:
        for _ in range(3):
            assert (await rig.tick(node)).alarms == ()
    assert rig.state.gpus["cap_writes"].tolist() == [1, 1, 0]


async def test_a_driver_that_forgets_limits_with_its_last_client_is_told_while_they_matter(rig: Rig) -> None:
    rig.state.gpus["not_persistent"][0] = 1
    async with rig.node() as node:
        result = await rig.tick(node)
        assert result.complete
        (alarm,) = result.alarms
        assert alarm.startswith("GPU-0: persistence mode is off")
        assert "nvidia-smi -pm 1" in alarm
        assert (await node.restore()).alarms == ()


async def test_a_class_is_told_with_energy_utilisation_and_what_holds_it_back(rig: Rig) -> None:
    gpus = rig.state.gpus
    gpus["utilization_pct"][:2], gpus["event_reasons"][:2], gpus["energy_mj"] = [40, 60], [0x4, 0x4 | 0x40], 5 * 10**9
    async with rig.node() as node:
        await node.readings()
        assert node.telemetry()["job"].energy_kwh is None
        gpus["energy_mj"][:2] = [8_600_000_000, 3_600_000_000]  # the second counter has started anew
        await node.readings()
        told = node.telemetry()["job"]
        assert (told.energy_kwh, told.utilisation) == (2.0, 0.5)
        assert (told.capped, told.slowed) == (2, 1)
