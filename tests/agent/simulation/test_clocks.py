"""A locked clock saves power and costs work, memory-bound work less: the model, and the plant that follows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.simulation import clocks
from agent.simulation.nvml.state import NvmlState
from agent.simulation.plant import STEPS_PER_S, Plant
from agent.workloads.curves import DECODE, PUBLISHED
from grid.clock import VirtualClock
from tests.agent.simulation.conftest import reference_site


def test_at_full_clock_nothing_is_lost_and_below_it_memory_bound_work_loses_least() -> None:
    share = np.linspace(0.2, 1.0, 30)
    for bound in (0.0, 0.4, 0.8):
        done = clocks.throughput(np.full(30, bound), share)
        assert done[-1] == 1.0
        assert (np.diff(done) > 0).all()
    assert clocks.throughput(np.array([0.0, 0.8]), np.array([0.5, 0.5])) == pytest.approx([0.5, 1 / 1.2])
    assert clocks.power_w(60.0, np.array([260.0]), np.array([1.0]))[0] == 260.0
    assert clocks.power_w(60.0, np.array([260.0]), np.array([0.5]))[0] == pytest.approx(60 + 200 * 0.5**2.2)


@pytest.mark.parametrize("workload", [DECODE, *PUBLISHED])
def test_every_workload_has_a_share(workload: str) -> None:
    assert 0.0 <= clocks.memory_bound(workload) < 1.0


def test_under_a_cap_or_a_lock_the_plant_does_less_work(tmp_path: Path) -> None:
    scenario = reference_site(site_noise_sd=0.0, gpus_lost_per_hour=0.0)
    state = NvmlState.create(tmp_path / "gpus.state", scenario.uuids, scenario.gpu_model)
    plant = Plant(scenario, state, VirtualClock(datetime(2026, 7, 1, tzinfo=UTC)))
    decode = np.isin(
        scenario.job_of_gpu, [i for i, job in enumerate(scenario.workloads.jobs) if job.workload == DECODE]
    )
    for _ in range(STEPS_PER_S):
        plant.step()
    assert (state.gpus["throughput_ppm"] == 1_000_000).all()
    state.gpus["cap_mw"] = 200_000
    state.gpus["lock_max_mhz"][decode] = 705
    for _ in range(20 * STEPS_PER_S):
        plant.step()
    done = state.gpus["throughput_ppm"] / 1e6
    assert done[decode] == pytest.approx(1 / 1.2, abs=0.01)
    assert ((done[~decode] > 0.6) & (done[~decode] < 0.85)).all()
