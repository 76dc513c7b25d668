"""Half-open intervals, the whole-second grid, and kW out of whatever the utility wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.errors import UnitError
from grid.intervals import Interval, ceil_to, floor_to
from grid.money import quantity, usd
from grid.units import energy_kwh, power_kw

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_an_interval_holds_its_start_and_not_its_end() -> None:
    first, second = Interval.lasting(NOON, 10), Interval.lasting(NOON + timedelta(seconds=10), 10)
    assert NOON in first
    assert first.end not in first
    assert first.end in second
    assert first.intersection(second) is None


def test_instants_are_aware_and_become_utc() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Interval(start=datetime(2026, 7, 1), end=NOON)  # noqa: DTZ001
    phoenix = timezone(timedelta(hours=-7))
    assert Interval(start=NOON.astimezone(phoenix), end=NOON).start.tzinfo is UTC
    with pytest.raises(ValueError, match="ends before it starts"):
        Interval(start=NOON, end=NOON - timedelta(seconds=1))


@given(st.integers(0, 10**6), st.sampled_from([1, 10, 300]))
def test_floor_and_ceil_enclose_the_moment_on_the_grid(offset_ms: int, step_s: int) -> None:
    moment = NOON + timedelta(milliseconds=offset_ms)
    low, high = floor_to(moment, step_s), ceil_to(moment, step_s)
    assert low <= moment <= high
    assert (high - low).total_seconds() in (0, step_s)
    assert low.timestamp() % step_s == 0
    assert high.timestamp() % step_s == 0


def test_steps_cut_the_last_piece_and_whole_steps_leave_the_edges() -> None:
    ragged = Interval(start=NOON + timedelta(seconds=3), end=NOON + timedelta(seconds=25))
    assert [s.duration_s for s in ragged.steps(10)] == [10, 10, 2]
    assert list(ragged.whole_steps(10)) == [Interval.lasting(NOON + timedelta(seconds=10), 10)]
    assert list(Interval.lasting(NOON + timedelta(seconds=1), 9).whole_steps(10)) == []


def test_power_is_kw_whatever_the_scale() -> None:
    assert power_kw(20, units="W", si_scale="k") == pytest.approx(20)
    assert power_kw(1.5, units="W", si_scale="M") == pytest.approx(1500)
    assert power_kw(900, units="W", si_scale="none") == pytest.approx(0.9)
    with pytest.raises(UnitError, match="itemUnits W"):
        power_kw(1, units="VA", si_scale="k")
    with pytest.raises(UnitError, match="siScaleCode"):
        power_kw(1, units="W", si_scale="K")
    assert energy_kwh(360, 10) == pytest.approx(1)


def test_money_is_rounded_once_by_the_named_rule() -> None:
    assert str(quantity(0.1 + 0.2, 3)) == "0.300"
    assert str(usd(quantity(0.125, 3), "half_up")) == "0.13"
    assert str(usd(quantity(0.125, 3), "half_even")) == "0.12"
