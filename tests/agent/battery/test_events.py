"""From readings to what happened."""

from __future__ import annotations

from dataclasses import replace

from agent.battery.events import AlarmCleared, AlarmRaised, BatteryWatch, Returned, Tripped
from agent.control.readings import BatteryReading

WELL = BatteryReading(power_kw=8.0, soc_pct=50.0, energy_kwh=100.0, max_discharge_kw=20.0, max_charge_kw=10.0)


def test_each_alarm_is_told_when_it_comes_and_when_it_goes() -> None:
    watch = BatteryWatch()
    assert watch.seen(WELL) == ()
    hot = replace(WELL, alarms=("OVER_TEMP",))
    assert watch.seen(hot) == (AlarmRaised(alarm="OVER_TEMP"),)
    assert watch.seen(hot) == ()
    assert watch.seen(replace(WELL, alarms=("FUSE",))) == (
        AlarmRaised(alarm="FUSE"),
        AlarmCleared(alarm="OVER_TEMP"),
    )


def test_a_trip_says_what_was_lost_and_comes_before_its_alarms() -> None:
    watch = BatteryWatch()
    watch.seen(WELL)
    tripped = replace(WELL, power_kw=0.0, out_of_service=("fault",), alarms=("GROUND_FAULT",))
    assert watch.seen(tripped) == (Tripped(why=("fault",), lost_kw=8.0), AlarmRaised(alarm="GROUND_FAULT"))
    assert watch.seen(tripped) == ()
    assert watch.seen(WELL) == (Returned(), AlarmCleared(alarm="GROUND_FAULT"))
