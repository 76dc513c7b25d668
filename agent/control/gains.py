"""What each class of GPUs draws against what was predicted of it, learned while it runs.

Published curves are for another site's GPUs; a real class differs in silicon, load and phase. Its gain is the
exponentially weighted mean of measured over predicted power, where the prediction clips the class's demand at the
caps in force and follows them with the lag caps have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.control.allocate import CapClass, Scale
from agent.control.demand import Demand, DemandWindow
from agent.control.readings import ClassReading
from grid.units import W_PER_KW

LAG_TIME_S = 1.5
"""From a cap to the power NVML reports for it."""
LEAST_GAIN, MOST_GAIN = 0.1, 2.0


class LearnedGains:
    """Demand and gain of every class."""

    def __init__(self, classes: Sequence[CapClass], *, time_s: float) -> None:
        self._classes = {c.class_id: c for c in classes}
        self._share = 1.0 / time_s
        self._windows = {c.class_id: DemandWindow(c.curve) for c in classes}
        self._demand = {c.class_id: Demand.full(c.curve) for c in classes}
        self._predicted_w: dict[str, float] = {}
        self._gain: dict[str, float] = {}
        self._cost_gain: dict[str, float] = {}

    def observe(self, readings: Mapping[str, ClassReading], caps_w: Mapping[str, float], *, uncapped: bool) -> None:
        """Take in one second; ``uncapped`` says that nothing of ours has been in force for a while."""
        for class_id, cap_class in self._classes.items():
            reading = readings.get(class_id)
            if reading is None or reading.gpu_count == 0:
                continue
            power_w = reading.power_kw * W_PER_KW / reading.gpu_count
            if uncapped:
                self._windows[class_id].observe(reading.instant_kw * W_PER_KW / reading.gpu_count)
                self._demand[class_id] = self._windows[class_id].demand
            self._learn(cap_class, power_w, caps_w.get(class_id))
            if uncapped:
                self._cost_gain[class_id] = self._gain[class_id]

    def _learn(self, cap_class: CapClass, power_w: float, cap_w: float | None) -> None:
        class_id, curve, demand = cap_class.class_id, cap_class.curve, self._demand[cap_class.class_id]
        settled_w = demand.mean_under(curve.max_power_w if cap_w is None else curve.power_at_cap(cap_w))
        before_w = self._predicted_w.get(class_id, settled_w)
        predicted_w = before_w + (settled_w - before_w) * min(1.0, 1.0 / LAG_TIME_S)
        self._predicted_w[class_id] = predicted_w
        seen = power_w / predicted_w
        gain = self._gain.get(class_id, seen)
        self._gain[class_id] = min(MOST_GAIN, max(LEAST_GAIN, gain + (seen - gain) * self._share))

    def scales(self, readings: Mapping[str, ClassReading]) -> dict[str, Scale]:
        """Count, demand and gain of every class that is there."""
        return {
            class_id: Scale(
                gpu_count=readings[class_id].gpu_count,
                gain=self._gain.get(class_id, 1.0),
                cost_gain=self._cost_gain.get(class_id, 1.0),
                demand=self._demand[class_id],
            )
            for class_id in self._classes
            if class_id in readings
        }
