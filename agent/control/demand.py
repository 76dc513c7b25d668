"""What each class of GPUs asks for when nothing holds it back, and so what a cap would take from it.

A cap takes only what is above it: it clips the compute phase of a training step and leaves the rest of the step
alone, and does nothing to a server whose load is below it. So a class is described by samples of its demand
while uncapped (agent.control.gains), and its mean power under a bound p is the mean of min(demand, p): concave in p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.workloads.curves import PowerCurve

SAMPLES = 60
ENOUGH = 10
"""Samples seen before a class is described by them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """A class's demand: samples of its power per GPU, uncapped."""

    samples_w: NDArray[np.float64]

    @classmethod
    def full(cls, curve: PowerCurve) -> Demand:
        """A class never seen uncapped is taken to be busy all the time."""
        return cls(samples_w=np.array([curve.max_power_w]))

    @classmethod
    def seen(cls, power_w: NDArray[np.float64]) -> Demand:
        """From measured power per GPU."""
        return cls(samples_w=power_w)

    def mean_under(self, bound_w: float) -> float:
        """Mean power per GPU when it cannot exceed ``bound_w``. Unit: W."""
        return float(np.minimum(self.samples_w, bound_w).mean())
