"""What is expected of a job before it was seen: its curve by workload and GPU type, and how far it may be off.

On a grid of caps relative to the GPU's highest limit, so that a sweep on one type says something of another. The
published sweeps (agent.workloads.curves) are of A100 at 400 W; jobs of one workload differ from site to site, the
same workload on another GPU differs more, and of a workload nobody has published the steepest curve is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.workloads.curves import PUBLISHED, SWEEP_CAPS_W, PowerCurve

Floats = NDArray[np.float64]

GRID_STEP = 0.125
GRID: Floats = np.arange(0.25, 1.0 + GRID_STEP / 2, GRID_STEP)
"""Caps, as shares of the highest limit."""
SWEPT_GPU = "A100"
_SWEPT_MAX_W = SWEEP_CAPS_W[-1]
LOSS_SD_SWEPT, LOSS_SD_OTHER_GPU, LOSS_SD_UNKNOWN = 0.2, 0.35, 0.4
"""Standard deviation of the true loss of throughput at a cap, as a share of the expected loss."""
GAIN_SD_SWEPT, GAIN_SD_OTHER_GPU, GAIN_SD_UNKNOWN = 0.08, 0.15, 0.25
"""Of true power, as a share of the expected."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prior:
    """Expected values on GRID."""

    max_w: float
    """The GPU's highest limit."""
    throughput: Floats
    """Share of uncapped; 1 at the end."""
    power: Floats
    """Per GPU, as a share of ``max_w``."""
    loss_sd: float
    gain_sd: float


def prior(workload: str, gpu_name: str, max_w: float) -> Prior:
    """``gpu_name`` as NVML says it; ``max_w``: its highest limit."""
    curve = PUBLISHED.get(workload)
    if curve is None:
        found = [_on_grid(known) for known in PUBLISHED.values()]
        throughput = np.min([theta for theta, _ in found], axis=0)
        power = np.mean([share for _, share in found], axis=0)
        return Prior(max_w=max_w, throughput=throughput, power=power, loss_sd=LOSS_SD_UNKNOWN, gain_sd=GAIN_SD_UNKNOWN)
    throughput, power = _on_grid(curve)
    swept = SWEPT_GPU in gpu_name
    return Prior(
        max_w=max_w,
        throughput=throughput,
        power=power,
        loss_sd=LOSS_SD_SWEPT if swept else LOSS_SD_OTHER_GPU,
        gain_sd=GAIN_SD_SWEPT if swept else GAIN_SD_OTHER_GPU,
    )


def _on_grid(curve: PowerCurve) -> tuple[Floats, Floats]:
    power_w = [curve.power_at_cap(cap) for cap in (GRID * _SWEPT_MAX_W).tolist()]
    return np.array([curve.throughput(w) for w in power_w]), np.array(power_w) / _SWEPT_MAX_W
