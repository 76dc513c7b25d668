"""Baseline, meter trust, battery bounds and capability, one by one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agent.control.allocate import Allocator, Steps
from agent.control.baseline import BaselineForecast
from agent.control.capability import capability
from agent.control.failsafe import FROZEN_READINGS, MeterTrust, MeterWatch
from agent.control.readings import BatteryReading, Quality
from agent.control.storage import bounds, held_for_kw, recharge_kw
from agent.control.tuning import Tuning

T0 = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)
TUNING = Tuning()


def battery(soc_pct: float = 50.0) -> BatteryReading:
    return BatteryReading(power_kw=0.0, soc_pct=soc_pct, energy_kwh=2.5, max_discharge_kw=10.0, max_charge_kw=8.0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_the_baseline_is_the_mean_of_the_last_minute_with_wild_seconds_drawn_in() -> None:
    forecast = BaselineForecast()
    for second in range(9):
        forecast.observe(at(second), 50.0)
    assert forecast.kw is None
    for second in range(9, 100):
        forecast.observe(at(second), 100.0 + second % 2)
    assert forecast.kw == pytest.approx(100.5)
    forecast.observe(at(100), 10_000.0)
    assert forecast.kw == pytest.approx(100.5, rel=0.01)


def test_noise_is_that_of_most_minutes_not_of_the_last() -> None:
    forecast = BaselineForecast()
    rng = np.random.default_rng(1)
    for second in range(1200):
        noise = float(rng.standard_normal()) if second < 1140 else 0.0
        forecast.observe(at(second), 100.0 + noise)
    assert forecast.noise_kw == pytest.approx(1.0 / np.sqrt(5), rel=0.2)


def judge(watch: MeterWatch, start: int, values: list[float | None], expected: float | None = None) -> list[MeterTrust]:
    return [watch.judge(value, expected, at(start + i)) for i, value in enumerate(values)]


def test_one_missed_second_is_no_reason_to_doubt_and_a_silent_meter_is() -> None:
    watch = MeterWatch()
    assert judge(watch, 0, [100.0, None, None])[-1].trusted
    doubtful = judge(watch, 3, [None])[-1]
    assert not doubtful.trusted
    assert doubtful.reason.startswith("meter stale")
    assert doubtful.quality is Quality.QUESTIONABLE


def test_a_meter_that_answers_late_at_the_start_is_trusted_from_its_first_reading() -> None:
    assert all(trust.trusted for trust in judge(MeterWatch(), 0, [None, None, 100.0, 101.0]))


def test_a_frozen_meter_is_doubted_and_after_a_minute_the_staged_table_applies() -> None:
    trusts = judge(MeterWatch(), 0, [100.0] * (FROZEN_READINGS + 62))
    assert trusts[FROZEN_READINGS - 1].trusted
    assert not trusts[FROZEN_READINGS].trusted
    assert not trusts[FROZEN_READINGS + 59].staged
    assert trusts[FROZEN_READINGS + 60].staged


def test_a_meter_that_disagrees_with_the_sub_meters_is_doubted_until_half_a_minute_of_agreement() -> None:
    watch = MeterWatch()
    trusts = judge(watch, 0, [100.0 + i / 10 for i in range(10)], expected=120.0)
    assert not trusts[-1].trusted
    again = judge(watch, 10, [120.0 + i % 3 for i in range(40)], expected=120.0)
    assert not again[29].trusted
    assert again[31].trusted


def test_battery_bounds_keep_the_reserve_the_rating_and_never_export() -> None:
    assert bounds(battery(), TUNING, load_kw=100.0, may_charge=True).highest_kw == 10.0
    assert bounds(battery(), TUNING, load_kw=4.0, may_charge=True).highest_kw == 4.0
    assert bounds(battery(10.0), TUNING, load_kw=100.0, may_charge=True).highest_kw == 0.0
    assert 0 < bounds(battery(10.5), TUNING, load_kw=100.0, may_charge=True).highest_kw < 1.0
    assert bounds(battery(), TUNING, load_kw=100.0, may_charge=False).lowest_kw == 0.0
    assert bounds(battery(95.0), TUNING, load_kw=100.0, may_charge=True).lowest_kw == 0.0


def test_recharge_stays_inside_the_headroom_and_ends() -> None:
    assert recharge_kw(battery(40.0), to_soc_pct=50.0, headroom_kw=1.5) == -1.5
    assert recharge_kw(battery(40.0), to_soc_pct=50.0, headroom_kw=-3.0) == 0.0
    assert recharge_kw(battery(49.95), to_soc_pct=50.0, headroom_kw=5.0) is None


def steps_of(*rows: tuple[int, float, float], sd: float = 0.0) -> Steps:
    """(class, kW, USD per kWh), cheapest first."""
    of_class, kw, cost = np.array(rows).T
    return Steps(
        of_class=of_class.astype(np.intp), kw=kw, usd_per_kwh=cost, class_sd=np.full(int(of_class.max()) + 1, sd)
    )


def test_capability_is_convex_and_the_battery_comes_last_at_what_it_can_hold() -> None:
    steps = steps_of((0, 2.0, 1.0), (1, 1.0, 1.0), (1, 1.0, 3.0))
    offer = capability(steps, battery(), site_id="s", at=T0, baseline_kw=100.0, tuning=TUNING)
    assert [s.kw for s in offer.segments[:2]] == pytest.approx([3.18, 1.06])
    assert offer.segments[-1].kw == pytest.approx(held_for_kw(battery(), TUNING), abs=1e-4)
    costs = [s.usd_per_kwh for s in offer.segments]
    assert costs == sorted(costs)
    assert offer.deliverable_kw == pytest.approx(np.sum([s.kw for s in offer.segments]))
    assert len(capability(steps, None, site_id="s", at=T0, baseline_kw=100.0, tuning=TUNING).segments) == 2


def test_a_site_without_anything_to_give_offers_nothing() -> None:
    nothing = Allocator([]).steps({})
    offer = capability(nothing, None, site_id="s", at=T0, baseline_kw=100.0, tuning=TUNING)
    assert (offer.deliverable_kw, offer.deliverable_p90_kw, offer.segments) == (0.0, 0.0, ())


def test_the_quantiles_add_what_jobs_are_off_one_by_one_and_what_the_meter_is_for_all() -> None:
    alone = steps_of((0, 40.0, 1.0), (0, 60.0, 2.0), sd=0.1)
    many = steps_of(*((i, kw / 50, cost) for kw, cost in ((40.0, 1.0), (60.0, 2.0)) for i in range(50)), sd=0.1)
    offers = [
        capability(s, None, site_id="s", at=T0, baseline_kw=900.0, tuning=Tuning(meter_gain=1.0)) for s in (alone, many)
    ]
    for offer, sd_kw in zip(offers, (math.hypot(10.0, 2.0), math.hypot(10.0 / math.sqrt(50), 2.0)), strict=True):
        assert offer.deliverable_p50_kw == pytest.approx(100.0)
        assert offer.deliverable_p10_kw == pytest.approx(100.0 - 1.2816 * sd_kw, abs=1e-3)
        assert offer.deliverable_p90_kw == pytest.approx(100.0 + 1.2816 * sd_kw, abs=1e-3)


def test_the_curve_of_thousands_of_jobs_is_sent_as_a_few_hundred_segments_that_stay_convex() -> None:
    steps = steps_of(*((i, 1.0 + i % 7, 0.001 * i) for i in range(5000)))
    offer = capability(steps, None, site_id="s", at=T0, baseline_kw=1e5, tuning=TUNING)
    assert len(offer.segments) <= 200
    costs = [s.usd_per_kwh for s in offer.segments]
    assert costs == sorted(costs)
    assert offer.deliverable_kw == pytest.approx(steps.kw.sum() * TUNING.meter_gain)
    whole = float(steps.kw @ steps.usd_per_kwh)
    assert sum(s.kw * s.usd_per_kwh for s in offer.segments) == pytest.approx(whole, rel=1e-3)
