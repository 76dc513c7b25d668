"""What a battery may do within the next second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.control.readings import BatteryReading
from agent.control.storage import EFFICIENCY, bounds, held_for_kw
from agent.control.tuning import Tuning

TUNING = Tuning()
HALF_FULL = BatteryReading(power_kw=0.0, soc_pct=50.0, energy_kwh=100.0, max_discharge_kw=20.0, max_charge_kw=10.0)


def test_what_the_rest_of_the_event_needs_is_kept_above_the_backup_reserve() -> None:
    above_reserve_kwh = 0.4 * 100.0 * EFFICIENCY
    enough = bounds(HALF_FULL, TUNING, load_kw=99.0, may_charge=True, event_needs_kwh=above_reserve_kwh - 1.0)
    assert enough.highest_kw == 20.0
    scarce = bounds(HALF_FULL, TUNING, load_kw=99.0, may_charge=True, event_needs_kwh=above_reserve_kwh - 0.1)
    assert scarce.highest_kw == pytest.approx(6.0), "0.1 kWh, spread over the minute it fades in"
    short = bounds(HALF_FULL, TUNING, load_kw=99.0, may_charge=True, event_needs_kwh=above_reserve_kwh + 5.0)
    assert short.highest_kw == 0.0
    assert short.lowest_kw == -10.0


def test_the_battery_s_own_limits_of_charge_bind_where_they_are_tighter() -> None:
    at_its_floor = replace(HALF_FULL, soc_min_pct=50.0)
    assert bounds(at_its_floor, TUNING, load_kw=99.0, may_charge=True).highest_kw == 0.0
    assert held_for_kw(at_its_floor, TUNING) == 0.0
    at_its_top = replace(HALF_FULL, soc_max_pct=50.0)
    assert bounds(at_its_top, TUNING, load_kw=99.0, may_charge=True).lowest_kw == 0.0


def test_a_set_point_is_within_reach_of_the_ramp() -> None:
    slow = replace(HALF_FULL, power_kw=4.0, slew_kw_per_s=3.0)
    limits = bounds(slow, TUNING, load_kw=99.0, may_charge=True)
    assert (limits.lowest_kw, limits.highest_kw) == (1.0, 7.0)


def test_a_ramp_too_slow_to_stay_inside_the_bounds_goes_as_far_as_it_can() -> None:
    exporting = replace(HALF_FULL, power_kw=18.0, slew_kw_per_s=3.0)
    limits = bounds(exporting, TUNING, load_kw=2.0, may_charge=True)
    assert (limits.lowest_kw, limits.highest_kw) == (2.0, 2.0)
    charging = replace(HALF_FULL, power_kw=-9.0, slew_kw_per_s=3.0)
    limits = bounds(charging, TUNING, load_kw=99.0, may_charge=False)
    assert (limits.lowest_kw, limits.highest_kw) == (0.0, 0.0)
