"""How strong each job's noise must be for the site's noise to have the size that is asked for.

A GPU at its power limit cannot draw more, so upward noise is partly lost, the more the closer a job runs to the
limit. The common standard deviation of the jobs' noise is therefore found from the distribution of what the limit
leaves of it, by fixed-point iteration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.simulation import shapes
from agent.simulation.scenario import Scenario, expected_level

_MEAN_LOSSES = 0.06
_NODES = np.linspace(-4.0, 4.0, 161)
_DENSITY = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
_ITERATIONS = 12


def job_noise_sd(scenario: Scenario, p0_w: NDArray[np.float64]) -> float:
    """Standard deviation of every job's noise factor that gives the scenario's site noise at the meter.

    Cooling lags too far behind to pass the noise on, so losses are all it gains on the way to the meter.
    """
    target_w = scenario.settings.site_noise_sd * scenario.site_kw * 1000.0 / (1.0 + _MEAN_LOSSES)
    gpus = np.bincount(scenario.job_of_gpu)
    levels, weights = _levels(scenario)
    full_w = levels * p0_w[:, None]
    sd = scenario.settings.site_noise_sd
    for _ in range(_ITERATIONS if sd > 0 else 0):
        noisy_w = np.minimum(scenario.gpu_model.max_limit_w, full_w[..., None] * (1.0 + sd * _NODES))
        off_w = noisy_w - np.minimum(scenario.gpu_model.max_limit_w, full_w)[..., None]
        mean_w = off_w @ _DENSITY
        variance = (weights * ((off_w**2) @ _DENSITY - mean_w**2)).sum(axis=1)
        sd *= target_w / float(np.sqrt((gpus**2 * variance).sum()))
    return sd


def _levels(scenario: Scenario) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The levels a job alternates between and the share of time at each; one row a job."""
    levels, weights = [], []
    for job in scenario.settings.jobs:
        if job.trains:
            high = sum(job.high_shares) / 2
            levels.append((shapes.HIGH_LEVEL, sum(shapes.LOW_LEVELS) / 2))
            weights.append((high, 1.0 - high))
        else:
            levels.append((expected_level(job), 0.0))
            weights.append((1.0, 0.0))
    return np.array(levels), np.array(weights)
