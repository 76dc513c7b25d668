"""The site's three-phase revenue meter as a SunSpec device (models 1 and 203).

Once a second it shows the mean of the second that ended, with the errors of a class 0.2 meter (IEC 62053-22): a gain
error of its own and a little noise. Model 203 holds power in 16 bits, so the scale factor is the finest that fits
one and a half times the site's nominal power: 1 W up to 21 kW, 10 W up to 218 kW. Import is positive.
"""

from __future__ import annotations

import math

from agent.simulation.registers import RegisterMap, common_model, exponent_for
from agent.simulation.scenario import Scenario
from grid.units import SECONDS_PER_HOUR, W_PER_KW

MODEL = 203

_VOLTS = 277.0
_VOLTS_LINE = 480.0
_HZ = 60.0
_POWER_FACTOR = 0.98
_INT16 = 32767


class Meter:
    """Registers that follow the site's one-second means."""

    def __init__(self, scenario: Scenario) -> None:
        settings = scenario.settings
        self._rng = scenario.generator("meter")
        self._gain = 1.0 + settings.meter_gain_sd * float(self._rng.standard_normal())
        self._noise_sd = settings.meter_noise_sd
        self._imported_wh = self._exported_wh = 0.0
        full_va = 1.5 * scenario.site_kw * W_PER_KW / _POWER_FACTOR
        power_sf = exponent_for(full_va, _INT16)
        values: dict[str, int | str] = {
            "V_SF": -1,
            "Hz_SF": -2,
            "PF_SF": -2,
            "TotWh_SF": 0,
            "Evt": 0,
            "W_SF": power_sf,
            "VA_SF": power_sf,
            "VAR_SF": power_sf,
            "A_SF": exponent_for(full_va / _VOLTS, _INT16 // 10) - 1,
        }
        self.registers = RegisterMap({1: common_model("Simulated meter", settings.site_id), MODEL: values})
        for name in ("PhV", "PhVphA", "PhVphB", "PhVphC"):
            self.registers.put(MODEL, name, _VOLTS)
        for name in ("PPV", "PhVphAB", "PhVphBC", "PhVphCA"):
            self.registers.put(MODEL, name, _VOLTS_LINE)
        self.registers.put(MODEL, "Hz", _HZ)

    def show(self, site_kw: float) -> None:
        """Take the true mean of the second that ended."""
        watts = site_kw * W_PER_KW * (self._gain + self._noise_sd * float(self._rng.standard_normal()))
        apparent_va = abs(watts) / _POWER_FACTOR
        reactive_var = math.sqrt(apparent_va**2 - watts**2)
        for name, total in (("W", watts), ("VA", apparent_va), ("VAR", reactive_var), ("A", apparent_va / _VOLTS)):
            self.registers.put(MODEL, name, total if name != "A" else total / 3)
            for phase in ("A", "B", "C"):
                self.registers.put(MODEL, f"{name}ph{phase}", total / 3)
        for name in ("PF", "PFphA", "PFphB", "PFphC"):
            self.registers.put(MODEL, name, 100.0 * math.copysign(_POWER_FACTOR, watts))
        self._imported_wh += max(0.0, watts) / SECONDS_PER_HOUR
        self._exported_wh += max(0.0, -watts) / SECONDS_PER_HOUR
        self.registers.put(MODEL, "TotWhImp", self._imported_wh)
        self.registers.put(MODEL, "TotWhExp", self._exported_wh)
