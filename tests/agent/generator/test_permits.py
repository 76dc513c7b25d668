"""What permits allow, and what running costs."""

from __future__ import annotations

import pytest

from agent.generator.cost import GeneratorCost, worth_starting
from agent.generator.permits import Allowed, EngineClass, Permit, Purpose, Refused, judge
from tests.agent.generator.engine import LIMITS

EMERGENCY = Permit(
    number="VA-2031-17",
    engine_class=EngineClass.EMERGENCY,
    hours_per_year={Purpose.TEST: 100.0, Purpose.EMERGENCY_ORDER: 50.0},
)


def test_an_emergency_engine_never_serves_the_market_and_the_refusal_names_the_permit() -> None:
    generous = Permit(number="VA-2031-17", engine_class=EngineClass.EMERGENCY, hours_per_year={Purpose.MARKET: 8760.0})
    for permit in (EMERGENCY, generous):
        verdict = judge(permit, Purpose.MARKET, {}, 1.0)
        assert isinstance(verdict, Refused)
        assert verdict.why == "permit VA-2031-17 is for an emergency engine: it may not serve market demand response"


def test_an_outage_is_without_limit() -> None:
    assert judge(EMERGENCY, Purpose.OUTAGE, {Purpose.OUTAGE: 4000.0}, 100.0) == Allowed(hours_left=float("inf"))


def test_hours_run_out() -> None:
    assert judge(EMERGENCY, Purpose.TEST, {Purpose.TEST: 90.0}, 2.0) == Allowed(hours_left=10.0)
    verdict = judge(EMERGENCY, Purpose.TEST, {Purpose.TEST: 99.0}, 2.0)
    assert isinstance(verdict, Refused)
    assert "VA-2031-17 has 1.0 h left for test" in verdict.why


def test_a_purpose_the_permit_does_not_name_is_not_permitted_to_an_emergency_engine() -> None:
    bare = Permit(number="P1", engine_class=EngineClass.EMERGENCY)
    assert isinstance(judge(bare, Purpose.EMERGENCY_ORDER, {}, 1.0), Refused)
    other = Permit(number="P2", engine_class=EngineClass.NON_EMERGENCY)
    assert judge(other, Purpose.MARKET, {}, 1.0) == Allowed(hours_left=float("inf"))


def test_hours_that_nobody_asked_for_count_against_every_purpose() -> None:
    assert judge(EMERGENCY, Purpose.TEST, {Purpose.TEST: 60.0, Purpose.UNASKED: 30.0}, 5.0) == Allowed(hours_left=10.0)


def test_the_total_binds_outages_too() -> None:
    permit = Permit(number="P3", engine_class=EngineClass.NON_EMERGENCY, total_hours_per_year=500.0)
    assert judge(permit, Purpose.MARKET, {Purpose.OUTAGE: 480.0}, 10.0) == Allowed(hours_left=20.0)
    assert isinstance(judge(permit, Purpose.OUTAGE, {Purpose.MARKET: 495.0}, 10.0), Refused)


# --- cost ---------------------------------------------------------------------------------------------------------

DIESEL = GeneratorCost(fuel_usd=1.0, fuel_per_h=30.0, fuel_per_kwh=0.24, upkeep_usd_per_h=20.0, start_usd=50.0)


def test_running_costs_the_slope_and_a_run_the_whole() -> None:
    assert DIESEL.marginal_usd_per_kwh == pytest.approx(0.24)
    assert DIESEL.whole_usd_per_kwh(500.0, 2.0) == pytest.approx(0.24 + (50.0 + 25.0) / 500.0)


def test_a_start_must_be_cheaper_than_the_site_s_own_and_fit_into_the_event() -> None:
    def worth(power_kw: float = 500.0, left_s: float = 7200.0, marginal: float = 1.0) -> bool:
        return worth_starting(DIESEL, LIMITS, power_kw=power_kw, left_s=left_s, marginal_usd_per_kwh=marginal)

    assert worth()
    assert not worth(marginal=0.3)
    assert not worth(left_s=LIMITS.lead_s(500.0) + LIMITS.min_up_s - 1)
    assert not worth(power_kw=200.0), "below its minimum load"
