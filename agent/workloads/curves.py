"""How throughput falls when a GPU is capped: published curves, and the shape every curve has.

A curve is piecewise linear in measured power per GPU, increasing and made concave (its upper hull), so that
allocation can fill its segments greedily. The figures are the Phoenix field test's cap sweep on A100 400 W
(dvfs_sweep.csv of ai-emerald/emerald-ai-demo-may-2025, Apache-2.0; arXiv 2507.00909), rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SWEEP_CAPS_W = (100.0, 200.0, 250.0, 300.0, 350.0, 400.0)
"""Caps of the sweep, per GPU. Unit: W."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One cap of a sweep."""

    cap_w: float
    power_w: float
    """Mean measured power per GPU at that cap."""
    throughput: float
    """Share of the uncapped throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A straight piece of a curve, from its top downwards."""

    power_hi_w: float
    power_lo_w: float
    slope_per_w: float
    """Throughput share lost per W given up, per GPU."""


class PowerCurve:
    """Throughput against power per GPU, concave, from a sweep of caps. Needs two points or more."""

    def __init__(self, points: Sequence[SweepPoint]) -> None:
        ordered = sorted(points, key=lambda p: p.power_w)
        if len(ordered) < 2:
            raise ValueError("a power curve needs two points or more")
        self._power_w = np.array([p.power_w for p in ordered])
        self._cap_w = np.array([p.cap_w for p in ordered])
        hull = _upper_hull([(p.power_w, p.throughput) for p in ordered])
        self._hull_w = np.array([w for w, _ in hull])
        self._hull_theta = np.array([theta for _, theta in hull])

    @property
    def max_power_w(self) -> float:
        """Power per GPU uncapped."""
        return float(self._power_w[-1])

    def throughput(self, power_w: float) -> float:
        """Share of uncapped throughput at a power; flat outside the sweep."""
        return float(np.interp(power_w, self._hull_w, self._hull_theta))

    def power_at_throughput(self, theta: float) -> float:
        """The lowest power per GPU that keeps ``theta``. Unit: W."""
        return float(np.interp(theta, self._hull_theta, self._hull_w))

    def cap_at_power(self, power_w: float) -> float:
        """The cap that brings a GPU to ``power_w``. Unit: W."""
        return float(np.interp(power_w, self._power_w, self._cap_w))

    def power_at_cap(self, cap_w: float) -> float:
        """Power per GPU under a cap. Unit: W."""
        return float(np.interp(cap_w, self._cap_w, self._power_w))

    def segments_down_to(self, floor_w: float) -> list[Segment]:
        """The curve's pieces from the top down to ``floor_w``; slopes never fall."""
        pieces: list[Segment] = []
        ends = list(zip(self._hull_w, self._hull_theta, strict=True))
        for (lo_w, lo_theta), (hi_w, hi_theta) in reversed(list(pairwise(ends))):
            if hi_w <= floor_w:
                break
            slope = (hi_theta - lo_theta) / (hi_w - lo_w)
            pieces.append(
                Segment(power_hi_w=float(hi_w), power_lo_w=float(max(lo_w, floor_w)), slope_per_w=float(slope))
            )
        return pieces


def _upper_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The concave majorant of points sorted by their first coordinate."""
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) >= 2:
            (x0, y0), (x1, y1) = hull[-2], hull[-1]
            if (y1 - y0) * (x - x0) > (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def _sweep(throughput: Sequence[float], power_w: Sequence[float]) -> PowerCurve:
    return PowerCurve(
        [
            SweepPoint(cap_w=c, power_w=w, throughput=t)
            for c, w, t in zip(SWEEP_CAPS_W, power_w, throughput, strict=True)
        ]
    )


_INFERENCE = _sweep((0.2252, 0.7808, 0.8709, 0.9309, 0.9760, 1.0), (97.9, 194.6, 241.8, 288.9, 332.9, 368.4))

DECODE = "decode"
"""Latency-critical decode: draws well below any cap, and caps do not bind (reference site, Flex 0)."""

PUBLISHED: dict[str, PowerCurve] = {
    "ft_llama_8b_dolly": _sweep(
        (0.2408, 0.8070, 0.9042, 0.9507, 0.9803, 1.0), (99.9, 196.1, 244.1, 288.3, 320.6, 345.6)
    ),
    "ft_llama_8b_p3": _sweep((0.2280, 0.7841, 0.8778, 0.9375, 0.9673, 1.0), (100.1, 195.4, 239.8, 285.5, 317.1, 343.4)),
    "infer_llama_8b": _INFERENCE,
    "pt_mpt_13b_lg": _sweep((0.1910, 0.6236, 0.7809, 0.8596, 0.9213, 1.0), (101.7, 196.2, 244.7, 291.1, 337.1, 381.7)),
    "pt_mpt_13b_sm": _sweep((0.1906, 0.6381, 0.7831, 0.8660, 0.9116, 1.0), (102.9, 195.4, 243.2, 287.1, 331.0, 376.8)),
    "pt_mpt_7b_fast": _sweep((0.1749, 0.6256, 0.7870, 0.8744, 0.9350, 1.0), (100.0, 198.4, 247.5, 295.7, 343.3, 387.8)),
}
"""By workload name; power per GPU on A100 400 W."""
