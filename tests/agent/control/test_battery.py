"""What the loop makes of a battery that falls silent, and how far it discharges one: never into the grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.battery.device import REVERT_AFTER_S
from agent.control.loop import ControlLoop
from agent.control.readings import Actions, BatteryReading, ClassReading, MeterReading, Readings
from agent.control.tuning import Tuning
from agent.workloads.jobs import FlexTier, Job
from grid.intervals import Interval
from grid.messages import BudgetInterval, SiteBudget

START = datetime(2026, 7, 1, 16, tzinfo=UTC)
JOB = Job(job_id="batch", workload="infer_llama_8b", tier=FlexTier.FLEX_3, gpu_uuids=("GPU-0",))
GPUS = 200
REST_KW = 40.0


class Desk:
    """A loop that is shown what a test says, second after second, from ten seconds before the event on."""

    def __init__(self, limit_kw: float) -> None:
        self.loop = ControlLoop(site_id="a", jobs=(JOB,), tuning=Tuning())
        self._second = 0
        dtstart = START + timedelta(seconds=10)
        end = dtstart + timedelta(hours=1)
        self.budget = SiteBudget(
            site_id="a", revision=1, issued_at=START, not_after=end,
            intervals=(BudgetInterval(start=dtstart, end=end, limit_kw=limit_kw),),
        )  # fmt: skip

    def tick(self, *, meter_kw: float | None, gpu_kw: float, battery_kw: float | None) -> Actions:
        self._second += 1
        at = START + timedelta(seconds=self._second)
        meter = None
        if meter_kw is not None:
            # Never twice the same: the loop takes that for a frozen meter.
            meter = MeterReading(
                site_kw=meter_kw + 0.001 * (self._second % 2), covers=Interval.lasting(at - timedelta(seconds=1), 1.0)
            )
        battery = None
        if battery_kw is not None:
            battery = BatteryReading(
                power_kw=battery_kw, soc_pct=80.0, energy_kwh=100.0, max_discharge_kw=200.0, max_charge_kw=200.0
            )
        gpus = ClassReading(power_kw=gpu_kw, instant_kw=gpu_kw, gpu_count=GPUS, prior_w=400.0)
        readings = Readings(meter=meter, battery=battery, classes={"batch": gpus})
        return self.loop.step(readings, self.budget, at + timedelta(seconds=0.2), link_lost=False)


def metered_kw(gpu_kw: float, battery_kw: float) -> float:
    return REST_KW + Tuning().meter_gain * gpu_kw - battery_kw


def test_a_silent_battery_holds_its_last_power_until_its_dead_man_and_nothing_is_learned_meanwhile() -> None:
    desk = Desk(limit_kw=metered_kw(50.0, 0.0))
    for _ in range(10):
        desk.tick(meter_kw=metered_kw(60.0, 0.0), gpu_kw=60.0, battery_kw=0.0)
    for _ in range(60):
        before = desk.tick(meter_kw=metered_kw(50.0, 3.0), gpu_kw=50.0, battery_kw=3.0)
    assert before.caps_w is not None
    caps_w: list[float] = []
    for second in range(1, 30):
        battery_kw = 3.0 if second <= REVERT_AFTER_S else 0.0
        actions = desk.tick(meter_kw=metered_kw(50.0, battery_kw), gpu_kw=50.0, battery_kw=None)
        assert actions.caps_w is not None
        assert actions.alarms == before.alarms
        caps_w.append(actions.caps_w["batch"])
    assert max(caps_w) <= before.caps_w["batch"]


@pytest.mark.parametrize("meter_kw", [150.0, None])
def test_a_meter_that_shows_more_than_there_is_or_nothing_does_not_let_the_battery_export(
    meter_kw: float | None,
) -> None:
    desk = Desk(limit_kw=5.0)
    battery_kw = 0.0
    for _ in range(40):
        actions = desk.tick(meter_kw=metered_kw(60.0, battery_kw), gpu_kw=60.0, battery_kw=battery_kw)
        battery_kw = actions.battery_kw or 0.0
    assert battery_kw > 80.0
    actions = desk.tick(meter_kw=meter_kw, gpu_kw=0.0, battery_kw=battery_kw)
    assert actions.battery_kw is not None
    assert actions.battery_kw <= REST_KW + 1.0


def test_a_battery_is_not_discharged_before_any_load_was_seen() -> None:
    desk = Desk(limit_kw=5.0)
    for _ in range(15):
        actions = desk.tick(meter_kw=None, gpu_kw=60.0, battery_kw=50.0)
    assert actions.battery_kw == 0.0
