"""A battery's energy and power, apart from how it is spoken to.

Power follows a set-point within its slew rate and never leaves the rating or what the stored energy allows:
discharge <= min(P_max, eta_d E / dt), charge <= min(P_max, (E_max - E) / (eta_c dt)). Discharge is positive.
"""

from __future__ import annotations

from grid.units import SECONDS_PER_HOUR

EFFICIENCY = 0.95
"""Of charging and of discharging, each; about 90% there and back."""


class Storage:
    """State of one battery. Power in kW at its AC side, energy in kWh in its cells."""

    def __init__(self, *, rating_kw: float, capacity_kwh: float, soc: float) -> None:
        self.rating_kw = rating_kw
        self.capacity_kwh = capacity_kwh
        self.energy_kwh = soc * capacity_kwh
        self.power_kw = 0.0

    @property
    def soc(self) -> float:
        """State of charge, 0 to 1."""
        return self.energy_kwh / self.capacity_kwh

    def step(self, setpoint_kw: float, *, slew_kw_per_s: float, dt_s: float) -> None:
        """Go on by ``dt_s`` towards a set-point."""
        hours = dt_s / SECONDS_PER_HOUR
        reach_kw = slew_kw_per_s * dt_s
        wanted_kw = max(self.power_kw - reach_kw, min(self.power_kw + reach_kw, setpoint_kw))
        most_kw = min(self.rating_kw, EFFICIENCY * self.energy_kwh / hours)
        least_kw = -min(self.rating_kw, (self.capacity_kwh - self.energy_kwh) / (EFFICIENCY * hours))
        self.power_kw = max(least_kw, min(most_kw, wanted_kw))
        drawn_kw = self.power_kw / EFFICIENCY if self.power_kw > 0 else self.power_kw * EFFICIENCY
        self.energy_kwh = max(0.0, min(self.capacity_kwh, self.energy_kwh - drawn_kw * hours))
