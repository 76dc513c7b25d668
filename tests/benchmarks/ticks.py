"""A site of many jobs that answers its control loop, as cheap as can be: what is timed is the loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from agent.control.loop import ControlLoop
from agent.control.readings import BatteryReading, ClassReading, MeterReading, Mode, Readings
from agent.control.tuning import Tuning
from agent.workloads.curves import PUBLISHED
from agent.workloads.jobs import FlexTier, Job
from grid.intervals import Interval
from grid.messages import BudgetInterval, SiteBudget
from grid.units import W_PER_KW

START = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)
IDLE_S, RAMP_S, HOLD_S, RELEASE_S, AFTER_S = 75, 15, 30, 15, 15
REST_SHARE = 0.3
"""What is not GPUs, as a share of their uncapped power."""
WORKLOADS = sorted(PUBLISHED)
TIERS = (FlexTier.FLEX_1, FlexTier.FLEX_2, FlexTier.FLEX_3)


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """Seconds of each ``step``, by what the loop was doing."""

    idle_s: list[float]
    event_s: list[float]
    event_cpu_s: list[float]
    capability_s: float
    """What the message about the site's capability takes, every 10 s."""
    first_s: float
    """The first tick of the event, which cuts every curve by the demand just seen."""
    held: float
    """What the GPUs drew at the end of the hold over what they were to draw."""


class BusySite:
    """Jobs at their curve's power times slow noise, capped at once."""

    def __init__(self, *, gpus: int, jobs: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self._rng = rng
        self.jobs = [
            Job(
                job_id=f"job-{i:05d}",
                workload=WORKLOADS[i % len(WORKLOADS)],
                tier=TIERS[int(rng.integers(len(TIERS)))],
                price_usd_per_gpu_hour=float(rng.uniform(1.0, 4.0)),
                gpu_uuids=tuple(f"GPU-{i}-{k}" for k in range(gpus // jobs)),
            )
            for i in range(jobs)
        ]
        self._count = gpus // jobs
        self._full_w = np.array([PUBLISHED[job.workload].max_power_w for job in self.jobs])
        self._gain = 1 + 0.05 * rng.standard_normal(jobs)
        self._caps_w = np.full(jobs, np.inf)
        self.full_kw = float(self._full_w.sum()) * self._count / W_PER_KW
        self.gpu_kw = 0.0

    def read(self, second: int) -> Readings:
        noise = 1 + 0.02 * self._rng.standard_normal(len(self.jobs))
        power_kw = np.minimum(self._full_w * self._gain * noise, self._caps_w) * self._count / W_PER_KW
        self.gpu_kw = float(power_kw.sum())
        covers = Interval.lasting(START + timedelta(seconds=second - 1), 1.0)
        return Readings(
            meter=MeterReading(site_kw=self.gpu_kw + REST_SHARE * self.full_kw, covers=covers),
            battery=BatteryReading(
                power_kw=0.0, soc_pct=50.0, energy_kwh=self.full_kw / 40, max_discharge_kw=0.0, max_charge_kw=0.0
            ),
            classes={
                job.job_id: ClassReading(power_kw=kw, instant_kw=kw, gpu_count=self._count, prior_w=400.0)
                for job, kw in zip(self.jobs, power_kw.tolist(), strict=True)
            },
        )

    def act(self, caps_w: Mapping[str, float] | None) -> None:
        if caps_w is None:
            self._caps_w[:] = np.inf
        else:
            self._caps_w = np.array([caps_w[job.job_id] for job in self.jobs])


def run(site: BusySite, *, share: float = 0.2) -> Ticks:
    """An event of ``share`` of the meter, tick by tick."""
    loop = ControlLoop(site_id="site-1", jobs=site.jobs, tuning=Tuning())
    full_kw = site.full_kw * (1 + REST_SHARE)
    at = START + timedelta(seconds=IDLE_S)
    hold, end = at + timedelta(seconds=RAMP_S), at + timedelta(seconds=RAMP_S + HOLD_S)
    limit_kw = full_kw * (1 - share)
    budget = SiteBudget(
        site_id="site-1",
        revision=1,
        issued_at=START,
        intervals=(
            BudgetInterval(start=at, end=hold, limit_kw=limit_kw, ramp_from_kw=full_kw),
            BudgetInterval(start=hold, end=end, limit_kw=limit_kw),
        ),
        not_after=end,
        release_ramp_s=RELEASE_S,
    )
    took: dict[bool, list[float]] = {True: [], False: []}
    event_cpu_s: list[float] = []
    held = capability_s = 0.0
    for second in range(IDLE_S + RAMP_S + HOLD_S + RELEASE_S + AFTER_S):
        readings = site.read(second)
        now = START + timedelta(seconds=second + 0.3)
        start, cpu = time.perf_counter(), time.thread_time()
        actions = loop.step(readings, budget, now, link_lost=False)
        took[actions.mode is Mode.IDLE].append(time.perf_counter() - start)
        if actions.mode is not Mode.IDLE:
            event_cpu_s.append(time.thread_time() - cpu)
        site.act(actions.caps_w)
        if second == IDLE_S + RAMP_S + HOLD_S - 1:
            start = time.perf_counter()
            loop.capability(now)
            capability_s = time.perf_counter() - start
            held = site.gpu_kw / (limit_kw - REST_SHARE * site.full_kw)
    return Ticks(
        idle_s=took[True],
        event_s=took[False][1:],
        event_cpu_s=event_cpu_s[1:],
        capability_s=capability_s,
        first_s=took[False][0],
        held=held,
    )
