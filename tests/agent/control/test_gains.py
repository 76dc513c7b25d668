"""What is learned of classes that come, go and draw less than was predicted."""

from __future__ import annotations

import numpy as np
import pytest

from agent.control.allocate import CapClass
from agent.control.gains import WANDER_BEFORE_SEEN, LearnedGains
from agent.control.readings import ClassReading
from agent.workloads.curves import PUBLISHED

CURVES = {"short": PUBLISHED["infer_llama_8b"], "long": PUBLISHED["pt_mpt_7b_fast"]}
CLASSES = [CapClass(class_id=name, curve=c, floor=0.5, price_usd_per_gpu_hour=2.0) for name, c in CURVES.items()]


def reading(power_w: float, gpus: int = 4) -> ClassReading:
    return ClassReading(power_kw=power_w * gpus / 1000, instant_kw=power_w * gpus / 1000, gpu_count=gpus, prior_w=400.0)


@pytest.fixture
def gains() -> LearnedGains:
    return LearnedGains(CLASSES, time_s=20.0)


def test_a_class_is_as_it_was_while_it_is_away_and_others_go_on(gains: LearnedGains) -> None:
    for _ in range(100):
        gains.observe({"short": reading(300.0), "long": reading(380.0)}, {}, uncapped=True)
    before = gains.scales({"short": reading(300.0)})["short"]
    for _ in range(1500):
        gains.observe({"long": reading(190.0), "short": reading(300.0, gpus=0)}, {}, uncapped=True)
    after = gains.scales({"short": reading(300.0), "long": reading(190.0)})
    assert after["short"] == before
    assert after["long"].demand.samples_w == pytest.approx(np.full(60, 190.0))
    assert list(gains.scales({"long": reading(190.0)})) == ["long"]


def test_under_a_cap_the_demand_stands_and_only_the_gain_is_learned(gains: LearnedGains) -> None:
    for _ in range(100):
        gains.observe({"short": reading(350.0)}, {}, uncapped=True)
    uncapped = gains.scales({"short": reading(350.0)})["short"]
    expected_w = CURVES["short"].power_at_cap(250.0)
    for _ in range(200):
        gains.observe({"short": reading(0.9 * expected_w)}, {"short": 250.0}, uncapped=False)
    capped = gains.scales({"short": reading(0.9 * expected_w)})["short"]
    assert capped.demand is uncapped.demand
    assert capped.gain == pytest.approx(0.9, rel=1e-3)
    assert capped.cost_gain == uncapped.cost_gain == pytest.approx(1.0, abs=2e-2)


def test_how_far_a_gain_wanders_is_seen_in_an_hour(gains: LearnedGains) -> None:
    rng = np.random.default_rng(1)
    assert gains.scales({"short": reading(300.0)})["short"].sd == WANDER_BEFORE_SEEN
    off = 0.0
    expected_w = CURVES["short"].power_at_cap(250.0)
    for _ in range(3600):
        off = 0.98 * off + np.sqrt(1 - 0.98**2) * float(rng.standard_normal())
        readings = {"short": reading(expected_w * (1 + 0.04 * off)), "long": reading(380.0)}
        gains.observe(readings, {"short": 250.0}, uncapped=False)
    seen = gains.scales({"short": reading(300.0), "long": reading(380.0)})
    assert seen["short"].sd == pytest.approx(0.04, rel=0.4)
    assert seen["long"].sd < 0.01


def test_a_checkpoint_before_an_event_does_not_hide_what_a_class_asks_for(gains: LearnedGains) -> None:
    for second in range(1500):
        gains.observe({"long": reading(370.0 if second < 1440 else 116.0)}, {}, uncapped=True)
    scale = gains.scales({"long": reading(116.0)})["long"]
    assert scale.demand.mean_under(400.0) == pytest.approx(370.0, rel=0.1)
    assert scale.cost_gain == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("period_s", [2, 3, 5, 7, 10])
def test_a_square_wave_of_any_period_is_seen_in_both_its_phases(gains: LearnedGains, period_s: int) -> None:
    for second in range(1500):
        gains.observe({"long": reading(370.0 if second % period_s else 116.0)}, {}, uncapped=True)
    seen_w = gains.scales({"long": reading(370.0)})["long"].demand.samples_w
    assert float((seen_w < 200.0).mean()) == pytest.approx(1.0 / period_s, abs=0.07)


def capped_gain_after(gains: LearnedGains, power_w: float, seconds: int) -> float:
    readings = {"long": reading(power_w)}
    for _ in range(seconds):
        gains.observe(readings, {"long": 300.0}, uncapped=False)
    return gains.scales(readings)["long"].gain


def test_a_class_back_from_a_checkpoint_is_believed_in_its_first_second(gains: LearnedGains) -> None:
    working = capped_gain_after(gains, 296.0, 200)
    assert capped_gain_after(gains, 116.0, 60) < 0.5 * working
    assert capped_gain_after(gains, 296.0, 1) == pytest.approx(working, rel=0.02)


def test_one_second_of_a_square_wave_hardly_moves_what_a_class_is_believed_to_draw(gains: LearnedGains) -> None:
    working = capped_gain_after(gains, 296.0, 200)
    assert capped_gain_after(gains, 1.3 * 296.0, 1) == pytest.approx(working, rel=0.02)
    assert capped_gain_after(gains, 0.5 * 296.0, 1) == pytest.approx(working, rel=0.03)
