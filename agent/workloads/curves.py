"""How throughput falls when a GPU is capped: published curves, and the shape every curve has.

A curve is piecewise linear in measured power per GPU, increasing and made concave (its upper hull), so that
allocation can fill its segments greedily. The figures are the Phoenix field test's cap sweep on A100 400 W
(dvfs_sweep.csv of ai-emerald/emerald-ai-demo-may-2025, Apache-2.0; arXiv 2507.00909), rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


class PowerCurve:
    """Throughput against power per GPU, concave, from a sweep of caps. Needs two points or more."""

    def __init__(self, points: Sequence[SweepPoint]) -> None:
        ordered = sorted(points, key=lambda p: p.power_w)
        if len(ordered) < 2:
            raise ValueError("a power curve needs two points or more")
        self.power_w = np.array([p.power_w for p in ordered])
        """Of each point of the sweep, rising. Unit: W per GPU."""
        self.cap_w = np.array([p.cap_w for p in ordered])
        """Caps of these points."""
        hull = _upper_hull([(p.power_w, p.throughput) for p in ordered])
        self.hull_w = np.array([w for w, _ in hull])
        """Powers at which the slope changes, ends included, rising. Unit: W per GPU."""
        self.hull_theta = np.array([theta for _, theta in hull])
        """Throughput there."""

    @property
    def max_power_w(self) -> float:
        """Power per GPU uncapped."""
        return float(self.power_w[-1])

    def throughput(self, power_w: float) -> float:
        """Share of uncapped throughput at a power; flat outside the sweep."""
        return float(np.interp(power_w, self.hull_w, self.hull_theta))

    def power_at_throughput(self, theta: float) -> float:
        """The lowest power per GPU that keeps ``theta``. Unit: W."""
        return float(np.interp(theta, self.hull_theta, self.hull_w))

    def cap_at_power(self, power_w: float) -> float:
        """The cap that brings a GPU to ``power_w``. Unit: W."""
        return float(np.interp(power_w, self.power_w, self.cap_w))

    def power_at_cap(self, cap_w: float) -> float:
        """Power per GPU under a cap. Unit: W."""
        return float(np.interp(cap_w, self.cap_w, self.power_w))


class CapTable:
    """Caps and powers of many curves, for looking up all of them at once."""

    def __init__(self, curves: Sequence[PowerCurve]) -> None:
        most = max((len(c.cap_w) for c in curves), default=2)
        self._cap_w = np.array([padded(c.cap_w, most) for c in curves]).reshape(-1, most)
        self._power_w = np.array([padded(c.power_w, most) for c in curves]).reshape(-1, most)
        self.max_w = np.array([c.max_power_w for c in curves])

    def power_w(self, rows: NDArray[np.intp], cap_w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power per GPU of the curves in ``rows`` under a cap each; flat outside the sweep. Unit: W."""
        caps_w, powers_w = self._cap_w[rows], self._power_w[rows]
        segment = (caps_w[:, 1:-1] <= cap_w[:, None]).sum(axis=1)
        at = np.arange(len(rows))
        low_w, high_w = caps_w[at, segment], caps_w[at, segment + 1]
        above_w = np.clip(cap_w, low_w, high_w) - low_w
        share = np.divide(above_w, high_w - low_w, out=np.zeros_like(above_w), where=high_w > low_w)
        bottom_w = powers_w[at, segment]
        return np.asarray(bottom_w + share * (powers_w[at, segment + 1] - bottom_w))


def padded(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The last value repeated up to ``length``, so that curves of all lengths fit one table."""
    return np.pad(values, (0, length - len(values)), mode="edge")


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
