"""Curves learned on line: their shape, where they end, and that nobody is harmed on the way there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.workloads.curves import PUBLISHED
from agent.workloads.learning import SAMPLE_S, CurveLearner, Evidence, LearnedCurve, Sample
from agent.workloads.priors import GRID, Floats, Prior, prior

MAX_W = 400.0
A100 = "NVIDIA A100-SXM4-40GB"
NOISE_SD, NOISE_PHI = 0.02, 0.82
"""Of ten-second means; the design's AR(1) with 0.98 at 1 s has 0.82 at 10 s."""
UNKNOWN = "nobody-has-published-it"
seeds = st.integers(0, 2**32 - 1)
workloads = st.sampled_from(sorted(PUBLISHED))
floors = st.sampled_from((0.9, 0.75, 0.5))


@dataclass(frozen=True, kw_only=True)
class Job:
    """The truth: a published curve off by what jobs differ, and slow noise."""

    throughput: Floats
    power: Floats
    rate: float
    noise: Floats

    @classmethod
    def of(cls, workload: str, seed: int, samples: int) -> Job:
        rng = np.random.default_rng(seed)
        expected = prior(workload, A100, MAX_W)
        off, bend, gain, start = np.clip(rng.standard_normal(4), -2, 2)
        noise = [float(start)]
        for shock in rng.standard_normal(samples):
            noise.append(NOISE_PHI * noise[-1] + float(np.sqrt(1 - NOISE_PHI**2) * shock))
        lost = (1 - expected.throughput) * (1 + 0.15 * off + 0.05 * bend * (1 - GRID))
        return cls(
            throughput=1 - lost * min(1.0, 0.95 / lost[0]),
            power=expected.power * (1 + 0.05 * min(0.4, gain)),
            rate=float(rng.uniform(0.01, 1e4)),
            noise=1 + NOISE_SD * np.array(noise),
        )

    def at(self, cap: float) -> float:
        return float(np.interp(cap, GRID, self.throughput))

    def sample(self, index: int, cap: float) -> Sample:
        noise = float(self.noise[index])
        return Sample(
            cap_w=cap * MAX_W,
            power_w=float(np.interp(cap, GRID, self.power)) * MAX_W * noise**0.5,
            rate=self.rate * self.at(cap) * noise,
            seconds=SAMPLE_S,
        )

    def lowest_cap(self, floor: float) -> float:
        return float(np.interp(floor, self.throughput, GRID))


def lowest_cap(learned: LearnedCurve, floor: float) -> float:
    return learned.curve.cap_at_power(learned.least_w(floor)) / MAX_W


def shape_holds(learned: LearnedCurve) -> None:
    power, theta = learned.curve.power_w, learned.curve.throughput
    values = np.array([theta(w) for w in power])
    slopes = np.diff(values) / np.diff(power)
    assert values[-1] == pytest.approx(1.0)
    assert np.all(np.diff(power) > 0)
    assert np.all(slopes >= -1e-9)
    assert np.all(np.diff(slopes) <= 1e-9)
    assert np.all(learned.least_throughput <= values + 1e-9)
    assert np.all(np.diff(learned.least_throughput) >= 0)


@settings(max_examples=100, deadline=None)
@given(
    workload=st.sampled_from((*sorted(PUBLISHED), UNKNOWN)),
    samples=st.lists(
        st.tuples(st.floats(0.2, 1.1), st.floats(1.0, 500.0), st.floats(1e-3, 1e3), st.floats(0.0, 60.0)), max_size=30
    ),
)
def test_whatever_is_seen_the_curve_rises_and_is_concave(
    workload: str, samples: list[tuple[float, float, float, float]]
) -> None:
    evidence = Evidence.none(prior(workload, A100, MAX_W))
    for cap, power_w, rate, seconds in samples:
        evidence = evidence.seen(Sample(cap_w=cap * MAX_W, power_w=power_w, rate=rate, seconds=seconds))
    shape_holds(evidence.learned())


@settings(max_examples=30, deadline=None)
@given(workload=workloads, known=st.booleans(), seed=seeds)
def test_it_converges_to_the_truth(workload: str, known: bool, seed: int) -> None:
    """Two hours at caps all over the range."""
    job, caps = Job.of(workload, seed, 720), np.random.default_rng(seed).choice(GRID, 720)
    evidence = Evidence.none(prior(workload if known else UNKNOWN, A100, MAX_W))
    before = np.abs(_values(evidence.learned()) - job.throughput)
    for i, cap in enumerate(caps.tolist()):
        evidence = evidence.seen(job.sample(i, cap))
    learned = evidence.learned()
    after = np.abs(_values(learned) - job.throughput)
    assert after.max() <= 0.04
    assert known or after.mean() <= max(0.01, before.mean())
    assert learned.curve.power_w / MAX_W == pytest.approx(job.power, abs=0.02)
    # By now the bound is near, too.
    assert lowest_cap(learned, 0.75) - job.lowest_cap(0.75) <= 0.06


def _values(learned: LearnedCurve) -> Floats:
    return np.array([learned.curve.throughput(w) for w in learned.curve.power_w])


@settings(max_examples=30, deadline=None)
@given(workload=workloads, known=st.booleans(), floor=floors, seed=seeds)
def test_no_job_is_taken_below_its_floor_while_it_is_learned(
    workload: str, known: bool, floor: float, seed: int
) -> None:
    """A minute uncapped, then ten minutes at the lowest cap thought safe."""
    job = Job.of(workload, seed, 66)
    evidence = Evidence.none(prior(workload if known else UNKNOWN, A100, MAX_W))
    for i in range(66):
        cap = 1.0 if i < 6 else lowest_cap(evidence.learned(), floor)
        assert job.at(cap) >= floor - 0.01
        evidence = evidence.seen(job.sample(i, cap))


@pytest.mark.parametrize("floor", [0.9, 0.75, 0.5])
def test_a_job_never_seen_is_treated_more_carefully_and_learned_in_minutes(floor: float) -> None:
    fresh, learned = [], []
    for seed, workload in enumerate(sorted(PUBLISHED)):
        job = Job.of(workload, seed, 90)
        evidence = Evidence.none(prior(UNKNOWN, A100, MAX_W))
        known = Evidence.none(prior(workload, A100, MAX_W)).learned()
        assert lowest_cap(evidence.learned(), floor) > lowest_cap(known, floor)
        fresh.append(lowest_cap(evidence.learned(), floor) - job.lowest_cap(floor))
        for i in range(90):
            evidence = evidence.seen(job.sample(i, 1.0 if i < 60 else lowest_cap(evidence.learned(), floor)))
        learned.append(lowest_cap(evidence.learned(), floor) - job.lowest_cap(floor))
    assert np.mean(learned) <= 0.6 * np.mean(fresh)


def test_a_published_workload_on_another_gpu_is_less_sure_than_on_the_one_swept() -> None:
    swept, other = (prior("infer_llama_8b", gpu, 700.0) for gpu in (A100, "NVIDIA H100 80GB HBM3"))
    least_w = [Evidence.none(p).learned().least_w(0.75) for p in (swept, other)]
    assert least_w[0] < least_w[1]
    assert swept.max_w == 700.0


def test_caps_that_do_not_bind_leave_a_curve_that_can_be_allocated() -> None:
    """Decode: a third of the limit whatever the cap."""
    evidence = Evidence.none(prior(UNKNOWN, "NVIDIA H100 80GB HBM3", 700.0))
    for cap_w in (700.0, 600.0, 500.0, 400.0) * 60:
        evidence = evidence.seen(Sample(cap_w=cap_w, power_w=230.0, rate=50.0, seconds=SAMPLE_S))
    learned = evidence.learned()
    shape_holds(learned)
    assert learned.curve.throughput(learned.curve.power_at_cap(400.0)) == pytest.approx(1.0, abs=0.02)


def test_a_checkpoint_is_not_taken_for_a_curve() -> None:
    job = Job.of("pt_mpt_7b_fast", 1, 60)
    evidence = Evidence.none(prior("pt_mpt_7b_fast", A100, MAX_W))
    for i in range(60):
        evidence = evidence.seen(job.sample(i, 1.0))
    settled = _values(evidence.learned())
    evidence = evidence.seen(Sample(cap_w=MAX_W, power_w=120.0, rate=job.rate * 0.02, seconds=SAMPLE_S))
    assert _values(evidence.learned()) == pytest.approx(settled, abs=0.02)


def test_a_job_that_became_another_one_is_learned_anew() -> None:
    before, now = (Job.of(name, 1, 400) for name in ("infer_llama_8b", "pt_mpt_13b_lg"))
    caps = np.random.default_rng(1).choice(GRID, 400).tolist()
    evidence = Evidence.none(prior("infer_llama_8b", A100, MAX_W))
    for i, cap in enumerate(caps):
        evidence = evidence.seen(before.sample(i, cap))
    off = np.abs(_values(evidence.learned()) - now.throughput)
    for i, cap in enumerate(caps):
        evidence = evidence.seen(replace(now, rate=2.5 * before.rate).sample(i, cap))
    assert np.abs(_values(evidence.learned()) - now.throughput).mean() <= 0.6 * off.mean()


def test_a_job_in_which_nothing_is_done_teaches_nothing() -> None:
    evidence = Evidence.none(prior(UNKNOWN, A100, MAX_W))
    assert evidence.seen(Sample(cap_w=400.0, power_w=60.0, rate=0.0, seconds=10.0)) is evidence


def test_the_learner_follows_the_jobs() -> None:
    known: Prior = prior("infer_llama_8b", A100, MAX_W)
    learner = CurveLearner({})
    learner.keep({"a": known, "b": known})
    learner.observe({"a": Sample(cap_w=400.0, power_w=300.0, rate=5.0, seconds=10.0), "gone": _ANY})
    again = CurveLearner(learner.evidence)
    again.keep({"a": known, "c": known})
    assert again.evidence["a"] is learner.evidence["a"]
    assert set(again.evidence) == {"a", "c"}
    assert again.learned("a").curve.max_power_w < again.learned("c").curve.max_power_w
    with pytest.raises(KeyError):
        again.learned("b")


_ANY = Sample(cap_w=400.0, power_w=300.0, rate=5.0, seconds=10.0)
