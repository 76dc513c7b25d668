"""Splitting what GPUs may draw over jobs so that the site loses least.

Minimise the value of lost throughput, sum of n_j w_j (1 - theta_j(p_j)), with the sum of powers at most the budget
and every job between its floor and what its rack and feed let it draw. w_j is the job's price times its debit
(agent.workloads.ledger). Curves are concave, so filling their pieces in order of cost is the exact optimum
(agent.control.waterfill). The cost of the last piece touched, the water level, is the site's marginal cost of
flexibility.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.control.demand import Demand
from agent.control.pieces import CurveTable, Cuts
from agent.control.waterfill import LEAST_TAKEN, Floats, Ints, Pieces, cheapest_first, fill_one
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
    def of(cls, job: Job, curves: Mapping[str, PowerCurve] = PUBLISHED) -> CapClass | None:
        """None for a job that caps do not reach: no tier to spend, or no curve (decode)."""
        curve = curves.get(job.workload)
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
    sd: float = 0.0
    """Standard deviation of its gain over minutes, as a share."""
    debit: float = 1.0
    """How much dearer its loss is for the allowance it has spent."""
    least_w: float | None = None
    """Bound per GPU below which it may not go now, in the curve's watts; None: the class's own floor."""
    most_w: float | None = None
    """Bound per GPU that its racks and feeds impose, in the curve's watts; None: none. A floor gives way to it."""

    @property
    def kw_per_curve_w(self) -> float:
        return self.gpu_count * self.gain / W_PER_KW


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """The site's cost curve of GPU power, cheapest first; shape (steps,) but for ``class_sd``."""

    of_class: Ints
    """Numbered from 0 on."""
    kw: Floats
    """Reduction each step gives."""
    usd_per_kwh: Floats
    """Never falls."""
    class_sd: Floats
    """Standard deviation of what a class gives, as a share; all of its steps are off alike. Shape (classes,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A bound per GPU of each class, in its curve's watts."""

    power_w: Mapping[str, float]
    marginal_usd_per_kwh: float
    short_kw: float
    """What the floors left undone; 0 when the budget is met."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Known:
    """What stays the same from call to call while the classes that are there keep their demand."""

    class_ids: tuple[str, ...]
    demands: tuple[Demand, ...]
    cuts: Cuts
    floor_w: Floats
    max_w: Floats
    usd_per_wh: Floats
    """Of each piece, undebited."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Now:
    """One call's problem."""

    pieces: Pieces
    room_kw: Floats
    """What may be taken of each piece, beyond what racks and feeds take."""
    top_w: Floats
    least_w: Floats
    draw_kw: Floats
    """What each class draws under racks and feeds alone."""

    @property
    def full_kw(self) -> float:
        return float(self.draw_kw.sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteCurves:
    """The site's cost curves as arrays, class by class."""

    class_ids: tuple[str, ...]
    pieces: Pieces
    top_w: Floats
    least_w: Floats
    full_kw: Floats
    """What each class draws at its top."""


class Allocator:
    """Fills the pieces of a fixed set of classes, whose demand, gain, count and bounds may change with every call."""

    def __init__(self, classes: Sequence[CapClass]) -> None:
        self._row = {c.class_id: row for row, c in enumerate(classes)}
        self._table = CurveTable([c.curve for c in classes], [c.floor_w for c in classes])
        self._price = np.array([c.price_usd_per_gpu_hour for c in classes])
        self._known = self._learn((), ())

    def full_kw(self, scales: Mapping[str, Scale]) -> float:
        """What the classes draw with no cap but what racks and feeds impose."""
        return self._now(scales).full_kw

    def curves(self, scales: Mapping[str, Scale]) -> SiteCurves:
        """All cost curves as arrays, for the worker that keeps racks and feeds: as if these imposed nothing."""
        now = self._now({class_id: replace(scale, most_w=None) for class_id, scale in scales.items()})
        return SiteCurves(
            class_ids=self._known.class_ids,
            pieces=now.pieces,
            top_w=now.top_w,
            least_w=now.least_w,
            full_kw=now.draw_kw,
        )

    def steps(self, scales: Mapping[str, Scale]) -> Steps:
        """The whole cost curve, from what racks and feeds leave down to the floors."""
        now = self._now(scales)
        order = cheapest_first(now.pieces)
        order = order[now.room_kw[order] > 0]
        return Steps(
            of_class=now.pieces.unit[order],
            kw=now.room_kw[order],
            usd_per_kwh=now.pieces.usd_per_kwh[order],
            class_sd=np.array([scale.sd for scale in scales.values()]),
        )

    def allocate(self, budget_kw: float, scales: Mapping[str, Scale]) -> Allocation:
        """The cheapest bounds under which the classes draw ``budget_kw``, or the floors when it cannot be met."""
        now = self._now(scales)
        need_kw = max(0.0, now.full_kw - budget_kw)
        taken = fill_one(need_kw, now.room_kw, cheapest_first(now.pieces))
        bounds_w = now.pieces.bounds_w(taken, now.top_w, now.room_kw)
        touched = taken > LEAST_TAKEN * now.pieces.kw
        return Allocation(
            power_w=dict(zip(self._known.class_ids, bounds_w.tolist(), strict=True)),
            marginal_usd_per_kwh=float(now.pieces.usd_per_kwh[touched].max(initial=0.0)),
            short_kw=max(0.0, need_kw - float(now.room_kw.sum())),
        )

    def _now(self, scales: Mapping[str, Scale]) -> _Now:
        values = tuple(scales.values())
        known, ids = self._known, tuple(scales)
        if ids != known.class_ids or any(v.demand is not d for v, d in zip(values, known.demands, strict=True)):
            known = self._known = self._learn(ids, tuple(v.demand for v in values))
        cuts = known.cuts
        kw_per_w = np.array([v.kw_per_curve_w for v in values])
        per_gain = np.array([v.debit * W_PER_KW / v.cost_gain for v in values])
        most_w = np.array([np.inf if v.most_w is None else v.most_w for v in values])
        least_w = np.array([np.nan if v.least_w is None else v.least_w for v in values])
        least_w = np.where(np.isnan(least_w), known.floor_w, least_w)
        pieces = Pieces(
            unit=cuts.job,
            from_w=cuts.from_w,
            to_w=cuts.to_w,
            kw=cuts.freed_w * kw_per_w[cuts.job],
            usd_per_kwh=known.usd_per_wh * per_gain[cuts.job],
        )
        top_w = np.minimum(known.max_w, most_w)
        return _Now(
            pieces=pieces,
            room_kw=pieces.between(least_w, top_w),
            top_w=top_w,
            least_w=least_w,
            draw_kw=known.cuts.full_w * kw_per_w - pieces.freed_kw(top_w),
        )

    def _learn(self, ids: tuple[str, ...], demands: tuple[Demand, ...]) -> _Known:
        rows = np.array([self._row[i] for i in ids], dtype=np.intp)
        cuts = self._table.cut(rows, demands)
        return _Known(
            class_ids=ids,
            demands=demands,
            cuts=cuts,
            floor_w=self._table.floor_w[rows],
            max_w=self._table.max_w[rows],
            usd_per_wh=cuts.slope_per_w * self._price[rows[cuts.job]],
        )
