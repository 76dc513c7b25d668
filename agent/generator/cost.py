"""What a generator's kilowatt-hour costs, to weigh it against what else the site could give.

A diesel or gas engine burns by a straight line in its load (Willans line): so much an hour for turning, and so much
more a kilowatt-hour. Running, the next kilowatt-hour costs the slope; starting one has to be worth the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.generator.machine import GeneratorLimits
from grid.units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorCost:
    """Fuel in any unit, the same in all three (litres, kg, kWh of gas)."""

    fuel_usd: float
    """A unit of fuel."""
    fuel_per_h: float
    """Turning without load."""
    fuel_per_kwh: float
    """On top, for each kilowatt-hour."""
    upkeep_usd_per_h: float = 0.0
    start_usd: float = 0.0

    @property
    def marginal_usd_per_kwh(self) -> float:
        """The next kilowatt-hour while it runs."""
        return self.fuel_usd * self.fuel_per_kwh

    def whole_usd_per_kwh(self, power_kw: float, hours: float) -> float:
        """Each kilowatt-hour of a run at this power, start and idling included."""
        turning_usd_per_h = self.fuel_usd * self.fuel_per_h + self.upkeep_usd_per_h
        return self.marginal_usd_per_kwh + (turning_usd_per_h + self.start_usd / hours) / power_kw


def worth_starting(
    cost: GeneratorCost, limits: GeneratorLimits, *, power_kw: float, left_s: float, marginal_usd_per_kwh: float
) -> bool:
    """Whether to start it for an event that lasts ``left_s`` more: it must carry load for its minimum time inside it,
    cheaper than the dearest kilowatt-hour the site gives now."""
    on_load_s = left_s - limits.lead_s(power_kw)
    if on_load_s < limits.min_up_s or power_kw < limits.min_load_kw:
        return False
    return cost.whole_usd_per_kwh(power_kw, on_load_s / SECONDS_PER_HOUR) < marginal_usd_per_kwh
