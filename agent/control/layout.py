"""Where jobs run and what racks and feeds bear: the site's tree of limits, and the parts of jobs in it.

A part is what one job has in one rack. Parts share their job's curve in proportion to their GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.control.allocate import SiteCurves
from agent.control.hierarchy import Tree, Units
from agent.control.waterfill import Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Rack:
    """One rack, or whatever hangs on one breaker."""

    feed: str
    limit_kw: float
    """What its GPUs may draw: its rating less its other load and margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Changes when a limit, a job's place or its kind does."""

    racks: Mapping[str, Rack]
    feed_limit_kw: Mapping[str, float]
    """What the GPUs behind each feed may draw."""
    gpus: Mapping[str, Mapping[str, int]]
    """GPUs of each job in each rack."""

    def problem(self, curves: SiteCurves) -> tuple[Units, Tree]:
        """As arrays, with no limit on the site; a job that is in no rack here is in none of the units."""
        at_rack = {name: i for i, name in enumerate(self.racks)}
        at_feed = {name: i for i, name in enumerate(self.feed_limit_kw)}
        parts = [
            (job, at_rack[rack], count / total)
            for job, class_id in enumerate(curves.class_ids)
            if (total := sum(self.gpus.get(class_id, {}).values()))
            for rack, count in self.gpus[class_id].items()
            if count
        ]
        job = np.array([p[0] for p in parts], dtype=np.intp)
        share = np.array([p[2] for p in parts])
        units = Units(
            job=job,
            alike=True,
            pieces=_shared(curves.pieces, job, share, len(curves.class_ids)),
            top_w=curves.top_w[job],
            least_w=curves.least_w[job],
            full_kw=curves.full_kw[job] * share,
        )
        tree = Tree(
            rack=np.array([p[1] for p in parts], dtype=np.intp),
            feed=np.array([at_feed[rack.feed] for rack in self.racks.values()], dtype=np.intp),
            rack_limit_kw=np.array([rack.limit_kw for rack in self.racks.values()]),
            feed_limit_kw=np.array(list(self.feed_limit_kw.values())),
            site_limit_kw=np.inf,
        )
        return units, tree


def _shared(pieces: Pieces, job: np.ndarray, share: np.ndarray, jobs: int) -> Pieces:
    """The pieces of each part: its job's, narrower."""
    sizes = np.bincount(pieces.unit, minlength=jobs)
    starts = np.cumsum(sizes) - sizes
    unit = np.repeat(np.arange(len(job)), sizes[job])
    within = np.arange(len(unit)) - np.repeat(np.cumsum(sizes[job]) - sizes[job], sizes[job])
    at = starts[job][unit] + within
    return Pieces(
        unit=unit,
        from_w=pieces.from_w[at],
        to_w=pieces.to_w[at],
        kw=pieces.kw[at] * share[unit],
        usd_per_kwh=pieces.usd_per_kwh[at],
    )
