"""The truth of one seed: what the ensemble's GPUs draw and get done under any caps, on the same noise.

Levels, noise, spread, losses and cap lag are the load model's (agent.simulation.shapes), in steps of a tenth of a
second; nothing random depends on a cap, so every policy meets the same seed. A job's true power curve is its sweep
bent by a gain and a tilt that no policy is told. Throughput is the sweep's at the cap in force, against what the
work asks for at that moment: a cap above the demand costs nothing.

GPUs of one job differ by their spread alone, so they are carried as a few groups of like GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.simulation import shapes
from agent.simulation.nvml.state import GpuModel
from grid.units import W_PER_KW
from tests.benchmarks.phoenix.ensemble import BenchJob, Ensemble, Floats

STEPS_PER_S = 10
STEP_S = 1.0 / STEPS_PER_S
_SITE_NOISE_SD = 0.0175
_LOST_PER_HOUR = 0.01
_NOISE_LIMIT = 4.0
_GROUPS = 8
_TABLE_PER_W = 2
"""Resolution of the curves' tables."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Output:
    """What some steps gave; shapes (steps, jobs)."""

    job_kw: Floats
    rate: Floats
    """Throughput against uncapped."""


class Plant:
    """One seed's GPUs over a run. ``noisy`` False: steady full load on exactly the sweep's curves."""

    def __init__(self, ensemble: Ensemble, *, minutes: int, seed: int, noisy: bool) -> None:
        self.ensemble = ensemble
        self.seconds = minutes * 60
        self._seed = seed
        self._idle_w = GpuModel().idle_w
        jobs = ensemble.jobs
        truth = self.generator("truth")
        self.min_cap_w = np.array([sweep.cap_w[0] for sweep in ensemble.sweeps])
        self.max_cap_w = np.array([sweep.cap_w[-1] for sweep in ensemble.sweeps])
        self._allowed_w, self._theta_at_cap, self._theta_at_power = self._tables(truth, noisy=noisy)
        self._p0_w = self._allowed_w[np.arange(len(jobs)), self._index(self.max_cap_w)]
        self._follow = np.exp(-STEP_S / truth.uniform(*shapes.CAP_LAG_S, len(jobs)))
        self._job, self._spread, self.alive = self._groups(truth, noisy=noisy)
        self.level = self._levels() if noisy else np.ones((self.seconds * STEPS_PER_S, len(jobs)))
        self._noise = self._noise_factors() if noisy else np.ones((self.seconds + 1, len(jobs)))
        self._first_group = np.flatnonzero(np.diff(self._job, prepend=-1))
        self.reset()

    def generator(self, purpose: str) -> np.random.Generator:
        """The random numbers for one purpose, whatever else is drawn."""
        return np.random.default_rng([self._seed, *f"phoenix/{purpose}".encode()])

    def reset(self) -> None:
        """Back to the start, uncapped."""
        self._cap_w = self.max_cap_w.copy()
        self._step = 0

    def advance(self, steps: int, cap_w: Floats) -> Output:
        """Go on under these caps, shape (jobs,); all steps must lie in one second or start on a whole one."""
        steps = min(steps, self.seconds * STEPS_PER_S - self._step)
        now = slice(self._step, self._step + steps)
        fade = self._follow ** np.arange(1, steps + 1)[:, None]
        caps_w = cap_w + (self._cap_w - cap_w) * fade
        self._cap_w = caps_w[-1]
        self._step += steps
        row = np.arange(len(cap_w))
        at_cap = self._index(caps_w)
        allowed_w = self._allowed_w[row, at_cap]
        demand_w = self.level[now] * self._p0_w
        unit_w = np.minimum(demand_w, allowed_w) * self._noise_at(now)
        power_w = np.minimum(unit_w[:, self._job] * self._spread, caps_w[:, self._job])
        power_w = np.maximum(power_w, self._idle_w)
        alive = self.alive[np.arange(now.start, now.stop) // STEPS_PER_S]
        lost_w = (self.alive[0] - alive) * self._idle_w
        job_kw = np.add.reduceat(power_w * alive + lost_w, self._first_group, axis=1) / W_PER_KW
        asked = self._theta_at_power[row, self._index(demand_w)]
        rate = np.where(allowed_w < demand_w, np.minimum(1.0, self._theta_at_cap[row, at_cap] / asked), 1.0)
        return Output(job_kw=job_kw, rate=rate)

    def gpus_left(self, second: int) -> Floats:
        """GPUs of each job that have not failed; shape (jobs,)."""
        return np.asarray(np.add.reduceat(self.alive[second], self._first_group))

    # --- what does not change -------------------------------------------------------------------------------------

    def _index(self, watts: Floats) -> NDArray[np.intp]:
        return np.rint(watts * _TABLE_PER_W).astype(np.intp)

    def _tables(self, rng: np.random.Generator, *, noisy: bool) -> tuple[Floats, Floats, Floats]:
        """Power allowed and throughput by cap, and throughput by power; shapes (jobs, table)."""
        grid_w = np.arange(round(float(self.max_cap_w.max())) * _TABLE_PER_W + 2) / _TABLE_PER_W
        allowed, by_cap, by_power = [], [], []
        for sweep, low_w, high_w in zip(self.ensemble.sweeps, self.min_cap_w, self.max_cap_w, strict=True):
            gain = 1.0 + shapes.GAIN_SD * _deviate(rng) if noisy else 1.0
            tilt = shapes.TILT_SD * _deviate(rng) if noisy else 0.0
            position = np.clip((grid_w - low_w) / (high_w - low_w), 0.0, 1.0)
            bend = gain * (1.0 + tilt * (1.0 - 2.0 * position))
            allowed_w = np.minimum(np.minimum(grid_w, high_w), np.interp(grid_w, sweep.cap_w, sweep.power_w) * bend)
            theta = np.interp(grid_w, sweep.cap_w, sweep.throughput)
            allowed.append(allowed_w)
            by_cap.append(theta)
            by_power.append(np.interp(grid_w, np.maximum.accumulate(allowed_w), theta))
        return np.array(allowed), np.array(by_cap), np.array(by_power)

    def _groups(self, rng: np.random.Generator, *, noisy: bool) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Job and spread of each group of GPUs, and how many of it are left each second."""
        job, spread, alive = [], [], []
        for number, settings in enumerate(self.ensemble.jobs):
            ranked = np.sort(np.clip(rng.standard_normal(settings.gpus), -3.0, 3.0))
            ends = np.linspace(0, settings.gpus, min(_GROUPS, settings.gpus) + 1).round().astype(int)
            for first, end in pairwise(ends.tolist()):
                lost_at_s = np.sort(rng.exponential(3600.0 / _LOST_PER_HOUR, end - first))
                lost = np.searchsorted(lost_at_s, np.arange(self.seconds)) if noisy else np.zeros(self.seconds)
                job.append(number)
                spread.append(1.0 + shapes.GPU_SPREAD_SD * float(ranked[first:end].mean()) if noisy else 1.0)
                alive.append(end - first - lost)
        return np.array(job), np.array(spread), np.array(alive, dtype=np.float64).T

    def _levels(self) -> Floats:
        """Share of P0 each job's work asks for; shape (steps, jobs)."""
        level = np.full((self.seconds * STEPS_PER_S, len(self.ensemble.jobs)), shapes.BATCH_LEVEL)
        rng = self.generator("levels")
        at_s = np.arange(len(level)) * STEP_S
        for number, job in enumerate(self.ensemble.jobs):
            period_s, phase = rng.uniform(*shapes.STEP_S), rng.random()
            low, high_share = rng.uniform(*shapes.LOW_LEVELS), rng.uniform(*_high_shares(job))
            checkpoint_s = rng.uniform(0.0, shapes.CHECKPOINT_EVERY_S[1])
            if not _trains(job):
                continue
            computing = (phase + at_s / period_s) % 1.0 < high_share
            level[:, number] = np.where(computing, shapes.HIGH_LEVEL, low)
            while checkpoint_s < self.seconds:
                until_s = checkpoint_s + rng.uniform(*shapes.CHECKPOINT_LASTS_S)
                level[(at_s >= checkpoint_s) & (at_s < until_s), number] = shapes.CHECKPOINT_LEVEL
                checkpoint_s = until_s + rng.uniform(*shapes.CHECKPOINT_EVERY_S)
        return level

    def _noise_factors(self) -> Floats:
        """Each job's AR(1) at whole seconds, its size such that the sum has the site's; shape (seconds + 1, jobs)."""
        mean_kw = self.ensemble.gpus * self._p0_w * self.level.mean(axis=0)
        sd = _SITE_NOISE_SD * mean_kw.sum() / float(np.sqrt((mean_kw**2).sum()))
        rng = self.generator("noise")
        shocks = rng.standard_normal((self.seconds + 1, len(self.ensemble.jobs)))
        shocks[1:] *= np.sqrt(1.0 - shapes.NOISE_PHI_1S**2)
        for second in range(1, len(shocks)):
            shocks[second] += shapes.NOISE_PHI_1S * shocks[second - 1]
        return np.asarray(1.0 + sd * np.clip(shocks, -_NOISE_LIMIT, _NOISE_LIMIT))

    def _noise_at(self, steps: slice) -> Floats:
        second, tenth = np.divmod(np.arange(steps.start, steps.stop), STEPS_PER_S)
        share = (tenth / STEPS_PER_S)[:, None]
        return np.asarray(self._noise[second] * (1.0 - share) + self._noise[second + 1] * share)


def _deviate(rng: np.random.Generator) -> float:
    return float(np.clip(rng.standard_normal(), -2.5, 2.5))


def _trains(job: BenchJob) -> bool:
    """Pretraining and fine-tuning, by the data set's names; all else is batch work with a full queue."""
    return job.workload.startswith(("pt_", "ft_"))


def _high_shares(job: BenchJob) -> tuple[float, float]:
    return shapes.PRETRAINING_HIGH_SHARES if job.workload.startswith("pt_") else shapes.FINE_TUNING_HIGH_SHARES
