"""The law in closed loop on the simulated site's equations, by the plant's own log."""

from __future__ import annotations

import numpy as np
import pytest

from agent.control.readings import Mode
from agent.control.tuning import Tuning
from tests.agent.control.campaign import AFTER_S, BEFORE_S, DEAD_S, HOLD_S, RAMP_S, RELEASE_S, START, run_event
from tests.agent.control.plant import Plant


@pytest.mark.parametrize("seed", range(5))
def test_a_20_percent_event_is_tracked_and_carried_by_caps(seed: int) -> None:
    outcome = run_event(Plant(seed=seed, start=START, battery_time_s=(0.2, 0.5, 0.8)[seed % 3]))
    assert 0.98 <= outcome.delivered <= 1.05
    assert outcome.rmse_5s <= 0.012
    assert outcome.caps_share >= 0.9
    assert outcome.settled_s <= RAMP_S + 5


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_without_a_battery_caps_alone_hold_the_budget(seed: int) -> None:
    outcome = run_event(Plant(seed=seed, start=START, with_battery=False))
    assert 0.98 <= outcome.delivered <= 1.05
    assert outcome.rmse_5s <= 0.02


def test_caps_take_over_what_the_battery_carries_even_when_no_gain_is_learned() -> None:
    outcome = run_event(Plant(seed=1, start=START), tuning=Tuning(gain_time_s=1e6))
    assert outcome.caps_share >= 0.94


def test_the_whole_capability_can_be_held_with_the_battery_as_a_minor_part() -> None:
    outcome = run_event(Plant(seed=21, start=START), share=None)
    assert outcome.share > 0.2
    assert 0.98 <= outcome.delivered <= 1.05
    assert outcome.rmse_5s <= 0.012
    assert outcome.caps_share >= 0.8


@pytest.mark.parametrize(("with_battery", "worst"), [(True, 0.01), (False, 0.02)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_agent_killed_in_the_hold_raises_nothing_when_it_is_back(
    seed: int, with_battery: bool, worst: float
) -> None:
    killed_s = BEFORE_S + RAMP_S + 40
    outcome = run_event(Plant(seed=seed, start=START, with_battery=with_battery), killed_s=killed_s)
    back_s = killed_s + DEAD_S
    assert outcome.over[back_s : back_s + 10].mean() <= worst
    assert outcome.over[back_s : back_s + 30].reshape(-1, 5).mean(axis=1).max() <= 2 * worst
    assert 0.98 <= outcome.delivered <= 1.05


def test_an_agent_killed_in_the_release_takes_the_ramp_up_where_it_is() -> None:
    killed_s = BEFORE_S + RAMP_S + HOLD_S + 5
    outcome = run_event(Plant(seed=3, start=START), killed_s=killed_s)
    back_s = killed_s + DEAD_S
    ramp = 0.22 * np.arange(back_s - killed_s + 5, RELEASE_S) / RELEASE_S
    assert (outcome.over[back_s : back_s + len(ramp)] - ramp).max() <= 0.03
    modes = [a.mode for a in outcome.actions[killed_s:]]
    assert modes == [Mode.RELEASE] * (RELEASE_S - 5 - DEAD_S) + [Mode.IDLE] * AFTER_S


def test_before_the_event_nothing_is_touched_and_after_it_nothing_is_left() -> None:
    outcome = run_event(Plant(seed=3, start=START))
    before = outcome.actions[:BEFORE_S]
    assert all(a.caps_w is None and a.battery_kw is None and a.mode is Mode.IDLE for a in before)
    end = BEFORE_S + RAMP_S + HOLD_S + RELEASE_S
    assert all(a.caps_w is None for a in outcome.actions[end + 1 :])


def test_the_meter_does_not_rebound_after_the_release_though_the_battery_recharges() -> None:
    outcome = run_event(Plant(seed=21, start=START), share=None)
    end = BEFORE_S + RAMP_S + HOLD_S + RELEASE_S
    site_kw, battery_kw, caps_kw = np.array(outcome.plant.log[end + 5 :]).T
    untouched_kw = site_kw + battery_kw + caps_kw
    assert battery_kw.min() < 0.0
    rebound_kw = site_kw - np.maximum(untouched_kw, outcome.baseline_kw)
    assert np.convolve(rebound_kw, np.full(5, 0.2), "valid").max() <= 0.02 * outcome.baseline_kw


def test_flex_0_and_every_other_gpu_is_in_the_first_table_and_flex_0_is_never_reduced() -> None:
    outcome = run_event(Plant(seed=4, start=START))
    tables = [a.caps_w for a in outcome.actions if a.caps_w is not None]
    jobs = outcome.plant.jobs
    assert set(tables[0]) == {job.job_id for job in jobs}
    for job in jobs:
        if job.tier == 0:
            assert {table[job.job_id] for table in tables} == {outcome.plant.default_w}


def test_the_battery_never_charges_in_release_nor_at_once_after_it() -> None:
    outcome = run_event(Plant(seed=5, start=START))
    release = BEFORE_S + RAMP_S + HOLD_S
    assert all((a.battery_kw or 0.0) >= 0.0 for a in outcome.actions[release : release + RELEASE_S + 5])
