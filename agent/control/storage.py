"""What the battery may do each second, and when it may refill.

Discharge is bounded by its rating, the energy above its reserve and the site's own load (never export); charge by
its rating and the room left. The energy bounds look a minute ahead, so the battery fades out instead of stopping.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.control.readings import BatteryReading
from agent.control.tuning import Tuning
from grid.units import SECONDS_PER_HOUR

EFFICIENCY = 0.95
"""One way."""
FADE_S = 60.0
RECHARGE_SHARE = 0.25
"""Of the charge rating, at most, when refilling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryBounds:
    """Set-points allowed now. Unit: kW, discharge > 0."""

    lowest_kw: float
    highest_kw: float

    def clip(self, power_kw: float) -> float:
        return min(self.highest_kw, max(self.lowest_kw, power_kw))


def held_for_kw(battery: BatteryReading, tuning: Tuning) -> float:
    """The discharge its energy above the reserve holds for the time it is offered for."""
    above_kwh = max(0.0, battery.soc_pct - tuning.soc_reserve_pct) / 100.0 * battery.energy_kwh * EFFICIENCY
    return min(battery.max_discharge_kw, above_kwh * SECONDS_PER_HOUR / tuning.battery_hold_s)


def bounds(battery: BatteryReading, tuning: Tuning, *, load_kw: float, may_charge: bool) -> BatteryBounds:
    """``load_kw``: what the meter would read with the battery at rest."""
    per_pct_kw = battery.energy_kwh / 100.0 * SECONDS_PER_HOUR / FADE_S
    above_reserve_kw = max(0.0, battery.soc_pct - tuning.soc_reserve_pct) * per_pct_kw * EFFICIENCY
    room_kw = max(0.0, tuning.soc_max_pct - battery.soc_pct) * per_pct_kw / EFFICIENCY
    return BatteryBounds(
        lowest_kw=-min(battery.max_charge_kw, room_kw) if may_charge else 0.0,
        highest_kw=max(0.0, min(battery.max_discharge_kw, above_reserve_kw, load_kw)),
    )


def recharge_kw(battery: BatteryReading, *, to_soc_pct: float, headroom_kw: float) -> float | None:
    """Set-point that refills what an event spent, inside ``headroom_kw`` at the meter; None when full enough."""
    missing_pct = to_soc_pct - battery.soc_pct
    if missing_pct <= 0.1:
        return None
    fade_kw = missing_pct * battery.energy_kwh / 100.0 * SECONDS_PER_HOUR / FADE_S
    return -max(0.0, min(battery.max_charge_kw * RECHARGE_SHARE, headroom_kw, fade_kw))
