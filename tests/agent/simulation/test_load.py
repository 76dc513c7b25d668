"""GPU power: noise of the size and colour asked for, caps that bind, and an exact counterfactual."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.simulation import shapes
from agent.simulation.arrivals import serving_load
from agent.simulation.load import STEP_S, GpuLoad
from agent.simulation.scenario import Scenario
from agent.simulation.site import Site
from agent.workloads.curves import DECODE, PUBLISHED
from agent.workloads.jobs import FlexTier
from tests.agent.simulation.conftest import reference_site

Floats = NDArray[np.float64]
MAX_W = 400.0


class Run:
    """A site's load and building under limits that a test sets; what they drew, second by second."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.load = GpuLoad(scenario, serving_load(scenario))
        self.site = Site(scenario)
        self.cap_w = np.full(len(scenario.uuids), MAX_W)
        self.lock_mhz = np.zeros(len(scenario.uuids))
        self.power_w = np.zeros(len(scenario.uuids))

    def seconds(self, count: int) -> Floats:
        """Go on; returns site_kw, gpu_kw and caps_kw, one row a second."""
        rows = np.empty((count * round(1 / STEP_S), 3))
        for row in rows:
            draw = self.load.step(self.cap_w, self.lock_mhz)
            power = self.site.step(draw.power_w.sum() / 1000.0, draw.uncapped_w.sum() / 1000.0, 0.0)
            row[:] = power.site_kw, power.gpu_kw, power.caps_kw
            self.power_w = draw.power_w
        return np.asarray(rows.reshape(count, -1, 3).mean(axis=1))


def floor_caps_w(scenario: Scenario) -> Floats:
    """Each job's cap at the floor of its tier, by the published curves."""
    caps = []
    for job in scenario.workloads.jobs:
        curve = PUBLISHED.get(job.workload)
        at_floor = MAX_W if curve is None else curve.cap_at_power(curve.power_at_throughput(job.tier.floor))
        caps.append(MAX_W if job.tier is FlexTier.FLEX_0 else at_floor)
    return np.array(caps)[scenario.job_of_gpu]


def site_kw(seconds: int, **settings: Any) -> Floats:
    return Run(reference_site(**settings)).seconds(seconds)[:, 0]


def test_noise_at_the_meter_is_a_slow_ar1_of_the_size_asked_for() -> None:
    noise = site_kw(5000) - site_kw(5000, site_noise_sd=0.0)
    share = noise.std() / reference_site().site_kw
    assert share == pytest.approx(0.0175, rel=0.25)
    one_second = np.corrcoef(noise[:-1], noise[1:])[0, 1]
    assert one_second == pytest.approx(shapes.NOISE_PHI_1S, abs=0.015)


def test_a_seed_repeats_itself_and_sites_differ() -> None:
    trace = site_kw(60)
    assert (trace == site_kw(60)).all()
    assert abs(np.corrcoef(trace, site_kw(60, site_id="site-b"))[0, 1]) < 0.9
    assert not np.allclose(trace, site_kw(60, seed=8))


def test_uncapped_power_is_near_nominal() -> None:
    for name in ("site-a", "site-b", "site-c"):
        assert site_kw(600, site_id=name).mean() == pytest.approx(reference_site(name).site_kw, rel=0.08)


def test_caps_at_the_floors_give_about_a_quarter_within_half_a_minute() -> None:
    reductions = []
    for name in ("site-a", "site-b", "site-c"):
        run = Run(reference_site(name))
        assert run.seconds(60)[:, 2] == pytest.approx(0.0, abs=1e-9)
        run.cap_w = floor_caps_w(run.scenario)
        run.seconds(20)
        late = run.seconds(20)
        reductions.append(late[:, 2].mean() / (late[:, 0] + late[:, 2]).mean())
        assert (late[:, 2] > 0).all()
    assert np.mean(reductions) == pytest.approx(0.23, abs=0.02)
    assert all(0.20 <= reduction <= 0.28 for reduction in reductions)


def test_no_gpu_draws_more_than_its_cap_once_it_has_settled() -> None:
    run = Run(reference_site(gpus_lost_per_hour=0.0))
    run.cap_w[:] = np.linspace(100, 400, len(run.cap_w))
    run.seconds(20)
    for _ in range(100):
        run.seconds(1)
        assert (run.power_w <= run.cap_w + 0.1).all()
        assert (run.power_w >= run.scenario.gpu_model.idle_w).all()


def test_a_cap_acts_with_a_lag_of_seconds() -> None:
    run = Run(reference_site(site_noise_sd=0.0, gpus_lost_per_hour=0.0))
    run.seconds(30)
    run.cap_w[:] = 100.0
    settling = run.seconds(12)[:, 2]
    final = run.seconds(5)[:, 2].mean()
    assert settling[0] < 0.6 * final
    assert settling[7] > 0.85 * final


def test_decode_ignores_caps_but_not_clock_locks() -> None:
    scenario = reference_site(site_noise_sd=0.0, gpus_lost_per_hour=0.0)
    decode = np.isin(
        scenario.job_of_gpu, [i for i, job in enumerate(scenario.workloads.jobs) if job.workload == DECODE]
    )
    free, capped, locked = Run(scenario), Run(scenario), Run(scenario)
    capped.cap_w[:] = 280.0
    locked.lock_mhz[decode] = 700.0
    for run in (free, capped, locked):
        run.seconds(20)
    assert (capped.power_w[decode] == free.power_w[decode]).all()
    assert (capped.power_w[~decode].sum()) < 0.9 * free.power_w[~decode].sum()
    assert locked.power_w[decode].sum() < 0.75 * free.power_w[decode].sum()
    assert (locked.power_w[~decode] == free.power_w[~decode]).all()


def test_gpus_fail_at_the_rate_asked_for() -> None:
    run = Run(reference_site(gpus_lost_per_hour=1.0))
    run.seconds(600)
    lost = run.load.lost
    expected = 256 * (1 - np.exp(-600 / 3600))
    assert abs(lost.sum() - expected) < 4 * np.sqrt(expected)
    assert (run.power_w[lost] == run.scenario.gpu_model.idle_w).all()


def test_training_jobs_dip_for_checkpoints() -> None:
    run = Run(reference_site(site_noise_sd=0.0))
    training = [i for i, job in enumerate(run.scenario.settings.jobs) if job.trains]
    first_gpu = [int(np.argmax(run.scenario.job_of_gpu == job)) for job in training]
    levels = np.empty((1500, len(training)))
    for row in levels:
        run.seconds(1)
        row[:] = run.load.level[first_gpu]
    at_checkpoint = (np.abs(levels - shapes.CHECKPOINT_LEVEL) < 1e-9).mean()
    assert 0.005 < at_checkpoint < 0.08
    assert set(np.round(levels.max(axis=0), 6)) == {shapes.HIGH_LEVEL}
