"""What the battery may do each second, and when it may refill.

Discharge is bounded by its rating, the energy above its reserve and the site's own load (never export); charge by
its rating and the room left. The reserve is the higher of the site's and the battery's own, and on top of it what the
rest of the event needs. The energy bounds look a minute ahead, so the battery fades out instead of stopping. Both are
within what its ramp reaches by the next second; where that is too slow to stay inside them, it goes as far as it can.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.control.readings import BatteryReading
from agent.control.tuning import Tuning
from grid.units import SECONDS_PER_HOUR

EFFICIENCY = 0.95
"""One way."""
FADE_S = 60.0
TICK_S = 1.0
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
    above_kwh = max(0.0, battery.soc_pct - reserve_pct(battery, tuning)) / 100.0 * battery.energy_kwh * EFFICIENCY
    return min(battery.max_discharge_kw, above_kwh * SECONDS_PER_HOUR / tuning.battery_hold_s)


def reserve_pct(battery: BatteryReading, tuning: Tuning) -> float:
    """The charge that stays in it, for the site's backup or by the battery's own limit. Unit: % of full."""
    return max(tuning.soc_reserve_pct, battery.soc_min_pct)


def bounds(
    battery: BatteryReading, tuning: Tuning, *, load_kw: float, may_charge: bool, event_needs_kwh: float = 0.0
) -> BatteryBounds:
    """``load_kw``: what the meter would read with the battery at rest.

    ``event_needs_kwh``: what it must still give later in the event, at its AC side.
    """
    per_kwh_kw = SECONDS_PER_HOUR / FADE_S
    per_pct_kwh = battery.energy_kwh / 100.0
    above_kwh = (battery.soc_pct - reserve_pct(battery, tuning)) * per_pct_kwh * EFFICIENCY - event_needs_kwh
    full_pct = min(tuning.soc_max_pct, battery.soc_max_pct)
    room_kw = max(0.0, full_pct - battery.soc_pct) * per_pct_kwh / EFFICIENCY * per_kwh_kw
    allowed = BatteryBounds(
        lowest_kw=-min(battery.max_charge_kw, room_kw) if may_charge else 0.0,
        highest_kw=max(0.0, min(battery.max_discharge_kw, max(0.0, above_kwh) * per_kwh_kw, load_kw)),
    )
    reach_kw = battery.slew_kw_per_s * TICK_S
    return BatteryBounds(
        lowest_kw=allowed.clip(battery.power_kw - reach_kw), highest_kw=allowed.clip(battery.power_kw + reach_kw)
    )


def recharge_kw(battery: BatteryReading, *, to_soc_pct: float, headroom_kw: float) -> float | None:
    """Set-point that refills what an event spent, inside ``headroom_kw`` at the meter; None when full enough."""
    missing_pct = to_soc_pct - battery.soc_pct
    if missing_pct <= 0.1:
        return None
    fade_kw = missing_pct * battery.energy_kwh / 100.0 * SECONDS_PER_HOUR / FADE_S
    return -max(0.0, min(battery.max_charge_kw * RECHARGE_SHARE, headroom_kw, fade_kw))
