"""Random allocation problems, and the same problems as linear programmes for an independent solver (HiGHS)."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from agent.control.demand import Demand
from agent.control.hierarchy import Tree, Units
from agent.control.pieces import CurveTable
from agent.control.waterfill import Floats, Ints, Pieces, summed
from agent.workloads.curves import PUBLISHED, PowerCurve
from grid.units import W_PER_KW

CURVES = [PUBLISHED[name] for name in sorted(PUBLISHED)]
PRICES = (1.0, 1.4, 2.0, 2.5)
"""Few, so that costs are often equal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """Units of busy GPUs, each in a rack; racks on feeds."""

    curve: list[PowerCurve]
    gpus: Floats
    price: Floats
    floor_w: Floats
    job: Ints
    rack: Ints
    feed: Ints
    top_w: Floats | None = None
    """Highest bounds, where not the curves' tops."""

    @property
    def full_kw(self) -> Floats:
        return np.asarray(self.gpus * np.array([c.max_power_w for c in self.curve]) / W_PER_KW)

    def units(self, *, alike: bool = False) -> Units:
        table = CurveTable(self.curve, self.floor_w.tolist())
        cuts = table.cut(np.arange(len(self.curve)), [Demand.full(c) for c in self.curve])
        pieces = Pieces(
            unit=cuts.job,
            from_w=cuts.from_w,
            to_w=cuts.to_w,
            kw=cuts.freed_w * self.gpus[cuts.job] / W_PER_KW,
            usd_per_kwh=cuts.slope_per_w * self.price[cuts.job] * W_PER_KW,
        )
        return Units(
            job=self.job,
            alike=alike,
            pieces=pieces,
            top_w=table.max_w,
            least_w=self.floor_w,
            full_kw=self.full_kw,
        )

    def tree(self, rack_kw: Floats, feed_kw: Floats, site_kw: float) -> Tree:
        return Tree(rack=self.rack, feed=self.feed, rack_limit_kw=rack_kw, feed_limit_kw=feed_kw, site_limit_kw=site_kw)

    def drawn_kw(self, bound_w: Floats) -> Floats:
        """By rack."""
        return summed(self.gpus * bound_w / W_PER_KW, self.rack, len(self.feed))

    def cost(self, bound_w: Floats) -> float:
        """By the curves themselves, not by pieces. Unit: USD per hour."""
        theta = [c.throughput(p) for c, p in zip(self.curve, bound_w.tolist(), strict=True)]
        return float(self.gpus * self.price @ (1 - np.array(theta)))

    def by_linear_programme(self, tree: Tree, *, alike: bool = False) -> float | None:
        """Least cost; None where no bounds keep the limits. Losses are variables above every line of their curve."""
        model = _silent()
        count = len(self.gpus)
        for i, curve in enumerate(self.curve):
            top_w = curve.max_power_w if self.top_w is None else float(self.top_w[i])
            model.addVar(float(self.floor_w[i]), top_w)
        for i in range(count):
            model.addVar(0.0, highspy.kHighsInf)
            model.changeColCost(count + i, float(self.gpus[i] * self.price[i]))
        for i, curve in enumerate(self.curve):
            for slope, at_w, theta in zip(
                np.diff(curve.hull_theta) / np.diff(curve.hull_w), curve.hull_w, curve.hull_theta, strict=False
            ):
                # loss + slope * p >= 1 - theta + slope * at
                model.addRow(1 - theta + slope * at_w, highspy.kHighsInf, 2, [count + i, i], [1.0, slope])
        limits = [(self.rack == r, kw) for r, kw in enumerate(tree.rack_limit_kw)]
        limits += [(self.feed[self.rack] == f, kw) for f, kw in enumerate(tree.feed_limit_kw)]
        for inside, limit_kw in [*limits, (np.ones(count, dtype=bool), tree.site_limit_kw)]:
            at = np.flatnonzero(inside)
            model.addRow(-highspy.kHighsInf, float(limit_kw), len(at), at.astype(np.int32), self.gpus[at] / W_PER_KW)
        if alike:
            for i in range(1, count):
                if self.job[i] == self.job[i - 1]:
                    model.addRow(0.0, 0.0, 2, [i - 1, i], [1.0, -1.0])
        model.run()
        if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        return float(model.getObjectiveValue())


def _silent() -> highspy.Highs:
    model = highspy.Highs()  # type: ignore[no-untyped-call]
    model.setOptionValue("output_flag", False)
    return model


def random_site(seed: int, *, jobs: int, racks: int, feeds: int, most_units: int = 1) -> Site:
    """Every job has up to ``most_units`` units, each in a rack of its own."""
    rng = np.random.default_rng(seed)
    job = np.repeat(np.arange(jobs), rng.integers(1, min(most_units, racks) + 1, jobs))
    which = rng.integers(0, len(CURVES), jobs)[job]
    floors = rng.choice((0.9, 0.75, 0.5), jobs)[job]
    curve = [CURVES[w] for w in which]
    rack = np.concatenate([rng.permutation(racks)[: np.sum(job == j)] for j in range(jobs)])
    return Site(
        curve=curve,
        gpus=rng.integers(1, 64, len(job)).astype(float),
        price=rng.choice(PRICES, jobs)[job],
        floor_w=np.array([c.power_at_throughput(f) for c, f in zip(curve, floors.tolist(), strict=True)]),
        job=job,
        rack=rack,
        feed=rng.integers(0, feeds, racks),
    )
