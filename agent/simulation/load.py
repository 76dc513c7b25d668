"""What the GPUs draw, in steps of a tenth of a second, with and without limits, on the same noise.

Each job's demand is its true P0 times the level of its work (agent.simulation.shapes) times its AR(1) noise; a GPU
draws the lowest of that demand, what the job's true power curve allows under the cap in force and what its locked
clock allows, and never more than the cap. Caps and clocks act with a first-order lag. No random number depends on a
limit, so the uncapped power is an exact counterfactual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.simulation import clocks, shapes
from agent.simulation.arrivals import ServingLoad
from agent.simulation.noise import job_noise_sd
from agent.simulation.scenario import Scenario, published_power_w
from agent.workloads.curves import DECODE, PUBLISHED

Floats = NDArray[np.float64]

STEP_S = 0.1
_NOISE_LIMIT = 4.0
"""Noise is cut at so many standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One step of all GPUs. Unit: W."""

    power_w: Floats
    uncapped_w: Floats
    """What they would have drawn without caps and clock locks."""
    throughput: Floats
    """Share of what they would have done without; 0 for a lost GPU."""


class Jobs:
    """Levels and noise of a site's jobs. Seeded; one call of ``advance`` a step."""

    def __init__(self, scenario: Scenario, serving: ServingLoad, p0_w: Floats) -> None:
        settings = scenario.settings.jobs
        structure = scenario.generator("jobs")
        count = len(settings)
        self._serving = serving
        self._serves = np.array([job.follows_requests for job in settings])
        self._trains = np.array([job.trains for job in settings])
        self._high_share = np.array([structure.uniform(*job.high_shares) for job in settings])
        self._low = structure.uniform(*shapes.LOW_LEVELS, count)
        self._period_s = structure.uniform(*shapes.STEP_S, count)
        self._phase = structure.random(count)
        self._checkpoints = scenario.generator("checkpoints")
        self._checkpoint_at = self._checkpoints.uniform(0.0, shapes.CHECKPOINT_EVERY_S[1], count)
        self._checkpoint_until = np.full(count, -math.inf)
        self._noise_rng = scenario.generator("noise")
        self._sd = job_noise_sd(scenario, p0_w)
        self._phi = shapes.NOISE_PHI_1S**STEP_S
        self._noise = self._noise_rng.standard_normal(count)

    def advance(self, elapsed_s: float) -> tuple[Floats, Floats]:
        """Level (share of P0) and noise factor of each job at a time since the start."""
        self._phase = (self._phase + STEP_S / self._period_s) % 1.0
        computing = self._phase < self._high_share
        level = np.where(computing, shapes.HIGH_LEVEL, self._low)
        self._start_checkpoints(elapsed_s)
        level[elapsed_s < self._checkpoint_until] = shapes.CHECKPOINT_LEVEL
        level[~self._trains] = shapes.BATCH_LEVEL
        load = min(1.0, shapes.SERVING_LOAD * self._serving.at(elapsed_s))
        level[self._serves] = shapes.serving_level(load)
        shocks = self._noise_rng.standard_normal(len(level))
        self._noise = self._phi * self._noise + math.sqrt(1.0 - self._phi**2) * shocks
        return level, 1.0 + self._sd * np.clip(self._noise, -_NOISE_LIMIT, _NOISE_LIMIT)

    def _start_checkpoints(self, elapsed_s: float) -> None:
        for job in np.flatnonzero(elapsed_s >= self._checkpoint_at):
            self._checkpoint_until[job] = elapsed_s + self._checkpoints.uniform(*shapes.CHECKPOINT_LASTS_S)
            self._checkpoint_at[job] = self._checkpoint_until[job] + self._checkpoints.uniform(
                *shapes.CHECKPOINT_EVERY_S
            )


class GpuLoad:
    """Power of every GPU under the limits in force."""

    def __init__(self, scenario: Scenario, serving: ServingLoad) -> None:
        model, truth = scenario.gpu_model, scenario.generator("truth")
        self._job = scenario.job_of_gpu
        self._max_w, self._idle_w, self._max_mhz = model.max_limit_w, model.idle_w, float(model.max_clock_mhz)
        self._limits_w, self._p0_w = _true_curves(scenario, truth)
        self._done_at_cap = _throughput_at_cap(scenario)
        self._memory_bound = np.array([clocks.memory_bound(job.workload) for job in scenario.settings.jobs])
        self._jobs = Jobs(scenario, serving, self._p0_w)
        count = len(self._job)
        self._spread = 1.0 + shapes.GPU_SPREAD_SD * np.clip(truth.standard_normal(count), -3, 3)
        lag_s = truth.uniform(*shapes.CAP_LAG_S, len(self._p0_w))[self._job]
        self._follow = 1.0 - np.exp(-STEP_S / lag_s)
        self._cap_w = np.full(count, self._max_w)
        self._mhz = np.full(count, self._max_mhz)
        per_second = scenario.settings.gpus_lost_per_hour / 3600.0
        self._lost_at_s = truth.exponential(1.0, count) / per_second if per_second else np.full(count, math.inf)
        self._elapsed_s = 0.0
        self.level = np.zeros(count)
        """Level of the work on each GPU at the last step, as a share of P0."""

    @property
    def lost(self) -> NDArray[np.bool_]:
        """GPUs that have failed by now; they draw idle power."""
        return self._elapsed_s >= self._lost_at_s

    def step(self, enforced_w: Floats, lock_mhz: Floats) -> Draw:
        """Go on by STEP_S under these limits; ``lock_mhz`` is the highest clock allowed, 0 for no lock."""
        self._elapsed_s += STEP_S
        level, noise = self._jobs.advance(self._elapsed_s)
        self._cap_w += self._follow * (enforced_w - self._cap_w)
        self._mhz += self._follow * (np.where(lock_mhz > 0, lock_mhz, self._max_mhz) - self._mhz)
        self.level = level[self._job]
        demand_w = self.level * self._p0_w[self._job]
        cap_column, clock_share = np.rint(self._cap_w).astype(np.intp), np.minimum(1.0, self._mhz / self._max_mhz)
        clocked_w = clocks.power_w(self._idle_w, self._p0_w[self._job], clock_share)
        allowed_w = np.minimum(self._limits_w[self._job, cap_column], clocked_w)
        done = np.minimum(
            self._done_at_cap[self._job, cap_column], clocks.throughput(self._memory_bound[self._job], clock_share)
        )
        factor = self._spread * noise[self._job]
        lost = self.lost
        return Draw(
            power_w=self._bounded(factor * np.minimum(demand_w, allowed_w), self._cap_w, lost),
            uncapped_w=self._bounded(factor * demand_w, self._max_w, lost),
            throughput=np.where(lost, 0.0, done),
        )

    def _bounded(self, power_w: Floats, cap_w: Floats | float, lost: NDArray[np.bool_]) -> Floats:
        power_w = np.maximum(np.minimum(power_w, cap_w), self._idle_w)
        power_w[lost] = self._idle_w
        return power_w


def _true_curves(scenario: Scenario, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Power allowed by job and cap (one column a watt), and each job's P0: the published curves, bent by job."""
    model = scenario.gpu_model
    caps_w = np.arange(round(model.max_limit_w) + 1, dtype=np.float64)
    position = np.clip((caps_w - model.min_limit_w) / (model.max_limit_w - model.min_limit_w), 0.0, 1.0)
    limits_w = np.empty((len(scenario.settings.jobs), len(caps_w)))
    p0_w = np.empty(len(limits_w))
    for index, job in enumerate(scenario.settings.jobs):
        gain = 1.0 + shapes.GAIN_SD * float(np.clip(rng.standard_normal(), -2.5, 2.5))
        bend = gain * (1.0 + shapes.TILT_SD * float(np.clip(rng.standard_normal(), -2.5, 2.5)) * (1.0 - 2 * position))
        p0_w[index] = min(model.max_limit_w, published_power_w(job) * float(bend[-1]))
        if job.workload == DECODE:
            limits_w[index] = caps_w
        else:
            published = np.array([PUBLISHED[job.workload].power_at_cap(cap) for cap in caps_w.tolist()])
            limits_w[index] = np.minimum(caps_w, published * bend)
    return limits_w, p0_w


def _throughput_at_cap(scenario: Scenario) -> Floats:
    """Share of uncapped throughput by job and cap (one column a watt), as published; no cap binds decode."""
    caps_w = np.arange(round(scenario.gpu_model.max_limit_w) + 1, dtype=np.float64)
    done = np.ones((len(scenario.settings.jobs), len(caps_w)))
    for index, job in enumerate(scenario.settings.jobs):
        if job.workload != DECODE:
            curve = PUBLISHED[job.workload]
            done[index] = [curve.throughput(curve.power_at_cap(cap)) for cap in caps_w.tolist()]
    return done
