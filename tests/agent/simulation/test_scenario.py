"""The reference site: tier shares, job count, prices, and what a configuration file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.simulation.scenario import PlantSettings, expected_power_w, write_workloads
from agent.workloads.curves import DECODE
from agent.workloads.jobs import FlexTier, Workloads
from grid.errors import ConfigError
from grid.process.config import load
from tests.agent.simulation.conftest import reference_site


def test_tiers_share_the_load_as_the_reference_site_does() -> None:
    scenario = reference_site()
    load_kw = dict.fromkeys(FlexTier, 0.0)
    for job, settings in zip(scenario.workloads.jobs, scenario.settings.jobs, strict=True):
        load_kw[job.tier] += len(job.gpu_uuids) * expected_power_w(settings) / 1000
    shares = [load_kw[tier] / scenario.gpu_kw for tier in FlexTier]
    assert shares == pytest.approx([0.15, 0.15, 0.35, 0.35], abs=0.01)
    assert any(job.workload == DECODE and job.tier is FlexTier.FLEX_0 for job in scenario.workloads.jobs)
    assert 14 <= len(scenario.workloads.jobs) <= 20


def test_every_gpu_runs_one_job() -> None:
    scenario = reference_site()
    assigned = [uuid for job in scenario.workloads.jobs for uuid in job.gpu_uuids]
    assert tuple(assigned) == scenario.uuids
    assert len(set(assigned)) == 256
    for index, job in enumerate(scenario.workloads.jobs):
        assert (scenario.job_of_gpu == index).sum() == len(job.gpu_uuids)


def test_power_of_the_site_follows_its_ratios() -> None:
    scenario = reference_site()
    assert scenario.gpu_kw / scenario.site_kw == pytest.approx(0.7 / 1.2)
    assert scenario.battery_kw == pytest.approx(0.1 * scenario.site_kw)


def test_sites_differ_and_a_seed_repeats_itself() -> None:
    assert reference_site().workloads == reference_site().workloads
    prices = [
        [job.price_usd_per_gpu_hour for job in reference_site(site).workloads.jobs] for site in ("site-a", "site-b")
    ]
    assert prices[0] != prices[1]
    assert all(1.0 <= price <= 3.9 for site in prices for price in site)
    assert not set(reference_site("site-a").uuids) & set(reference_site("site-b").uuids)


def test_workloads_are_readable_by_the_agent(tmp_path: Path) -> None:
    scenario = reference_site()
    write_workloads(scenario, tmp_path / "workloads.json")
    assert Workloads.read(tmp_path / "workloads.json") == scenario.workloads


def test_configuration_is_checked(tmp_path: Path) -> None:
    config = tmp_path / "plant.toml"
    config.write_text('site_id = "a"\nseed = 1\nstate_dir = "state"\ngpus = 40\n[battery]\nminutes = 10\n')
    settings = load(config, PlantSettings, {})
    assert (settings.state_dir, settings.battery.minutes, settings.gpus) == (tmp_path / "state", 10.0, 40)
    for wrong, word in (
        ("gpus = 3\n", "give each job one or more"),
        ("colour = 1\n", "unknown key"),
        ('[[jobs]]\nworkload = "dance"\ntier = 1\nload_share = 1\nprice_usd_per_gpu_hour = 1\n', "unknown workload"),
    ):
        config.write_text(f'site_id = "a"\nseed = 1\nstate_dir = "state"\n{wrong}')
        with pytest.raises(ConfigError, match=word):
            load(config, PlantSettings, {})
