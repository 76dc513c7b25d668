"""How the power of a job varies around its full load: the figures of the benchmarks' realistic noise.

They are fixed, so that nobody sets their own difficulty. Levels are shares of P0, a job's power per GPU at full load
without a cap. Training alternates between computing and exchanging gradients, all ranks in step, and drops while a
checkpoint is written; batch inference stays near P0; serving follows requests.
"""

from __future__ import annotations

HIGH_LEVEL = 0.95
"""Training, while computing."""
LOW_LEVELS = (0.3, 0.6)
"""Training, while exchanging gradients: one level a job, drawn from this range."""
STEP_S = (2.0, 10.0)
"""Period of a training job's square wave, drawn once a job."""
PRETRAINING_HIGH_SHARES = (0.80, 0.95)
FINE_TUNING_HIGH_SHARES = (0.60, 0.80)
"""Share of the period spent computing."""
CHECKPOINT_LEVEL = 0.3
CHECKPOINT_EVERY_S = (600.0, 3600.0)
CHECKPOINT_LASTS_S = (10.0, 120.0)

BATCH_LEVEL = 0.97
"""Inference with a full queue."""

SERVING_IDLE_LEVEL = 0.35
"""Serving without requests."""
SERVING_LOAD = 0.72
"""Mean share of their capacity at which serving jobs run."""

NOISE_PHI_1S = 0.98
"""AR(1) of every job: what is left of a deviation after one second."""
GAIN_SD = 0.08
TILT_SD = 0.03
"""How far a job's true power curve lies from the published one: in level, and from its lower to its upper end."""
GPU_SPREAD_SD = 0.03
CAP_LAG_S = (1.0, 2.0)
"""Time constant of a GPU that follows a new limit."""


def serving_level(load: float) -> float:
    """Level of a serving job at a load, as a share of its capacity."""
    return SERVING_IDLE_LEVEL + (1.0 - SERVING_IDLE_LEVEL) * load


def training_level(high_shares: tuple[float, float]) -> float:
    """Mean level of a training job over steps and checkpoints."""
    high = sum(high_shares) / 2
    step = high * HIGH_LEVEL + (1.0 - high) * sum(LOW_LEVELS) / 2
    lasts_s, every_s = sum(CHECKPOINT_LASTS_S) / 2, sum(CHECKPOINT_EVERY_S) / 2
    return (step * every_s + CHECKPOINT_LEVEL * lasts_s) / (every_s + lasts_s)
