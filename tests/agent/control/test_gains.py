"""What a class is believed to draw, as its work comes and goes."""

from __future__ import annotations

import pytest

from agent.control.allocate import CapClass
from agent.control.gains import LearnedGains
from agent.control.readings import ClassReading
from agent.workloads.jobs import FlexTier, Job

GPUS = 100
JOB = Job(job_id="pretraining", workload="pt_mpt_7b_fast", tier=FlexTier.FLEX_3, gpu_uuids=("GPU-0",))
CAP_W = 300.0


def gain_after(gains: LearnedGains, kw: float, seconds: int) -> float:
    """Capped, and drawing ``kw`` for so long."""
    readings = {JOB.job_id: ClassReading(power_kw=kw, instant_kw=kw, gpu_count=GPUS, prior_w=400.0)}
    for _ in range(seconds):
        gains.observe(readings, {JOB.job_id: CAP_W}, uncapped=False)
    return gains.scales(readings)[JOB.job_id].gain


@pytest.fixture
def gains() -> LearnedGains:
    cap_class = CapClass.of(JOB)
    assert cap_class is not None
    return LearnedGains((cap_class,), time_s=20.0)


def test_a_class_back_from_a_checkpoint_is_believed_in_its_first_second(gains: LearnedGains) -> None:
    working = gain_after(gains, 29.6, 200)
    assert gain_after(gains, 11.6, 60) < 0.5 * working
    assert gain_after(gains, 29.6, 1) == pytest.approx(working, rel=0.02)


def test_one_second_of_a_square_wave_hardly_moves_what_a_class_is_believed_to_draw(gains: LearnedGains) -> None:
    working = gain_after(gains, 29.6, 200)
    assert gain_after(gains, 1.3 * 29.6, 1) == pytest.approx(working, rel=0.02)
    assert gain_after(gains, 0.5 * 29.6, 1) == pytest.approx(working, rel=0.03)
