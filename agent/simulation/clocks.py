"""What a locked clock does to a GPU's power and to its work.

Power above idle goes with the clock to the 2.2, since voltage falls with frequency. Of the time that work takes, a
share m is spent on memory and network, which the clock does not touch: at a clock share s the work takes
m + (1 - m) / s (Amdahl). Fine-tuning's and batch inference's m are what the published cap sweep comes to under the
same exponent at half the limit (0.31 to 0.40; agent.workloads.curves); pretraining loses more there than its clock, so
it has none. Decode's is assumed: its kernels wait for memory most of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.workloads.curves import DECODE

Floats = NDArray[np.float64]

_POWER_EXPONENT = 2.2
_MEMORY_BOUND = {"pt": 0.0, "ft": 0.3, "infer": 0.4, DECODE: 0.8}
"""By what a workload's name begins with."""


def memory_bound(workload: str) -> float:
    """The share of its time that no clock makes shorter."""
    return _MEMORY_BOUND[workload.partition("_")[0]]


def power_w(idle_w: Floats | float, full_w: Floats, clock_share: Floats) -> Floats:
    """What is drawn at most at a share of the highest clock. Unit: W."""
    return idle_w + (full_w - idle_w) * clock_share**_POWER_EXPONENT


def throughput(memory_bound_share: Floats, clock_share: Floats) -> Floats:
    """Share of the throughput at the highest clock."""
    return 1.0 / (memory_bound_share + (1.0 - memory_bound_share) / clock_share)
