"""The site's revenue meter as a SunSpec device: model 1 and one of 201 to 204 or 701.

Once a second it shows the mean of the second that ended, with the errors of a class 0.2 meter (IEC 62053-22): a gain
error of its own and a little noise. Models 201 to 204 hold power in 16 bits, as 701 does, so the scale factor is the
finest that fits one and a half times the site's nominal power: 1 W up to 21 kW, 10 W up to 218 kW. Import is positive
in 201 to 204 and negative in 701, which counts what is generated.
"""

from __future__ import annotations

import math
from typing import Protocol

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

    def __init__(self, scenario: Scenario, model: int = MODEL) -> None:
        settings = scenario.settings
        self._rng = scenario.generator("meter")
        self._gain = 1.0 + settings.meter_gain_sd * float(self._rng.standard_normal())
        self._noise_sd = settings.meter_noise_sd
        self._imported_wh = self._exported_wh = 0.0
        self._layout = _LAYOUTS[model]
        full_va = 1.5 * scenario.site_kw * W_PER_KW / _POWER_FACTOR
        values = {1: common_model("Simulated meter", settings.site_id), model: self._layout.initial(full_va)}
        self.registers = RegisterMap(values)
        self._layout.show_grid(self.registers)

    def show(self, site_kw: float) -> None:
        """Take the true mean of the second that ended."""
        watts = site_kw * W_PER_KW * (self._gain + self._noise_sd * float(self._rng.standard_normal()))
        self._imported_wh += max(0.0, watts) / SECONDS_PER_HOUR
        self._exported_wh += max(0.0, -watts) / SECONDS_PER_HOUR
        self._layout.show(self.registers, watts, self._imported_wh, self._exported_wh)


class _Layout(Protocol):
    """How a model shows power and energy."""

    def initial(self, full_va: float) -> dict[str, int | str]:
        """Raw values, scale factors among them, for a meter of this reach."""

    def show_grid(self, registers: RegisterMap) -> None:
        """What does not follow the load."""

    def show(self, registers: RegisterMap, watts: float, imported_wh: float, exported_wh: float) -> None:
        """Power, import positive, and energy."""


class _AcMeter:
    """201 to 204, by the phases that the model measures."""

    def __init__(self, model: int, phases: str) -> None:
        self._model = model
        self._phases = phases

    def initial(self, full_va: float) -> dict[str, int | str]:
        power_sf = exponent_for(full_va, _INT16)
        return {
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

    def show_grid(self, registers: RegisterMap) -> None:
        for name in ("PhV", *(f"PhVph{phase}" for phase in self._phases)):
            registers.put(self._model, name, _VOLTS)
        for pair in ("AB", "BC", "CA"):
            if set(pair) <= set(self._phases):
                registers.put(self._model, f"PhVph{pair}", _VOLTS_LINE)
        if len(self._phases) > 1:
            registers.put(self._model, "PPV", _VOLTS_LINE)
        registers.put(self._model, "Hz", _HZ)

    def show(self, registers: RegisterMap, watts: float, imported_wh: float, exported_wh: float) -> None:
        apparent_va, reactive_var = _apparent_and_reactive(watts)
        share = 1.0 / len(self._phases)
        for name, total in (("W", watts), ("VA", apparent_va), ("VAR", reactive_var), ("A", apparent_va / _VOLTS)):
            registers.put(self._model, name, total if name != "A" else total * share)
            for phase in self._phases:
                registers.put(self._model, f"{name}ph{phase}", total * share)
        for name in ("PF", *(f"PFph{phase}" for phase in self._phases)):
            registers.put(self._model, name, 100.0 * math.copysign(_POWER_FACTOR, watts))
        registers.put(self._model, "TotWhImp", imported_wh)
        registers.put(self._model, "TotWhExp", exported_wh)


class _DerMeter:
    """701, which counts what is generated."""

    _MODEL = 701

    def initial(self, full_va: float) -> dict[str, int | str]:
        power_sf = exponent_for(full_va, _INT16)
        scales = {"W_SF": power_sf, "VA_SF": power_sf, "Var_SF": power_sf, "A_SF": -1, "V_SF": -1, "Hz_SF": -2}
        return {"ACType": 2, "St": 1, "ConnSt": 1, "Alrm": 0, "TotWh_SF": 0, **scales}

    def show_grid(self, registers: RegisterMap) -> None:
        for name, value in (("LLV", _VOLTS_LINE), ("LNV", _VOLTS), ("Hz", _HZ)):
            registers.put(self._MODEL, name, value)

    def show(self, registers: RegisterMap, watts: float, imported_wh: float, exported_wh: float) -> None:
        apparent_va, reactive_var = _apparent_and_reactive(watts)
        shown = {"W": -watts, "VA": apparent_va, "Var": reactive_var, "A": apparent_va / _VOLTS / 3.0}
        shown |= {"TotWhInj": exported_wh, "TotWhAbs": imported_wh}
        for name, value in shown.items():
            registers.put(self._MODEL, name, value)


_LAYOUTS: dict[int, _Layout] = {
    201: _AcMeter(201, "A"),
    202: _AcMeter(202, "AB"),
    203: _AcMeter(203, "ABC"),
    204: _AcMeter(204, "ABC"),
    701: _DerMeter(),
}


def _apparent_and_reactive(watts: float) -> tuple[float, float]:
    apparent_va = abs(watts) / _POWER_FACTOR
    return apparent_va, math.sqrt(apparent_va**2 - watts**2)
