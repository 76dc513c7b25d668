"""Cutting many jobs' curves into the straight pieces that allocation fills, all at once.

A bound on a GPU frees only what its demand has above it (agent.control.demand), and costs throughput only while it
bites. So a curve is cut where its slope changes, at its floor, and at the knees of the demand; a piece's width is
what it frees on average, its cost per kWh the curve's. Pieces reach to the curve's lowest point: how far down a job
may go can change every second, and is not cut in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.control.demand import Demand
from agent.control.waterfill import Floats, Ints
from agent.workloads.curves import PowerCurve, padded

KNEES = 9
"""At so many equally likely powers, from the lowest to the highest, the share of time a bound bites changes."""
ROWS = 1024
"""Jobs cut in one go, which bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cuts:
    """Pieces per GPU: shape (pieces,), job by job, each from the top down."""

    job: Ints
    from_w: Floats
    to_w: Floats
    freed_w: Floats
    """Mean power per GPU it frees."""
    slope_per_w: Floats
    """Throughput share lost per W of the bound."""
    full_w: Floats
    """Mean power per GPU uncapped; shape (jobs,)."""


class CurveTable:
    """The curves of a fixed list of jobs as one array each of powers and throughputs."""

    def __init__(self, curves: Sequence[PowerCurve], floors_w: Sequence[float]) -> None:
        most = max((len(c.hull_w) for c in curves), default=2)
        self.hull_w = np.array([padded(c.hull_w, most) for c in curves]).reshape(-1, most)
        theta = np.array([padded(c.hull_theta, most) for c in curves]).reshape(-1, most)
        lengths_w = np.diff(self.hull_w, axis=1)
        self.slope = np.divide(np.diff(theta, axis=1), lengths_w, out=np.zeros_like(lengths_w), where=lengths_w > 0)
        self.floor_w = np.array(floors_w)
        self.max_w = np.array([c.max_power_w for c in curves])

    def cut(self, rows: Ints, demands: Sequence[Demand]) -> Cuts:
        """The pieces of the jobs in ``rows`` under these demands, one each; they are numbered 0 to n-1 as given."""
        same_length: defaultdict[int, list[int]] = defaultdict(list)
        for position, demand in enumerate(demands):
            same_length[len(demand.samples_w)].append(position)
        full_w = np.zeros(len(demands))
        found: list[tuple[Floats, ...]] = []
        for positions in same_length.values():
            for start in range(0, len(positions), ROWS):
                at = np.array(positions[start : start + ROWS])
                samples = np.stack([demands[i].samples_w for i in at])
                full_w[at] = np.minimum(samples, self.max_w[rows[at], None]).mean(axis=1)
                job, columns = self._cut(rows[at], samples)
                found.append((at[job].astype(np.float64), *columns))
        if not found:
            none = np.zeros(0)
            return Cuts(job=none.astype(np.intp), from_w=none, to_w=none, freed_w=none, slope_per_w=none, full_w=full_w)
        job, from_w, to_w, freed_w, slope = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(job, kind="stable")
        return Cuts(
            job=job[order].astype(np.intp),
            from_w=from_w[order],
            to_w=to_w[order],
            freed_w=freed_w[order],
            slope_per_w=slope[order],
            full_w=full_w,
        )

    def _cut(self, rows: Ints, samples_w: Floats) -> tuple[Ints, tuple[Floats, Floats, Floats, Floats]]:
        """Which of ``rows`` each piece is of; its ends, what it frees, its slope."""
        hull_w = self.hull_w[rows]
        knees_w = np.quantile(samples_w, np.linspace(0.0, 1.0, KNEES), axis=1).T
        ends_w = np.concatenate((hull_w, self.floor_w[rows, None], knees_w), axis=1)
        ends_w = -np.sort(-np.clip(ends_w, hull_w[:, :1], hull_w[:, -1:]), axis=1)
        mean_w = np.minimum(samples_w[:, None, :], ends_w[:, :, None]).mean(axis=2)
        freed_w = mean_w[:, :-1] - mean_w[:, 1:]
        from_w, to_w = ends_w[:, :-1], ends_w[:, 1:]
        middle_w = (from_w + to_w) / 2
        segment = (hull_w[:, None, 1:-1] <= middle_w[:, :, None]).sum(axis=2)
        slope = np.take_along_axis(self.slope[rows], segment, axis=1)
        job, column = np.nonzero((freed_w > 0) & (from_w > to_w))
        at = (job, column)
        return job, (from_w[at], to_w[at], freed_w[at], slope[at])
