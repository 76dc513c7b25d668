"""Splitting what GPUs may draw over jobs so that the site loses least.

Minimise the value of lost throughput, sum of n_j price_j (1 - theta_j(p_j)), with the sum of powers at most the
budget and theta_j at least the floor of the job's tier. Curves are concave and piecewise linear, so sorting all of
their segments once by cost per W and filling from the cheapest gives the exact optimum. A bound on a GPU frees only
what its demand has above it, and costs throughput only while it bites, so a segment's width is what it frees on
average and its cost per kWh is the curve's. The cost of the last segment touched, the water level, is the site's
marginal cost of flexibility.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.control.demand import Demand
from agent.workloads.curves import PUBLISHED, PowerCurve
from agent.workloads.jobs import Job
from grid.units import W_PER_KW


@dataclass(frozen=True, slots=True, kw_only=True)
class CapClass:
    """One job as the allocation sees it."""

    class_id: str
    curve: PowerCurve
    floor: float
    """Least throughput, as a share of uncapped."""
    price_usd_per_gpu_hour: float

    @property
    def floor_w(self) -> float:
        """Power per GPU at the floor, by the curve."""
        return self.curve.power_at_throughput(self.floor)

    @classmethod
    def of(cls, job: Job) -> CapClass | None:
        """None for a job that caps do not reach: no tier to spend, or no curve (decode)."""
        curve = PUBLISHED.get(job.workload)
        if curve is None or job.tier.floor >= 1.0:
            return None
        return cls(
            class_id=job.job_id,
            curve=curve,
            floor=job.tier.floor,
            price_usd_per_gpu_hour=job.price_usd_per_gpu_hour,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many GPUs a class has now, what they ask for, and what they draw against the prediction."""

    gpu_count: int
    gain: float
    """Measured over predicted power."""
    cost_gain: float
    """The gain its costs are reckoned with: held during an event, so that classes of like cost do not swap places."""
    demand: Demand

    @property
    def kw_per_curve_w(self) -> float:
        return self.gpu_count * self.gain / W_PER_KW


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One segment of the site's cost curve."""

    class_id: str
    from_w: float
    """The bound per GPU above this step, in the curve's watts."""
    to_w: float
    kw: float
    """Reduction of GPU power this step gives."""
    usd_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A bound per GPU of each class, in its curve's watts."""

    power_w: Mapping[str, float]
    marginal_usd_per_kwh: float
    short_kw: float
    """What the floors left undone; 0 when the budget is met."""


class Allocator:
    """Fills the segments of a fixed set of classes, whose demand, gain and count may change with every call."""

    def __init__(self, classes: Sequence[CapClass]) -> None:
        self._classes = {c.class_id: c for c in classes}
        self._cut: dict[str, tuple[Demand, tuple[_Piece, ...]]] = {}

    def full_kw(self, scales: Mapping[str, Scale]) -> float:
        """What the classes draw uncapped."""
        return sum(
            scale.kw_per_curve_w * scale.demand.mean_under(self._classes[class_id].curve.max_power_w)
            for class_id, scale in scales.items()
        )

    def steps(self, scales: Mapping[str, Scale]) -> list[Step]:
        """The whole cost curve of GPU power, cheapest first, from uncapped to the floors."""
        found = [
            Step(
                class_id=class_id,
                from_w=piece.from_w,
                to_w=piece.to_w,
                kw=piece.freed_w * scale.kw_per_curve_w,
                usd_per_kwh=piece.usd_per_wh * W_PER_KW / scale.cost_gain,
            )
            for class_id, scale in scales.items()
            for piece in self._pieces(class_id, scale.demand)
        ]
        order = np.argsort([s.usd_per_kwh for s in found], kind="stable")
        return [found[i] for i in order]

    def allocate(self, budget_kw: float, scales: Mapping[str, Scale]) -> Allocation:
        """The cheapest bounds under which the classes draw ``budget_kw``, or the floors when it cannot be met."""
        need_kw = max(0.0, self.full_kw(scales) - budget_kw)
        steps = self.steps(scales)
        width_kw: NDArray[np.float64] = np.array([s.kw for s in steps])
        taken_kw = np.clip(need_kw - (np.cumsum(width_kw) - width_kw), 0.0, width_kw)
        power_w = {class_id: self._classes[class_id].curve.max_power_w for class_id in scales}
        marginal = 0.0
        for step, taken in zip(steps, taken_kw, strict=True):
            if taken > 0:
                power_w[step.class_id] = step.from_w - (step.from_w - step.to_w) * float(taken) / step.kw
                marginal = step.usd_per_kwh
        return Allocation(
            power_w=power_w,
            marginal_usd_per_kwh=marginal,
            short_kw=max(0.0, need_kw - float(width_kw.sum())),
        )

    def _pieces(self, class_id: str, demand: Demand) -> tuple[_Piece, ...]:
        """Pieces of a class's curve cut at the knees of its demand; kept until the demand changes."""
        known = self._cut.get(class_id)
        if known is None or known[0] is not demand:
            known = self._cut[class_id] = (demand, tuple(_cut(self._classes[class_id], demand)))
        return known[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    from_w: float
    to_w: float
    freed_w: float
    """Mean power per GPU it frees."""
    usd_per_wh: float


def _cut(cap_class: CapClass, demand: Demand) -> Iterator[_Piece]:
    """From the top down; pieces that free nothing are left out."""
    knees_w = demand.knees_w()
    for segment in cap_class.curve.segments_down_to(cap_class.floor_w):
        inside = (k for k in knees_w if segment.power_lo_w < k < segment.power_hi_w)
        ends_w = sorted({segment.power_hi_w, segment.power_lo_w, *inside}, reverse=True)
        for from_w, to_w in pairwise(ends_w):
            freed_w = demand.mean_under(from_w) - demand.mean_under(to_w)
            if freed_w > 0:
                yield _Piece(
                    from_w=from_w,
                    to_w=to_w,
                    freed_w=freed_w,
                    usd_per_wh=segment.slope_per_w * cap_class.price_usd_per_gpu_hour,
                )
