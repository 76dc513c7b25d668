"""What a site could give now, as kW at the meter against what a kWh costs it.

The steps of the allocation's cost curve, from uncapped down to the floors, carried to the meter; then, last and
never cheaper than any cap, what the battery's energy above its reserve can hold for the time it is offered for: the
rest of the battery is kept for regulation. Costs never fall along the curve, so an aggregator can split an award at
equal marginal cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from agent.control.allocate import Step
from agent.control.readings import BatteryReading
from agent.control.storage import held_for_kw
from agent.control.tuning import Tuning
from grid.messages import Capability, CapabilitySegment

PLACES = 4
BATTERY_USD_PER_KWH = 0.5
"""Least price of the battery's energy: charging losses and wear."""


def capability(
    steps: Sequence[Step],
    battery: BatteryReading | None,
    *,
    site_id: str,
    at: datetime,
    baseline_kw: float,
    tuning: Tuning,
) -> Capability:
    """Steps in order of cost become segments at the meter; steps of equal cost are one segment."""
    segments = [
        CapabilitySegment(kw=round(sum(s.kw for s in group) * tuning.meter_gain, PLACES), usd_per_kwh=cost)
        for cost, group in groupby(steps, key=lambda s: round(s.usd_per_kwh / tuning.meter_gain, PLACES))
    ]
    battery_kw = 0.0 if battery is None else round(held_for_kw(battery, tuning), PLACES)
    if battery_kw > 0:
        dearest = segments[-1].usd_per_kwh if segments else 0.0
        segments.append(CapabilitySegment(kw=battery_kw, usd_per_kwh=max(dearest, BATTERY_USD_PER_KWH)))
    return Capability(
        site_id=site_id,
        at=at,
        baseline_kw=baseline_kw,
        deliverable_kw=sum(s.kw for s in segments),
        segments=tuple(segments),
    )
