"""What a site could give now, as kW at the meter against what a kWh costs it.

The steps of the allocation's cost curve, from uncapped down to the floors, carried to the meter; then, last and
never cheaper than any cap, what the battery's energy above its reserve can hold for the time it is offered for: the
rest of the battery is kept for regulation. Costs never fall along the curve, so an aggregator can split an award at
equal marginal cost. How sure that is: jobs differ from what is predicted of them each by itself, what a kW off the
GPUs takes off the meter differs for all alike, and the battery does as told; to first order the sum is normal.
"""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np

from agent.control.allocate import Steps
from agent.control.readings import BatteryReading
from agent.control.storage import held_for_kw
from agent.control.tuning import Tuning
from grid.messages import Capability, CapabilitySegment

PLACES = 4
BATTERY_USD_PER_KWH = 0.5
"""Least price of the battery's energy: charging losses and wear."""
MOST_SEGMENTS = 200
"""Of the caps; the pieces of thousands of jobs are averaged into so many of about equal kW."""
METER_SD = 0.02
"""Standard deviation of ``Tuning.meter_gain``, as a share: losses and cooling follow the weather."""
P90_DEVIATIONS = 1.2816
"""Of a normal distribution."""


def capability(
    steps: Steps,
    battery: BatteryReading | None,
    *,
    site_id: str,
    at: datetime,
    baseline_kw: float,
    tuning: Tuning,
) -> Capability:
    """Steps in order of cost become segments at the meter; steps of equal cost are one segment."""
    segments = _cap_segments(steps, tuning)
    caps_kw = sum(s.kw for s in segments)
    battery_kw = 0.0 if battery is None else round(held_for_kw(battery, tuning), PLACES)
    if battery_kw > 0:
        dearest = segments[-1].usd_per_kwh if segments else 0.0
        segments.append(CapabilitySegment(kw=battery_kw, usd_per_kwh=max(dearest, BATTERY_USD_PER_KWH)))
    deliverable_kw = sum(s.kw for s in segments)
    off_kw = P90_DEVIATIONS * math.hypot(caps_kw * METER_SD, _deviation_kw(steps) * tuning.meter_gain)
    return Capability(
        site_id=site_id,
        at=at,
        baseline_kw=baseline_kw,
        deliverable_kw=deliverable_kw,
        deliverable_p10_kw=round(max(0.0, deliverable_kw - off_kw), PLACES),
        deliverable_p50_kw=round(deliverable_kw, PLACES),
        deliverable_p90_kw=round(deliverable_kw + off_kw, PLACES),
        segments=tuple(segments),
    )


def _cap_segments(steps: Steps, tuning: Tuning) -> list[CapabilitySegment]:
    cost = np.round(steps.usd_per_kwh / tuning.meter_gain, PLACES)
    kw = steps.kw * tuning.meter_gain
    level = np.cumsum(np.diff(cost, prepend=cost[:1]) > 0)
    if level.max(initial=0) >= MOST_SEGMENTS:
        # Neighbours are put together at their mean cost, which keeps the order.
        level = np.floor((np.cumsum(kw) - kw / 2) / kw.sum() * MOST_SEGMENTS).astype(np.intp)
    sums, costs = np.bincount(level, weights=kw), np.bincount(level, weights=kw * cost)
    filled = sums > 0
    means = np.round(costs[filled] / sums[filled], PLACES)
    return [
        CapabilitySegment(kw=k, usd_per_kwh=c)
        for k, c in zip(np.round(sums[filled], PLACES).tolist(), means.tolist(), strict=True)
    ]


def _deviation_kw(steps: Steps) -> float:
    """Of GPU power, each class by itself."""
    by_class = np.bincount(steps.of_class, weights=steps.kw, minlength=len(steps.class_sd))
    return float(np.linalg.norm(by_class * steps.class_sd))
