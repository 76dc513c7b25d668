"""The loop with a meter that cannot be believed: nothing is raised, nothing charged, then the staged table.

And with one that is believed or not by what the parts make: faults do not lift the site over its limit, true load is
taken off whatever is believed, and what lasts is learned.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from agent.control.allocate import CapClass
from agent.control.failsafe import DISAGREE_S, TRUST_AFTER_S
from agent.control.loop import ControlLoop
from agent.control.readings import Actions, MeterReading, Mode
from agent.control.tuning import Tuning
from grid.messages import SiteBudget
from tests.agent.control.campaign import BEFORE_S, RAMP_S, RELEASE_S, START, budget_for
from tests.agent.control.plant import Plant

FROZEN_FROM_S = BEFORE_S + 40
RAISED_FROM_S = FROZEN_FROM_S + 15


def run_frozen(seconds: int, *, at: float = 0.93) -> tuple[list[Actions], Plant]:
    """An event whose meter repeats, from 20 s into the hold, a share of its last reading; the limit then goes up."""
    plant = Plant(seed=8, start=START)
    loop = ControlLoop(site_id="site-1", jobs=plant.jobs, tuning=Tuning())
    actions: list[Actions] = []
    for second in range(seconds):
        readings = plant.run_to_tick()
        if second >= FROZEN_FROM_S and readings.meter is not None:
            low = MeterReading(site_kw=plant.log[FROZEN_FROM_S - 1][0] * at, covers=readings.meter.covers)
            readings = dataclasses.replace(readings, meter=low)
        share = 0.15 if second < RAISED_FROM_S else 0.02
        budget = budget_for(plant.log[50][0], share) if second >= BEFORE_S else None
        actions.append(loop.step(readings, budget, plant.now, link_lost=False))
        plant.act(actions[-1].caps_w, actions[-1].battery_kw)
    return actions, plant


def test_a_doubted_meter_raises_no_cap_and_charges_nothing() -> None:
    actions, _ = run_frozen(FROZEN_FROM_S + 50)
    doubted = [a for a in actions[FROZEN_FROM_S:] if any(alarm.startswith("meter") for alarm in a.alarms)]
    assert len(doubted) >= 35
    for before, after in itertools.pairwise(doubted):
        assert before.caps_w is not None
        assert after.caps_w is not None
        assert all(after.caps_w[c] <= before.caps_w[c] + 1e-9 for c in after.caps_w)
    assert all((a.battery_kw or 0.0) >= 0.0 for a in doubted)


def test_a_frozen_reading_above_the_limit_does_not_wind_the_battery_up() -> None:
    actions, _ = run_frozen(RAISED_FROM_S, at=1.03)
    doubted = [a for a in actions[FROZEN_FROM_S:] if any(alarm.startswith("meter") for alarm in a.alarms)]
    assert len(doubted) >= 5
    assert len({a.battery_kw for a in doubted}) == 1


def test_after_a_minute_of_doubt_caps_stand_at_the_staged_table() -> None:
    actions, plant = run_frozen(FROZEN_FROM_S + 70)
    table = actions[-1].caps_w
    assert table is not None
    for job in plant.jobs:
        cap_class = CapClass.of(job)
        if cap_class is not None:
            assert table[job.job_id] <= cap_class.curve.cap_at_power(cap_class.floor_w) * 1.021


# --- readings that differ from what the parts make -------------------------------------------------------------

HOLD_FROM_S = BEFORE_S + RAMP_S
LONG_HOLD_S = 200
RELEASE_FROM_S = HOLD_FROM_S + LONG_HOLD_S

Share = Callable[[int], float]
"""By second since the disturbance began: a share of the baseline."""


def never(_: int) -> float:
    return 0.0


def first(seconds: int, share: float) -> Share:
    return lambda second: share if 0 <= second < seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """From the disturbance on."""

    over: np.ndarray
    """How far the site truly is above the limit, each second, as a share of the baseline."""
    actions: list[Actions]
    before: Actions
    """Of the second before."""

    def doubted(self) -> list[int]:
        """The seconds in which the meter was doubted."""
        return [k for k, a in enumerate(self.actions) if any(alarm.startswith("meter") for alarm in a.alarms)]


def run_disturbed(
    *,
    meter: Share = never,
    load: Share = never,
    flex_0: Share = never,
    with_battery: bool = True,
    from_s: int = HOLD_FROM_S + 20,
    for_s: int = 180,
) -> Run:
    """``meter``: error of the reading; ``load``: true load besides GPUs; ``flex_0``: of GPUs that caps do not reach."""
    plant = Plant(seed=3, start=START, with_battery=with_battery)
    loop = ControlLoop(site_id="site-1", jobs=plant.jobs, tuning=Tuning())
    flex_0_job = next(job.job_id for job in plant.jobs if job.tier == 0)
    true_kw: list[float] = []
    actions: list[Actions] = []
    budget: SiteBudget | None = None
    baseline_kw = limit_kw = 0.0
    for second in range(from_s + for_s):
        readings = plant.run_to_tick()
        if second == BEFORE_S:
            baseline_kw = float(np.mean([row[0] for row in plant.log[BEFORE_S - 60 :]]))
            budget = budget_for(baseline_kw, 0.15, LONG_HOLD_S)
            limit_kw = budget.intervals[-1].limit_kw
        if readings.meter is not None:
            since = second - from_s
            gpu_kw = flex_0(since) * baseline_kw
            true_kw.append(readings.meter.site_kw + load(since) * baseline_kw + Tuning().meter_gain * gpu_kw)
            shown = dataclasses.replace(readings.meter, site_kw=true_kw[-1] + meter(since) * baseline_kw)
            job = readings.classes[flex_0_job]
            job = dataclasses.replace(job, power_kw=job.power_kw + gpu_kw)
            readings = dataclasses.replace(readings, meter=shown, classes={**readings.classes, flex_0_job: job})
        actions.append(loop.step(readings, budget, plant.now, link_lost=False))
        plant.act(actions[-1].caps_w, actions[-1].battery_kw)
    late = len(actions) - len(true_kw)
    return Run(
        over=(np.array(true_kw[from_s - late :]) - limit_kw) / baseline_kw,
        actions=actions[from_s:],
        before=actions[from_s - 1],
    )


def test_a_single_disagreeing_second_raises_nothing_and_is_forgotten() -> None:
    run = run_disturbed(meter=first(1, -0.2))
    assert not raised(run.actions[0], run.before)
    assert run.actions[0].battery_kw is not None
    assert run.before.battery_kw is not None
    assert run.actions[0].battery_kw >= run.before.battery_kw
    assert run.doubted() == []
    assert run.over[1:11].mean() <= 0.005


def raised(now: Actions, before: Actions) -> list[str]:
    """The classes whose cap went up."""
    assert now.caps_w is not None
    assert before.caps_w is not None
    return [class_id for class_id, cap_w in now.caps_w.items() if cap_w > before.caps_w[class_id]]


def test_a_release_waits_while_readings_disagree() -> None:
    run = run_disturbed(meter=first(5, -0.2), from_s=RELEASE_FROM_S + 5, for_s=10)
    steps = [raised(now, before) for before, now in itertools.pairwise((run.before, *run.actions))]
    assert not any(steps[:5])
    assert any(steps[5:])


def charging(run: Run, seconds: slice) -> list[bool]:
    """Whether the battery was told to charge, second by second."""
    return [(a.battery_kw or 0.0) < 0.0 for a in run.actions[seconds]]


@pytest.mark.parametrize("second", [2, 5, 7])
def test_a_battery_that_charges_stops_at_a_reading_that_disagrees(second: int) -> None:
    more_room = first(1000, -0.04)
    believed = run_disturbed(load=more_room, for_s=10)
    doubtful = run_disturbed(load=more_room, meter=lambda since: -0.2 if since == second else 0.0, for_s=10)
    assert charging(believed, slice(second, second + 1)) == [True]
    assert charging(doubtful, slice(second, second + 1)) == [False]
    assert any(charging(doubtful, slice(second + 1, None)))


def test_nothing_is_recharged_on_readings_that_disagree_nor_taken_for_the_baseline() -> None:
    recharging_from_s = RELEASE_FROM_S + RELEASE_S + 25
    believed = run_disturbed(from_s=recharging_from_s, for_s=10)
    doubtful = run_disturbed(meter=first(5, -0.2), from_s=recharging_from_s, for_s=10)
    assert all(a.mode is Mode.IDLE for a in doubtful.actions)
    assert any(charging(believed, slice(5)))
    assert not any(charging(doubtful, slice(5)))
    assert any(charging(doubtful, slice(5, None)))
    assert {a.baseline_kw for a in doubtful.actions[:5]} == {doubtful.before.baseline_kw}
    assert doubtful.actions[9].baseline_kw != doubtful.before.baseline_kw


def test_a_meter_that_reads_low_for_a_minute_does_not_lift_the_site_over_its_limit() -> None:
    run = run_disturbed(meter=first(60, -0.1))
    assert run.doubted()[0] <= DISAGREE_S
    assert run.over[:60].reshape(-1, 10).mean(axis=1).max() <= 0.005
    assert run.doubted()[-1] < 140
    assert -0.01 <= run.over[150:].mean() <= 0.003


def test_the_margin_is_wider_while_the_meter_is_doubted() -> None:
    run = run_disturbed(meter=first(60, -0.1), with_battery=False, for_s=60)
    assert run.over[20:60].mean() <= -0.75 * Tuning().margin_in_doubt


def test_seconds_far_off_do_not_cost_the_rest_of_the_event() -> None:
    run = run_disturbed(meter=first(5, -0.5))
    assert run.doubted() == []
    assert abs(run.over[10:].mean()) <= 0.01


@pytest.mark.parametrize("share", [-0.2, -0.08, 0.08])
def test_a_disagreement_that_lasts_becomes_what_is_expected_and_the_budget_is_held_again(share: float) -> None:
    run = run_disturbed(load=first(1000, share))
    doubted = run.doubted()
    assert doubted[0] <= DISAGREE_S
    assert doubted == list(range(doubted[0], doubted[-1] + 1))
    assert TRUST_AFTER_S <= len(doubted) <= 140
    assert abs(run.over[160:].mean()) <= 0.01


@pytest.mark.parametrize(("with_battery", "worst"), [(True, 0.01), (False, 0.02)])
def test_load_that_nobody_knew_of_is_taken_off_while_the_meter_is_still_doubted(
    with_battery: bool, worst: float
) -> None:
    run = run_disturbed(load=first(1000, 0.08), with_battery=with_battery)
    assert abs(run.over[10:30].mean()) <= worst
    assert run.doubted()[-1] > 30


def test_a_flex_0_job_that_stops_is_seen_on_its_gpus_and_no_reason_to_doubt_the_meter() -> None:
    run = run_disturbed(flex_0=first(1000, -0.08))
    assert run.doubted() == []
    assert abs(run.over[20:].mean()) <= 0.01
