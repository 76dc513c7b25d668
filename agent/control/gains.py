"""What each class of GPUs draws against what was predicted of it, learned while it runs.

Published curves are for another site's GPUs; a real class differs in silicon, load and phase. Its gain is the
exponentially weighted mean of measured over predicted power, where the prediction clips the class's demand at the
caps in force and follows them with the lag caps have. All classes at once: a site has thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agent.control.allocate import CapClass, Scale
from agent.control.demand import ENOUGH, SAMPLES, Demand
from agent.control.readings import ClassReading
from agent.control.waterfill import Floats, Ints
from agent.workloads.curves import CapTable
from grid.units import W_PER_KW

LAG_TIME_S = 1.5
"""From a cap to the power NVML reports for it."""
RETURN_RATIO = 1.5
"""A class that draws so much more than its gain says is back from a checkpoint, which no square wave explains."""
SPARSE_S = 10.0
"""One second in so many is a sample of the demand once there are enough: a checkpoint is then a small part of them."""
GOLDEN = 0.6180339887498949
"""Which seconds: by multiples of it, since regular ones would see one phase of a job whose period fits them."""
COST_TIME_S = 600.0
"""Over which the gain that costs are reckoned with is the mean, for the same reason."""
LEAST_GAIN, MOST_GAIN = 0.1, 2.0
WANDER_TIME_S = 600.0
"""Over which it is seen how far a gain wanders."""
WANDER_BEFORE_SEEN = 0.08
"""Standard deviation assumed until then: by so much do jobs differ from the published."""


class LearnedGains:
    """Demand and gain of every class."""

    def __init__(self, classes: Sequence[CapClass], *, time_s: float) -> None:
        count = len(classes)
        self._ids = [c.class_id for c in classes]
        self._share = 1.0 / time_s
        self._caps = CapTable([c.curve for c in classes])
        self._full = [Demand.full(c.curve) for c in classes]
        self._window_w = np.zeros((count, SAMPLES))
        """Demand of each class, uncapped, in no order; 0 where nothing was seen yet."""
        self._uncapped_s = 0
        self._samples = np.zeros(count, dtype=np.intp)
        self._demand = list(self._full)
        self._behind = np.zeros(count, dtype=bool)
        """Whose ``_demand`` is older than its window."""
        self._predicted_w = np.full(count, np.nan)
        self._gain = np.full(count, np.nan)
        self._cost_gain = np.ones(count)
        self._cost_s = np.zeros(count)
        self._mean_gain = np.full(count, np.nan)
        self._variance = np.full(count, WANDER_BEFORE_SEEN**2)

    def observe(self, readings: Mapping[str, ClassReading], caps_w: Mapping[str, float], *, uncapped: bool) -> None:
        """Take in one second; ``uncapped`` says that nothing of ours has been in force for a while."""
        found = [readings.get(class_id) for class_id in self._ids]
        there = [(row, r) for row, r in enumerate(found) if r is not None and r.gpu_count > 0]
        if not there:
            return
        rows = np.array([row for row, _ in there])
        per_gpu = W_PER_KW / np.array([r.gpu_count for _, r in there])
        if uncapped:
            self._sample(rows, np.array([r.instant_kw for _, r in there]) * per_gpu)
        bound_w = self._caps.power_w(rows, np.array([caps_w.get(self._ids[row], np.inf) for row, _ in there]))
        self._learn(rows, np.array([r.power_kw for _, r in there]) * per_gpu, bound_w)
        if uncapped:
            self._cost_s[rows] += 1
            change = self._gain[rows] - self._cost_gain[rows]
            self._cost_gain[rows] += change / np.minimum(self._cost_s[rows], COST_TIME_S)

    def _sample(self, rows: Ints, power_w: Floats) -> None:
        """Every second until there are enough samples, then some, each in the place of the oldest."""
        self._uncapped_s += 1
        if self._uncapped_s * GOLDEN % 1.0 >= 1.0 / SPARSE_S:
            few = self._samples[rows] < SAMPLES
            rows, power_w = rows[few], power_w[few]
        self._window_w[rows, self._samples[rows] % SAMPLES] = power_w
        self._samples[rows] += 1
        self._behind[rows] = self._samples[rows] >= ENOUGH

    def _learn(self, rows: Ints, power_w: Floats, bound_w: Floats) -> None:
        settled_w = self._mean_under(rows, bound_w)
        before_w = np.where(np.isnan(self._predicted_w[rows]), settled_w, self._predicted_w[rows])
        predicted_w = before_w + (settled_w - before_w) * min(1.0, 1.0 / LAG_TIME_S)
        self._predicted_w[rows] = predicted_w
        seen = power_w / predicted_w
        gain = np.where(np.isnan(self._gain[rows]), seen, self._gain[rows])
        back = seen > RETURN_RATIO * gain
        gain = np.clip(np.where(back, seen, gain + (seen - gain) * self._share), LEAST_GAIN, MOST_GAIN)
        self._gain[rows] = gain
        self._follow_wander(rows, gain)

    def _follow_wander(self, rows: Ints, gain: Floats) -> None:
        mean = np.where(np.isnan(self._mean_gain[rows]), gain, self._mean_gain[rows])
        self._mean_gain[rows] = mean + (gain - mean) / WANDER_TIME_S
        self._variance[rows] += ((gain / mean - 1.0) ** 2 - self._variance[rows]) / WANDER_TIME_S

    def _mean_under(self, rows: Ints, bound_w: Floats) -> Floats:
        """Mean power per GPU of these classes under a bound each, by their demand."""
        clipped_w = np.minimum(self._window_w[rows], bound_w[:, None]).sum(axis=1)
        samples = np.minimum(self._samples[rows], SAMPLES)
        full_w = np.minimum(self._caps.max_w[rows], bound_w)
        return np.asarray(np.where(samples >= ENOUGH, clipped_w / np.maximum(samples, 1), full_w))

    def scales(self, readings: Mapping[str, ClassReading]) -> dict[str, Scale]:
        """Count, demand and gain of every class that is there."""
        for row in np.flatnonzero(self._behind).tolist():
            self._demand[row] = Demand.seen(self._window_w[row, : self._samples[row]].copy())
        self._behind[:] = False
        gain = np.where(np.isnan(self._gain), 1.0, self._gain).tolist()
        cost_gain = self._cost_gain.tolist()
        sd = np.sqrt(self._variance).tolist()
        return {
            class_id: Scale(
                gpu_count=readings[class_id].gpu_count,
                gain=gain[row],
                cost_gain=cost_gain[row],
                demand=self._demand[row],
                sd=sd[row],
            )
            for row, class_id in enumerate(self._ids)
            if class_id in readings
        }
