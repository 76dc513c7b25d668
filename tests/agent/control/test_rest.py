"""What is learned of the rest from readings that agree, that do not, and that say nothing."""

from __future__ import annotations

import pytest

from agent.control.failsafe import MeterTrust
from agent.control.rest import RELEARN_S, RestEstimate

TIME_S = 8.0


def trust(*, trusted: bool = True, alive: bool = True, agrees: bool = True) -> MeterTrust:
    return MeterTrust(trusted=trusted, alive=alive, agrees=alive and agrees, shows_more=False, staged=False, reason="")


@pytest.fixture
def rest() -> RestEstimate:
    made = RestEstimate(time_s=TIME_S)
    made.observe(100.0, 20.0, trust())
    return made


def test_the_first_reading_is_taken_as_it_is(rest: RestEstimate) -> None:
    assert (rest.expected_kw, rest.acted_on_kw) == (100.0, 120.0)


def test_readings_that_agree_are_followed_in_seconds_and_gpus_that_caps_do_not_reach_are_acted_on(
    rest: RestEstimate,
) -> None:
    rest.observe(100.0 + TIME_S, 20.0 - 2 * TIME_S, trust())
    assert (rest.expected_kw, rest.acted_on_kw) == (101.0, 119.0)


def test_less_load_is_expected_over_a_minute_and_acted_on_once_readings_agree_and_are_trusted(
    rest: RestEstimate,
) -> None:
    rest.observe(100.0 - RELEARN_S, 20.0, trust(agrees=False))
    rest.observe(99.0, 20.0, trust(trusted=False))
    assert (rest.expected_kw, rest.acted_on_kw) == (99.0, 120.0)
    rest.observe(99.0, 21.0 - TIME_S, trust())
    assert rest.acted_on_kw == 119.0


@pytest.mark.parametrize("trusted", [True, False])
def test_more_load_is_acted_on_at_once(rest: RestEstimate, trusted: bool) -> None:
    rest.observe(100.0 + TIME_S, 20.0, trust(trusted=trusted, agrees=False))
    assert rest.acted_on_kw == 121.0


def test_a_meter_that_is_not_alive_teaches_nothing(rest: RestEstimate) -> None:
    rest.observe(200.0, 20.0, trust(alive=False))
    assert (rest.expected_kw, rest.acted_on_kw) == (100.0, 120.0)
