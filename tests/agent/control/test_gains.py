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
    for _ in range(100):
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
    assert capped.cost_gain == uncapped.cost_gain == pytest.approx(1.0, abs=1e-2)


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
