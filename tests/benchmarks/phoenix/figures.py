"""From minutes of power and throughput to the benchmark's figures, and from seeds to the worst of each.

Shares are of the baseline, in per cent. Tracking is judged over the hold, the minutes at a constant target below 1;
throughput inside the event is over the same minutes. ``delivered_pct`` is the change of mean power, so a reduction
is negative; ``over_delivery_pct`` compares kWh, net of minutes that fell short. A tier's throughput is that of its
worst job, since each job is owed its own allowance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tests.benchmarks.phoenix.ensemble import Ensemble, Event, Floats
from tests.benchmarks.phoenix.policies import Run

Tiers = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """How power kept to the target."""

    baseline_kw: float
    delivered_pct: float
    over_delivery_pct: float
    rmse_pct: float
    mean_deviation_pct: float
    """Mean of the absolute deviation."""
    max_over_target_pct: float
    ramp_over_pct: float
    """Highest excess in a minute whose target is its own, as on a ramp."""
    minutes_over_target: int
    lowest_kw: float
    rebound_pct: float | None
    """Highest minute after the event above the baseline; None when the run ends with the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What it cost. Throughput against the same work uncapped."""

    weighted_performance: float
    tier_performance: Tiers
    tier_performance_run: Tiers
    """Over the whole run, which is what the field test's allowances are means over."""
    allowances_kept: bool


_WORST_IS_LEAST = {"lowest_kw", "weighted_performance", "allowances_kept", "baseline_kw"}

Figures = dict[str, float | bool | Tiers | None]


def tracking(power_kw: Floats, event: Event, baseline_kw: float) -> Tracking:
    """``power_kw`` by minute, as long as the event."""
    target_kw = event.target * baseline_kw
    hold, over = event.hold, (power_kw - target_kw) / baseline_kw
    committed_kw = (baseline_kw - target_kw[hold]).sum()
    delivered_kw = (baseline_kw - power_kw[hold]).sum()
    return Tracking(
        baseline_kw=baseline_kw,
        delivered_pct=100.0 * float(power_kw[hold].mean() / baseline_kw - 1.0),
        over_delivery_pct=100.0 * float(delivered_kw / committed_kw - 1.0),
        rmse_pct=100.0 * float(np.sqrt((over[hold] ** 2).mean())),
        mean_deviation_pct=100.0 * float(np.abs(over[hold]).mean()),
        max_over_target_pct=100.0 * float(over[hold].max(initial=0.0)),
        ramp_over_pct=100.0 * float(over[event.ramp].max(initial=0.0)),
        minutes_over_target=int((over[hold] > 0.0).sum()),
        lowest_kw=float(power_kw[event.reduced].min()),
        rebound_pct=100.0 * max(0.0, float(power_kw[event.after].max() / baseline_kw - 1.0))
        if event.after.any()
        else None,
    )


def performance(rate: Floats, event: Event, ensemble: Ensemble) -> Performance:
    """``rate`` by minute and job."""
    inside, run = rate[event.hold].mean(axis=0), rate.mean(axis=0)
    floors = np.array([job.tier.floor for job in ensemble.jobs])
    return Performance(
        weighted_performance=float(inside @ ensemble.weights / ensemble.weights.sum()),
        tier_performance=_by_tier(inside, ensemble),
        tier_performance_run=_by_tier(run, ensemble),
        allowances_kept=bool((run >= floors).all()),
    )


def _by_tier(rate: Floats, ensemble: Ensemble) -> Tiers:
    tiers = sorted({job.tier for job in ensemble.jobs})
    return {
        f"Flex {tier.value}": min(float(r) for r, job in zip(rate, ensemble.jobs, strict=True) if job.tier is tier)
        for tier in tiers
    }


def figures(run: Run, event: Event, ensemble: Ensemble, baseline_kw: float) -> Figures:
    """One policy's, in one run."""
    return asdict(tracking(run.power_kw, event, baseline_kw)) | asdict(performance(run.rate, event, ensemble))


# --- over seeds -------------------------------------------------------------------------------------------------


def worst(runs: Sequence[Figures]) -> Figures:
    """Each figure of the seed that is worst in it."""
    return {name: _worst(name, [run[name] for run in runs]) for name in runs[0]}


def mean(runs: Sequence[Figures]) -> Figures:
    """The mean of each figure that is a number; of one that is true or false, the share of runs where it is true."""
    return {
        name: float(np.mean([run[name] for run in runs]))
        for name, value in runs[0].items()
        if isinstance(value, int | float)
    }


def _worst(name: str, values: Sequence[float | bool | Tiers | None]) -> float | bool | Tiers | None:
    first = values[0]
    if isinstance(first, Mapping):
        return {tier: min(value[tier] for value in values if isinstance(value, Mapping)) for tier in first}
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return None
    return min(numbers) if name in _WORST_IS_LEAST else max(numbers)
