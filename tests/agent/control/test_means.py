"""How far the loop aims off its target for the mean's sake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.control.means import MARGIN_SPENT, SHORTEST_MINUTE_S, MeanControl
from grid.intervals import Interval

T0 = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)
HOUR = Interval.lasting(T0, 3600.0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def seen(control: MeanControl, interval: Interval, errors_kw: dict[int, float], now_s: float) -> float:
    """The correction after these seconds, each given by its start and its error."""
    for second, error_kw in errors_kw.items():
        control.move_to(interval, at(second + 1.2))
        control.observe(Interval.lasting(at(second), 1.0), error_kw)
    control.move_to(interval, at(now_s))
    return control.correction_kw(at(now_s), baseline_kw=100.0, margin_kw=0.2)


def control(minute_max: float = 0.1, interval_max: float = 0.01) -> MeanControl:
    return MeanControl(minute_max=minute_max, interval_max=interval_max)


def test_an_error_is_spread_over_what_is_left_of_its_minute() -> None:
    only_minute = control(interval_max=0.0)
    assert seen(only_minute, HOUR, {0: 6.0, 1: 2.0, 2: -3.0}, 10.0) == pytest.approx(5.0 / 50.0)


def test_a_minute_does_not_make_up_for_the_one_before() -> None:
    assert seen(control(interval_max=0.0), HOUR, {40: 6.0}, 62.0) == 0.0


def test_the_last_seconds_of_a_minute_are_not_asked_for_more_than_they_can_do() -> None:
    assert seen(control(interval_max=0.0), HOUR, {50: 10.0}, 59.5) == pytest.approx(10.0 / SHORTEST_MINUTE_S)
    assert seen(control(interval_max=0.0), HOUR, {50: 90.0}, 59.5) == pytest.approx(10.0)
    assert seen(control(interval_max=0.0), HOUR, {50: -90.0}, 59.5) == pytest.approx(-10.0)


def test_the_interval_makes_up_in_later_minutes_but_not_for_more_than_part_of_the_margin() -> None:
    assert seen(control(), HOUR, {0: 360.0}, 3000.0) == pytest.approx(360.0 / 600.0)
    assert seen(control(), HOUR, {0: 3600.0}, 3000.0) == pytest.approx(1.0)
    assert seen(control(), HOUR, {0: -3600.0}, 3000.0) == pytest.approx(-MARGIN_SPENT * 0.2)


def test_an_interval_within_one_minute_is_corrected_once() -> None:
    half = Interval.lasting(at(10), 30.0)
    assert seen(control(), half, {10: 3.0}, 20.0) == pytest.approx(3.0 / 20.0)


def test_another_interval_starts_afresh() -> None:
    one = control()
    seen(one, Interval.lasting(T0, 30.0), {0: 50.0}, 20.0)
    assert seen(one, Interval.lasting(at(30), 600.0), {}, 31.0) == 0.0
