"""Policies planned once, before the event, from the sweep's curves: the field test's ``fair`` and one uniform cap.

``fair`` ("DVFS fair", arXiv 2507.00909): every job gives the same fraction of its headroom above the power of its
floor, which is the lowest throughput inside the event that keeps the job's mean over the whole run within its tier.
Caps are set at the steps of the target and never corrected; the margin below the target is what a run needs. The
margin is found on the run's own noise, which no planner knows: it is the least there is, in the policy's favour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.phoenix.ensemble import Ensemble, Event, Floats
from tests.benchmarks.phoenix.plant import STEPS_PER_S, Plant

_FIRST_MARGIN, _MOST_MARGIN = 0.04, 0.64
_TOLERANCE = 2e-4
_ROUNDS = 12
_BISECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One policy's minutes. Shapes (minutes,) and (minutes, jobs)."""

    power_kw: Floats
    rate: Floats
    """Throughput of each job against uncapped."""


def uncapped(plant: Plant, minutes: int) -> Floats:
    """GPU power of the first minutes without a cap. Unit: kW; shape (minutes,)."""
    plant.reset()
    steps = 60 * STEPS_PER_S
    return np.array([plant.advance(steps, plant.max_cap_w).job_kw.sum(axis=1).mean() for _ in range(minutes)])


class FairPlan:
    """Caps of ``fair`` at a share of planned full power."""

    def __init__(self, ensemble: Ensemble, event: Event) -> None:
        self._ensemble = ensemble
        stretch = event.minutes / int(event.reduced.sum())
        self._floor_w = np.array(
            [
                np.interp(1.0 - (1.0 - job.tier.floor) * stretch, sweep.throughput, sweep.power_w)
                for job, sweep in zip(ensemble.jobs, ensemble.sweeps, strict=True)
            ]
        )

    def caps_w(self, share: float) -> Floats:
        full_w, gpus = self._ensemble.full_w, self._ensemble.gpus
        headroom_w = full_w - self._floor_w
        given = (1.0 - share) * (gpus @ full_w) / max(1e-9, float(gpus @ headroom_w))
        power_w = full_w - min(1.0, max(0.0, given)) * headroom_w
        return np.array([np.interp(p, s.power_w, s.cap_w) for p, s in zip(power_w, self._ensemble.sweeps, strict=True)])


class UniformPlan:
    """One cap for every GPU, inside what its job's sweep covers."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble

    def caps_w(self, share: float) -> Floats:
        sweeps, gpus = self._ensemble.sweeps, self._ensemble.gpus
        wanted_w = share * float(gpus @ self._ensemble.full_w)
        low_w, high_w = min(s.cap_w[0] for s in sweeps), max(s.cap_w[-1] for s in sweeps)
        for _ in range(_BISECTIONS):
            cap_w = (low_w + high_w) / 2.0
            power_w = np.array([np.interp(cap_w, s.cap_w, s.power_w) for s in sweeps])
            low_w, high_w = (cap_w, high_w) if float(gpus @ power_w) < wanted_w else (low_w, cap_w)
        return np.array([np.clip(low_w, s.cap_w[0], s.cap_w[-1]) for s in sweeps])


Plan = FairPlan | UniformPlan


def planned(plant: Plant, event: Event, plan: Plan, margin: float) -> Run:
    """The run under a plan that aims ``margin`` (a share of full power) below the target."""
    plant.reset()
    power_kw, rates = [], []
    for target in event.target.tolist():
        caps_w = plan.caps_w(target - margin) if target < 1.0 else plant.max_cap_w
        output = plant.advance(60 * STEPS_PER_S, caps_w)
        power_kw.append(output.job_kw.sum(axis=1).mean())
        rates.append(output.rate.mean(axis=0))
    return Run(power_kw=np.array(power_kw), rate=np.array(rates))


def never_over(plant: Plant, event: Event, plan: Plan, baseline_kw: float) -> Run:
    """Under the least margin with which no minute of the hold exceeds its target."""

    def over(run: Run) -> float:
        return float((run.power_kw / baseline_kw - event.target)[event.hold].max()) + _TOLERANCE / 2

    return _solve(lambda margin: planned(plant, event, plan, margin), over)


def delivering(plant: Plant, event: Event, plan: Plan, hold_kw: float, baseline_kw: float) -> Run:
    """Under the margin with which the hold's mean power is ``hold_kw``."""
    return _solve(
        lambda margin: planned(plant, event, plan, margin),
        lambda run: (float(run.power_kw[event.hold].mean()) - hold_kw) / baseline_kw,
    )


def _solve(run_with: Callable[[float], Run], excess: Callable[[Run], float]) -> Run:
    """The run whose excess, which falls as the margin grows, is nearly 0: the Illinois rule between two margins.

    Where the excess jumps past 0, the one just below it.
    """
    low, high = -_FIRST_MARGIN, _FIRST_MARGIN
    run = run_with(low)
    while (low_excess := excess(run)) < 0 and low > -_MOST_MARGIN:
        low *= 2
        run = run_with(low)
    run = run_with(high)
    while (high_excess := excess(run)) > 0 and high < _MOST_MARGIN:
        high *= 2
        run = run_with(high)
    if low_excess < 0 or high_excess > 0:
        return run_with(low) if low_excess < 0 else run
    safe = run
    for _ in range(_ROUNDS):
        margin = (low * high_excess - high * low_excess) / (high_excess - low_excess)
        run = run_with(margin)
        found = excess(run)
        if abs(found) < _TOLERANCE / 2:
            break
        if found > 0:
            run = safe
            low, low_excess, high_excess = margin, found, high_excess / 2
        else:
            safe = run
            high, high_excess, low_excess = margin, found, low_excess / 2
    return run
