"""Which ceiling holds when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.control.ramp import TargetSchedule
from agent.control.readings import Mode
from grid.intervals import Interval
from grid.messages import BudgetInterval, OnLinkLoss, SiteBudget

T0 = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def budget(on_link_loss: OnLinkLoss = OnLinkLoss.FOLLOW, not_after_s: float = 110.0) -> SiteBudget:
    return SiteBudget(
        site_id="s",
        revision=1,
        issued_at=T0,
        intervals=(
            BudgetInterval(start=at(0), end=at(20), limit_kw=80.0, ramp_from_kw=100.0),
            BudgetInterval(start=at(20), end=at(110), limit_kw=80.0),
        ),
        not_after=at(not_after_s),
        on_link_loss=on_link_loss,
        release_ramp_s=20.0,
    )


def schedule() -> TargetSchedule:
    return TargetSchedule(rebound=0.02)


def test_ramp_hold_release_and_idle() -> None:
    s, b = schedule(), budget()
    assert s.update(b, at(-5), link_lost=False, baseline_kw=99.0) is Mode.IDLE
    assert s.limit_at(at(-5)) is None
    assert s.update(b, at(10), link_lost=False, baseline_kw=99.0) is Mode.EVENT
    assert s.limit_at(at(10)) == pytest.approx(90.0)
    assert s.update(b, at(50), link_lost=False, baseline_kw=99.0) is Mode.EVENT
    assert s.limit_at(at(50)) == 80.0
    assert s.update(b, at(110), link_lost=False, baseline_kw=99.0) is Mode.RELEASE
    assert s.limit_at(at(120)) == pytest.approx((80.0 + 102.0) / 2)
    assert s.update(b, at(130), link_lost=False, baseline_kw=99.0) is Mode.IDLE
    assert s.limit_at(at(130)) is None


def test_downward_ramps_are_led_and_the_end_is_not() -> None:
    s, b = schedule(), budget()
    s.update(b, at(10), link_lost=False, baseline_kw=None)
    assert s.lowest_until(at(10), 2.0) == pytest.approx(88.0)
    s.update(b, at(109), link_lost=False, baseline_kw=None)
    assert s.lowest_until(at(109), 2.0) == 80.0


def test_a_second_before_the_event_has_no_ceiling() -> None:
    s = schedule()
    s.update(budget(), at(0.3), link_lost=False, baseline_kw=None)
    assert s.mean_over(Interval.lasting(at(-1), 1.0)) is None
    assert s.mean_over(Interval.lasting(at(0), 1.0)) == pytest.approx(99.5)


def test_a_cancelled_budget_is_released_on_the_ramp() -> None:
    s, b = schedule(), budget()
    s.update(b, at(50), link_lost=False, baseline_kw=None)
    cancelled = b.model_copy(update={"intervals": (), "revision": 2})
    assert s.update(cancelled, at(51), link_lost=False, baseline_kw=None) is Mode.RELEASE
    assert s.limit_at(at(51)) == pytest.approx(80.0)
    assert s.limit_at(at(71)) == pytest.approx(102.0)


@pytest.mark.parametrize("baseline_kw", [None, 97.0])
def test_a_release_is_taken_up_where_it_is_by_a_schedule_that_begins_in_it(baseline_kw: float | None) -> None:
    s, b = schedule(), budget()
    assert s.update(b, at(115.2), link_lost=False, baseline_kw=baseline_kw) is Mode.RELEASE
    assert s.limit_at(at(115)) == pytest.approx(80.0 + 22.0 / 4)
    assert s.mean_over(Interval.lasting(at(114), 1.0)) is None
    assert s.mean_over(Interval.lasting(at(115), 1.0)) is not None
    assert s.update(b, at(130), link_lost=False, baseline_kw=baseline_kw) is Mode.IDLE


@pytest.mark.parametrize("second", [-5.0, 130.0])
def test_a_schedule_that_begins_before_the_event_or_after_its_release_is_idle(second: float) -> None:
    assert schedule().update(budget(), at(second), link_lost=False, baseline_kw=99.0) is Mode.IDLE


def test_a_release_that_is_over_is_not_taken_up_again_when_the_budget_ends_later() -> None:
    s, b = schedule(), budget(OnLinkLoss.RELEASE)
    s.update(b, at(50), link_lost=False, baseline_kw=None)
    modes = [s.update(b, at(second), link_lost=True, baseline_kw=None) for second in range(51, 130)]
    assert modes[0] is Mode.RELEASE
    assert set(modes[20:]) == {Mode.IDLE}


def test_without_a_reference_a_release_leads_to_the_baseline_of_the_process_that_takes_it_up() -> None:
    s, b = schedule(), budget()
    unramped = b.model_copy(update={"intervals": (b.intervals[1],)})
    assert s.update(unramped, at(120), link_lost=False, baseline_kw=90.0) is Mode.RELEASE
    assert s.limit_at(at(130)) == pytest.approx(90.0 * 1.02)


@pytest.mark.parametrize(
    ("policy", "mode_at_50", "mode_at_150"),
    [
        (OnLinkLoss.FOLLOW, Mode.EVENT, Mode.IDLE),
        (OnLinkLoss.HOLD, Mode.EVENT, Mode.EVENT),
        (OnLinkLoss.RELEASE, Mode.RELEASE, Mode.IDLE),
    ],
)
def test_a_lost_link_is_treated_as_the_budget_says(policy: OnLinkLoss, mode_at_50: Mode, mode_at_150: Mode) -> None:
    s, b = schedule(), budget(policy, not_after_s=200.0)
    s.update(b, at(49), link_lost=False, baseline_kw=None)
    assert s.update(b, at(50), link_lost=True, baseline_kw=None) is mode_at_50
    for second in range(51, 151):
        mode = s.update(b, at(second), link_lost=True, baseline_kw=None)
    assert mode is mode_at_150
    for second in range(151, 230):
        mode = s.update(b, at(second), link_lost=True, baseline_kw=None)
    assert mode is Mode.IDLE
