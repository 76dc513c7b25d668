"""A site's one plan: what each dispatch puts into it and takes out again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch.planner import ceiling_kw, dispatch_intervals, release_intervals, revise
from aggregator.portfolio.commitment import Award, Commitment, State, Timeline
from aggregator.portfolio.programme import shipped
from grid.messages import OnLinkLoss, SiteBudget
from tests.aggregator.conftest import T0


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _commitment(
    event_id: str = "e1", start_s: float = 15, *, baseline_kw: float = 100, owed_kw: float = 20
) -> Commitment:
    return Commitment(
        commitment_id=1, enrolment_id="p", event_id=event_id, modification_number=0, state=State.AWARDED,
        committed_kw=owed_kw, programme=shipped("demo-dispatch"), created_at=T0,
        awards=(Award(site_id="a", owed_kw=owed_kw, baseline_kw=baseline_kw),),
        timeline=Timeline(
            start=_at(start_s), ramp_start=_at(start_s), hold_start=_at(start_s + 20),
            hold_end=_at(start_s + 110), release_end=_at(start_s + 130),
        ),
    )  # fmt: skip


def _plan(commitment: Commitment, current: SiteBudget | None = None, revision: int = 1) -> SiteBudget:
    intervals = dispatch_intervals(commitment, commitment.awards[0])
    return revise(current, commitment, intervals, site_id="a", revision=revision, now=T0)


def test_ramp_hold_release_follow_each_other_from_baseline_to_baseline() -> None:
    budget = _plan(_commitment())
    ramp, hold, release = budget.intervals
    assert (ramp.limit_at(_at(15)), ramp.limit_at(_at(25)), ramp.limit_kw) == (100, 90, 80)
    assert (hold.limit_at(_at(35)), hold.limit_at(_at(124))) == (80, 80)
    assert (release.limit_at(_at(125)), release.limit_at(_at(135)), release.limit_kw) == (80, 90, 100)
    assert (ramp.end, hold.end) == (hold.start, release.start)
    assert budget.not_after == release.end
    assert (budget.on_link_loss, budget.release_ramp_s) == (OnLinkLoss.FOLLOW, 20)
    assert {i.dispatch_ids for i in budget.intervals} == {("p/e1",)}
    assert budget.at(_at(14)) is None


def test_a_new_revision_replaces_its_own_dispatch_and_keeps_the_others() -> None:
    first = _plan(_commitment())
    both = _plan(_commitment("e2", 300, owed_kw=30), first, 2)
    assert [i.dispatch_ids[0] for i in both.intervals] == ["p/e1"] * 3 + ["p/e2"] * 3
    rebased = _plan(_commitment(baseline_kw=104), both, 3)
    assert [i.limit_kw for i in rebased.intervals] == [84, 84, 104, 70, 70, 100]
    assert rebased.not_after == _at(430)


def test_cancelled_before_the_start_the_plan_is_empty_and_still_reaches_the_site() -> None:
    commitment = _commitment()
    current = _plan(commitment)
    assert ceiling_kw(current, commitment.dispatch_id, T0) is None
    nothing = release_intervals(commitment, commitment.awards[0], now=T0, ceiling_kw=None)
    emptied = revise(current, commitment, nothing, site_id="a", revision=2, now=T0)
    assert (emptied.intervals, emptied.not_after) == ((), current.not_after)


@given(st.floats(0, 129.9), st.floats(10, 500), st.floats(0, 9))
def test_cancelled_at_any_time_the_ceiling_never_jumps(now_s: float, baseline_kw: float, owed_kw: float) -> None:
    commitment = _commitment(baseline_kw=baseline_kw, owed_kw=owed_kw, start_s=0)
    now, current = _at(now_s), _plan(_commitment(baseline_kw=baseline_kw, owed_kw=owed_kw, start_s=0))
    ceiling = ceiling_kw(current, commitment.dispatch_id, now)
    assert ceiling is not None
    assert ceiling == pytest.approx(baseline_kw - owed_kw * min(1, now_s / 20, (130 - now_s) / 20))
    (back,) = release_intervals(commitment, commitment.awards[0], now=now, ceiling_kw=ceiling)
    assert back.limit_at(now) == pytest.approx(ceiling)
    assert back.limit_kw == baseline_kw
    assert (back.end - back.start).total_seconds() == 20


def test_a_modification_ramps_from_the_ceiling_in_force() -> None:
    commitment = _commitment(start_s=-50)
    intervals = dispatch_intervals(commitment, commitment.awards[0], ramp_from_kw=85.0)
    assert (intervals[0].ramp_from_kw, intervals[0].limit_kw) == (85.0, 80.0)
