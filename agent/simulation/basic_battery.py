"""A battery of the first SunSpec generation: models 1, 103, 120 and 124, and no 704.

Model 124 does not take a power but a window for it: OutWRte is the most discharge and InWRte the most charge, each in
percent of its rating, and a negative one forces the other direction, so [-InWRte, OutWRte] closes on one power when
both say the same. StorCtl_Mod's two bits put the two limits in force; InOutWRte_RvrtTms after the last write of a
limit they fall away, which is its dead-man. Without limits it rests. Reference: SunSpec Inverter Control models, 124.
"""

from __future__ import annotations

import math

from agent.simulation.registers import RegisterMap, common_model, exponent_for
from agent.simulation.scenario import Scenario
from agent.simulation.storage import Storage
from grid.units import W_PER_KW

MEASUREMENT, NAMEPLATE, STORAGE = 103, 120, 124

_CHARGE_LIMITED, _DISCHARGE_LIMITED = 1, 2
_LIMITS = {(STORAGE, name) for name in ("StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_RvrtTms")}
_WRITABLE = (*_LIMITS, (STORAGE, "InOutWRte_WinTms"), (STORAGE, "InOutWRte_RmpTms"))
_INT16 = 32767
_ON_LOAD, _FAULT = 4, 7
_DISCHARGING, _CHARGING, _HOLDING = 3, 4, 6
_GRID = 1
_SLEW_PCT_PER_S = 50
_TIME_EPSILON_S = 1e-6


class BasicBattery:
    """Storage behind model 124."""

    def __init__(self, scenario: Scenario) -> None:
        settings = scenario.settings.battery
        self._sign = 1.0 if settings.discharge_positive else -1.0
        self.storage = Storage(
            rating_kw=scenario.battery_kw,
            capacity_kwh=scenario.battery_kw * settings.minutes / 60.0,
            soc=settings.initial_soc,
        )
        self._revert_in_s = math.inf
        self.registers = _registers(self.storage, scenario.settings.site_id)
        self._publish()

    def written(self, points: set[tuple[int, str]]) -> None:
        """A client wrote these points."""
        if points & _LIMITS:
            timeout_s = self.registers.get(STORAGE, "InOutWRte_RvrtTms")
            self._revert_in_s = timeout_s if timeout_s > 0 else math.inf

    def forget_dead_man(self) -> None:
        """What a restart of its controller does: the limits stand, and nothing ends them."""
        self.registers.put(STORAGE, "InOutWRte_RvrtTms", 0)
        self._revert_in_s = math.inf

    def step(self, dt_s: float) -> float:
        """Go on by ``dt_s``; returns the power, discharge positive. Unit: kW."""
        self._revert_in_s -= dt_s
        if self._revert_in_s <= _TIME_EPSILON_S:
            self.registers.put(STORAGE, "StorCtl_Mod", 0)
            self._revert_in_s = math.inf
        slew_kw = _SLEW_PCT_PER_S / 100.0 * self.storage.rating_kw
        self.storage.step(self._wanted_kw(), slew_kw_per_s=slew_kw, dt_s=dt_s)
        self._publish()
        return self.storage.power_kw

    def _wanted_kw(self) -> float:
        """Of the powers that the limits in force allow, the one nearest to rest."""
        in_force = round(self.registers.get(STORAGE, "StorCtl_Mod"))
        rating_kw = self.storage.rating_kw
        most_kw = self._limit("OutWRte") if in_force & _DISCHARGE_LIMITED else rating_kw
        least_kw = -self._limit("InWRte") if in_force & _CHARGE_LIMITED else -rating_kw
        return min(most_kw, max(least_kw, 0.0))

    def _limit(self, name: str) -> float:
        return self.registers.get(STORAGE, name) / 100.0 * self.storage.rating_kw

    def _publish(self) -> None:
        power_kw = self.storage.power_kw
        self.registers.put(MEASUREMENT, "W", self._sign * power_kw * W_PER_KW)
        self.registers.put(STORAGE, "ChaState", 100.0 * self.storage.soc)
        status = _HOLDING if power_kw == 0 else _DISCHARGING if power_kw > 0 else _CHARGING
        self.registers.put(STORAGE, "ChaSt", status)


def _registers(storage: Storage, site_id: str) -> RegisterMap:
    rating_w, capacity_wh = storage.rating_kw * W_PER_KW, storage.capacity_kwh * W_PER_KW
    power_sf, energy_sf = exponent_for(1.5 * rating_w, _INT16), exponent_for(capacity_wh, _INT16)
    rating, capacity = round(rating_w / 10**power_sf), round(capacity_wh / 10**energy_sf)
    values: dict[int, dict[str, int | str]] = {
        1: common_model("Simulated basic battery", site_id),
        MEASUREMENT: {"St": _ON_LOAD, "W": 0, "W_SF": power_sf, "Evt1": 0, "Evt2": 0},
        NAMEPLATE: {
            "DERTyp": 82,
            "WRtg": rating,
            "WRtg_SF": power_sf,
            "WHRtg": capacity,
            "WHRtg_SF": energy_sf,
            "MaxDisChaRte": rating,
            "MaxDisChaRte_SF": power_sf,
            "MaxChaRte": rating,
            "MaxChaRte_SF": power_sf,
        },
        STORAGE: {
            "WChaMax": rating,
            "WChaMax_SF": power_sf,
            "StorCtl_Mod": 0,
            "ChaState_SF": -2,
            "InOutWRte_SF": -2,
            "WChaGra": _SLEW_PCT_PER_S,
            "WDisChaGra": _SLEW_PCT_PER_S,
            "WChaDisChaGra_SF": 0,
            **dict.fromkeys(("OutWRte", "InWRte"), 10000),
            **dict.fromkeys(("InOutWRte_WinTms", "InOutWRte_RvrtTms", "InOutWRte_RmpTms"), 0),
            "ChaGriSet": _GRID,
        },
    }
    return RegisterMap(values, _WRITABLE)
