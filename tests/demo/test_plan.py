"""The event's times come from the programme, and a kill says exactly which intervals cannot be there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aggregator.demo.plan import DISPATCHED, Outage, Timeline, event_plan
from aggregator.portfolio.programme import shipped
from grid.intervals import Interval

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
TIMES = Timeline(start=START, plan=event_plan())


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def outage(killed_s: float, restarted_s: float = 131.0) -> Outage:
    return Outage(site_id="a", killed_at=at(killed_s), restarted_at=at(restarted_s))


def test_the_times_are_the_programmes() -> None:
    rules = shipped(DISPATCHED).dispatch
    assert rules is not None
    assert TIMES.hold.start == at(rules.ramp_s)
    assert TIMES.release_end == TIMES.active.end + timedelta(seconds=rules.release_s)
    assert TIMES.free_from == TIMES.release_end + timedelta(seconds=rules.release_s)


@pytest.mark.parametrize(
    ("killed_s", "first_dead_s", "doubtful_s"),
    [(40.02, 40, [30]), (40.0, 40, [30]), (41.9, 40, [30]), (42.1, 40, []), (49.9, 40, [])],
)
def test_what_the_agent_did_not_live_to_meter_is_dead(
    killed_s: float, first_dead_s: int, doubtful_s: list[int]
) -> None:
    assert outage(killed_s).dead(TIMES) == tuple(at(s) for s in range(first_dead_s, 130, 10))
    assert outage(killed_s).doubtful(TIMES) == tuple(map(at, doubtful_s))


def test_a_battery_rests_from_its_dead_man_to_the_restart() -> None:
    assert outage(40.5, 131.7).resting() == Interval(start=at(52), end=at(131))
    assert outage(125.0).resting() is None
