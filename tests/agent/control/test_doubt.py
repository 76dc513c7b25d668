"""The loop with a meter that cannot be believed: nothing is raised, nothing charged, then the staged table."""

from __future__ import annotations

import dataclasses
import itertools

from agent.control.allocate import CapClass
from agent.control.loop import ControlLoop
from agent.control.readings import Actions, MeterReading
from agent.control.tuning import Tuning
from tests.agent.control.campaign import BEFORE_S, START, budget_for
from tests.agent.control.plant import Plant

FROZEN_FROM_S = BEFORE_S + 40
RAISED_FROM_S = FROZEN_FROM_S + 15


def run_frozen(seconds: int) -> tuple[list[Actions], Plant]:
    """An event whose meter repeats, from 20 s into the hold, a reading below the limit, which then goes up a lot."""
    plant = Plant(seed=8, start=START)
    loop = ControlLoop(site_id="site-1", jobs=plant.jobs, tuning=Tuning())
    actions: list[Actions] = []
    for second in range(seconds):
        readings = plant.run_to_tick()
        if second >= FROZEN_FROM_S and readings.meter is not None:
            low = MeterReading(site_kw=plant.log[FROZEN_FROM_S - 1][0] * 0.93, covers=readings.meter.covers)
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


def test_after_a_minute_of_doubt_caps_stand_at_the_staged_table() -> None:
    actions, plant = run_frozen(FROZEN_FROM_S + 70)
    table = actions[-1].caps_w
    assert table is not None
    for job in plant.jobs:
        cap_class = CapClass.of(job)
        if cap_class is not None:
            assert table[job.job_id] <= cap_class.curve.cap_at_power(cap_class.floor_w) * 1.021
