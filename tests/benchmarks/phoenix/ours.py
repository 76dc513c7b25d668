"""``ours``: the agent's own control loop (agent.control.loop) in closed loop with the plant, at the GPU boundary.

The loop sees what an agent sees: once a second the mean of the last whole second, summed at the meter and by job,
and the published curves; its caps reach the GPUs a little later. There is no battery and nothing but GPUs behind
the meter. Prices make each job's weight its tier's floor, as the field test weighs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby

import numpy as np

from agent.control.loop import ControlLoop
from agent.control.readings import ClassReading, MeterReading, Readings
from agent.control.tuning import Tuning
from agent.workloads.jobs import Job
from grid.intervals import Interval
from grid.messages import BudgetInterval, SiteBudget
from tests.benchmarks.phoenix.ensemble import Ensemble, Event, Floats
from tests.benchmarks.phoenix.plant import STEPS_PER_S, Plant
from tests.benchmarks.phoenix.policies import Run

_START = datetime(2025, 5, 4, 21, 40, tzinfo=UTC)
_SITE = "phoenix"
_ACT_AFTER_STEPS = 3
"""From the end of a metered second until the caps that follow from it are in force."""
_METER_NOISE_SD = 2e-4
_STEADY_METER_NOISE_SD = 1e-6
"""No meter reads the same twice, and the loop takes one that does for frozen."""


def ours(plant: Plant, event: Event, baseline_kw: float, *, noisy: bool) -> Run:
    """The whole run, uncapped but for what the loop does."""
    loop = control_loop(plant.ensemble)
    budget = budget_for(event, baseline_kw)
    noise = _METER_NOISE_SD if noisy else _STEADY_METER_NOISE_SD
    meter_noise = 1.0 + noise * plant.generator("meter").standard_normal(plant.seconds)
    plant.reset()
    caps_w, last_kw = plant.max_cap_w, np.zeros(len(plant.max_cap_w))
    second_kw = np.empty((plant.seconds, len(caps_w)))
    second_rate = np.empty_like(second_kw)
    for second in range(plant.seconds):
        before = plant.advance(_ACT_AFTER_STEPS, caps_w)
        if second:
            now = _START + timedelta(seconds=second)
            readings = _readings(plant, second, second_kw[second - 1], last_kw, float(meter_noise[second]))
            actions = loop.step(readings, budget, now, link_lost=False)
            caps_w = _caps(plant, actions.caps_w)
        after = plant.advance(STEPS_PER_S - _ACT_AFTER_STEPS, caps_w)
        second_kw[second] = (before.job_kw.sum(axis=0) + after.job_kw.sum(axis=0)) / STEPS_PER_S
        second_rate[second] = (before.rate.sum(axis=0) + after.rate.sum(axis=0)) / STEPS_PER_S
        last_kw = after.job_kw[-1]
    by_minute = (event.minutes, 60, len(caps_w))
    return Run(
        power_kw=second_kw.sum(axis=1).reshape(event.minutes, 60).mean(axis=1),
        rate=second_rate.reshape(by_minute).mean(axis=1),
    )


def control_loop(ensemble: Ensemble) -> ControlLoop:
    """An agent that knows the sweep's curves and nothing of the plant."""
    curves = {job.workload: sweep.curve() for job, sweep in zip(ensemble.jobs, ensemble.sweeps, strict=True)}
    jobs = [
        Job(
            job_id=job.name,
            workload=job.workload,
            tier=job.tier,
            price_usd_per_gpu_hour=job.weight / job.gpus,
            gpu_uuids=tuple(f"{job.name}-{gpu}" for gpu in range(job.gpus)),
        )
        for job in ensemble.jobs
    ]
    return ControlLoop(site_id=_SITE, jobs=jobs, tuning=Tuning(meter_gain=1.0), curves=curves)


def budget_for(event: Event, baseline_kw: float) -> SiteBudget:
    """The event's targets as ceilings: minutes in a row with one target are one interval."""
    intervals = tuple(_intervals(event, baseline_kw))
    return SiteBudget(site_id=_SITE, revision=1, issued_at=_START, intervals=intervals, not_after=intervals[-1].end)


def _intervals(event: Event, baseline_kw: float) -> Iterator[BudgetInterval]:
    for target, group in groupby(enumerate(event.target.tolist()), key=lambda minute: minute[1]):
        minutes = [minute for minute, _ in group]
        if target < 1.0:
            start, end = (_START + timedelta(minutes=minute) for minute in (minutes[0], minutes[-1] + 1))
            yield BudgetInterval(start=start, end=end, limit_kw=target * baseline_kw)


def _readings(plant: Plant, second: int, job_kw: Floats, instant_kw: Floats, meter_noise: float) -> Readings:
    left = plant.gpus_left(second)
    covers = Interval.lasting(_START + timedelta(seconds=second - 1), 1.0)
    return Readings(
        meter=MeterReading(site_kw=float(job_kw.sum()) * meter_noise, covers=covers),
        battery=None,
        classes={
            job.name: ClassReading(power_kw=power, instant_kw=instant, gpu_count=int(gpus), prior_w=prior)
            for job, power, instant, gpus, prior in zip(
                plant.ensemble.jobs,
                job_kw.tolist(),
                instant_kw.tolist(),
                left.tolist(),
                plant.max_cap_w.tolist(),
                strict=True,
            )
        },
    )


def _caps(plant: Plant, caps_w: Mapping[str, float] | None) -> Floats:
    if caps_w is None:
        return plant.max_cap_w
    return np.array([caps_w[job.name] for job in plant.ensemble.jobs])
