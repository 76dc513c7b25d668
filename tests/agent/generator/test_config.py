"""A generator in the agent's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import read_config
from agent.generator.permits import EngineClass, Purpose
from grid.errors import ConfigError

SITE = """
[site]
id = "a"
state_dir = "state"
[meter]
[workloads]
file = "workloads.json"
[generator]
name = "g1"
rating_kw = 1000
ramp_kw_per_s = 50
block_kw = 400
fuel_usd = 1.1
fuel_per_h = 30
fuel_per_kwh = 0.24
[generator.permit]
number = "VA-1"
"""


def written(folder: Path, permit: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(SITE + permit, "utf-8")
    return path


def test_limits_cost_and_permit_come_from_the_file(tmp_path: Path) -> None:
    settings = read_config(
        written(tmp_path, 'engine_class = "emergency"\nhours_per_year = { test = 100, emergency_order = 50 }')
    ).generator
    assert settings is not None
    assert (settings.limits().block_kw, settings.limits().min_load_kw) == (400.0, 300.0)
    assert settings.cost().marginal_usd_per_kwh == pytest.approx(0.264)
    permit = settings.permit.permit()
    assert permit.engine_class is EngineClass.EMERGENCY
    assert permit.hours_per_year == {Purpose.TEST: 100.0, Purpose.EMERGENCY_ORDER: 50.0}


@pytest.mark.parametrize(
    ("permit", "why"),
    [
        ('engine_class = "emergency"\nhours_per_year = { market = 50 }', "no hours for the market"),
        ('engine_class = "non_emergency"\nhours_per_year = { unasked = 50 }', "leave unasked out"),
    ],
)
def test_hours_that_no_permit_can_give_are_refused(tmp_path: Path, permit: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_config(written(tmp_path, permit))
