"""The site's battery as a SunSpec device: models 1, 701, 702, 704 and 713, with a bank 715 and 802 as well.

Model 704's active power set-point works as IEEE 1547-2018 and SunSpec describe it, its reversion timer included:
every write of the set-point or its enable starts WSetRvrtTms anew, and when nobody renews it in time the battery
takes over WSetEnaRvrt, WSetRvrt and WSetPctRvrt. That dead-man needs no network and no controller. Disabled, the
battery rests. W, WSet and WSetPct are positive for discharge unless the settings say that the vendor does otherwise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime

from agent.simulation.registers import RegisterMap, common_model, exponent_for
from agent.simulation.scenario import Scenario
from agent.simulation.storage import Storage
from grid.clock import Clock
from grid.units import SECONDS_PER_HOUR, W_PER_KW

MEASUREMENT, RATINGS, CONTROL, CAPACITY = 701, 702, 704, 713
MASTER, BANK = 715, 802

_SETPOINT = ("WSetEna", "WSetMod", "WSet", "WSetPct")
_REVERSION = ("WSetRvrt", "WSetPctRvrt", "WSetEnaRvrt", "WSetRvrtTms")
_WRITABLE = tuple((CONTROL, name) for name in (*_SETPOINT, *_REVERSION, "WRmp"))
_RENEWS = {(CONTROL, name) for name in ("WSetEna", "WSet", "WSetPct", "WSetRvrtTms")}
_CARRIES_POWER = {(CONTROL, "WSet"), (CONTROL, "WSetPct")}

_INT16, _UINT16 = 32767, 65534
_VOLTS, _VOLTS_LINE, _HZ = 277.0, 480.0, 60.0
_WATTS_MODE = 1
_FIXED_W = 1 << 1
_SLEW_PCT_PER_S = 100
_WRITES_KEPT = 4096
_RUNNING, _FAULT = 3, 6
_CONNECTED, _BANK_FAULT = 3, 99
_TIME_EPSILON_S = 1e-6
"""Steps of a tenth of a second do not add up exactly."""


class Battery:
    """Storage that obeys its registers."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        settings = scenario.settings.battery
        self._clock = clock
        self._sign = 1.0 if settings.discharge_positive else -1.0
        self.storage = Storage(
            rating_kw=scenario.battery_kw,
            capacity_kwh=scenario.battery_kw * settings.minutes / 60.0,
            soc=settings.initial_soc,
        )
        self._injected_wh = self._absorbed_wh = 0.0
        self._revert_in_s = math.inf
        self._writes: deque[datetime] = deque(maxlen=_WRITES_KEPT)
        self.tripped = False
        self.registers = self._build(scenario.settings.site_id)
        self._publish()

    def written(self, points: set[tuple[int, str]]) -> None:
        """A client wrote these points."""
        if points & _CARRIES_POWER:
            self._writes.append(self._clock.now())
        if points & _RENEWS:
            timeout_s = self.registers.get(CONTROL, "WSetRvrtTms")
            armed = timeout_s > 0 and self.registers.get(CONTROL, "WSetEna") == 1
            self._revert_in_s = timeout_s if armed else math.inf
            self._show_time_left()

    def first_write(self, since: datetime) -> datetime | None:
        """When a set-point was first written at or after ``since``; the last few thousand writes are kept."""
        return next((at for at in self._writes if at >= since), None)

    def step(self, dt_s: float) -> float:
        """Go on by ``dt_s``; returns the power, discharge positive. Unit: kW."""
        self._revert_in_s -= dt_s
        if self._revert_in_s <= _TIME_EPSILON_S:
            self._revert()
        if self.tripped:
            self.storage.step(0.0, slew_kw_per_s=math.inf, dt_s=dt_s)
        else:
            slew_kw = self.registers.get(CONTROL, "WRmp") / 100.0 * self.storage.rating_kw
            self.storage.step(self._setpoint_kw(), slew_kw_per_s=slew_kw, dt_s=dt_s)
        energy_wh = self.storage.power_kw * W_PER_KW * dt_s / SECONDS_PER_HOUR
        self._injected_wh += max(0.0, energy_wh)
        self._absorbed_wh += max(0.0, -energy_wh)
        self._publish()
        return self.storage.power_kw

    def trip(self) -> None:
        """Open its contactor on a fault; it stays so until ``reset``."""
        self.tripped = True
        self.registers.put(MEASUREMENT, "InvSt", _FAULT)

    def reset(self) -> None:
        self.tripped = False
        self.registers.put(MEASUREMENT, "InvSt", _RUNNING)

    def forget_dead_man(self) -> None:
        """What a restart of its controller does: the set-point stands, and nothing ends it."""
        for name in _REVERSION:
            self.registers.put(CONTROL, name, 0)
        self._revert_in_s = math.inf
        self._show_time_left()

    def _build(self, site_id: str) -> RegisterMap:
        rating_w, capacity_wh = self.storage.rating_kw * W_PER_KW, self.storage.capacity_kwh * W_PER_KW
        values = {**_initial_values(rating_w, capacity_wh, site_id), **self._more_models()}
        registers = RegisterMap(values, (*_WRITABLE, *self._more_writable()))
        for name in ("WMaxRtg", "WChaRteMaxRtg", "WDisChaRteMaxRtg", "WMax", "WChaRteMax", "WDisChaRteMax"):
            registers.put(RATINGS, name, rating_w)
        registers.put(RATINGS, "VAMaxRtg", rating_w)
        registers.put(RATINGS, "VNomRtg", _VOLTS_LINE)
        registers.put(CAPACITY, "WHRtg", capacity_wh)
        for name, value in (("LLV", _VOLTS_LINE), ("LNV", _VOLTS), ("Hz", _HZ)):
            registers.put(MEASUREMENT, name, value)
        return registers

    def _more_models(self) -> Mapping[int, Mapping[str, int | str]]:
        """Models beyond the four, with their values."""
        return {}

    def _more_writable(self) -> tuple[tuple[int, str], ...]:
        return ()

    def _revert(self) -> None:
        """Nobody renewed the set-point in time."""
        for name, reversion in (("WSetEna", "WSetEnaRvrt"), ("WSet", "WSetRvrt"), ("WSetPct", "WSetPctRvrt")):
            self.registers.put(CONTROL, name, self.registers.get(CONTROL, reversion))
        self._revert_in_s = math.inf

    def _setpoint_kw(self) -> float:
        if self.registers.get(CONTROL, "WSetEna") != 1:
            return 0.0
        if self.registers.get(CONTROL, "WSetMod") == _WATTS_MODE:
            return self._sign * self.registers.get(CONTROL, "WSet") / W_PER_KW
        return self._sign * self.registers.get(CONTROL, "WSetPct") / 100.0 * self.storage.rating_kw

    def _publish(self) -> None:
        registers, storage = self.registers, self.storage
        watts = self._sign * storage.power_kw * W_PER_KW
        registers.put(MEASUREMENT, "W", watts)
        registers.put(MEASUREMENT, "VA", abs(watts))
        registers.put(MEASUREMENT, "A", abs(watts) / _VOLTS_LINE / math.sqrt(3))
        registers.put(MEASUREMENT, "TotWhInj", self._injected_wh)
        registers.put(MEASUREMENT, "TotWhAbs", self._absorbed_wh)
        registers.put(CAPACITY, "WHAvail", storage.energy_kwh * W_PER_KW)
        registers.put(CAPACITY, "SoC", 100.0 * storage.soc)
        self._show_time_left()

    def _show_time_left(self) -> None:
        left_s = self._revert_in_s if math.isfinite(self._revert_in_s) else 0.0
        self.registers.put(CONTROL, "WSetRvrtRem", math.ceil(left_s - _TIME_EPSILON_S))


class BankBattery(Battery):
    """A battery that also shows its bank (802) and wants a heartbeat of its controller (715)."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        self.beats = True
        """Whether its own heartbeat goes on."""
        self._uptime_s = 0.0
        super().__init__(scenario, clock)

    def step(self, dt_s: float) -> float:
        self._uptime_s += dt_s
        return super().step(dt_s)

    def trip(self) -> None:
        super().trip()
        self.registers.put(BANK, "State", _BANK_FAULT)

    def reset(self) -> None:
        super().reset()
        self.registers.put(BANK, "State", _CONNECTED)

    def _publish(self) -> None:
        super()._publish()
        self.registers.put(BANK, "SoC", 100.0 * self.storage.soc)
        self.registers.put(BANK, "W", self._sign * self.storage.power_kw * W_PER_KW)
        if self.beats:
            self.registers.put(MASTER, "DERHb", math.floor(self._uptime_s + _TIME_EPSILON_S))

    def _more_models(self) -> Mapping[int, Mapping[str, int | str]]:
        rating_w, capacity_wh = self.storage.rating_kw * W_PER_KW, self.storage.capacity_kwh * W_PER_KW
        power_sf, energy_sf = exponent_for(1.5 * rating_w, _INT16), exponent_for(capacity_wh, _UINT16)
        return {
            MASTER: {"LocRemCtl": 0, "DERHb": 0, "ControllerHb": 0, "AlarmReset": 0},
            BANK: {
                **dict.fromkeys(("LocRemCtl", "AlmRst", "Evt1", "Evt2", "EvtVnd1", "EvtVnd2", "Hb", "CtrlHb"), 0),
                "SoC_SF": -1,
                "SoH_SF": -1,
                "WHRtg_SF": energy_sf,
                "WChaDisChaMax_SF": power_sf,
                "W_SF": power_sf,
                "WHRtg": round(capacity_wh / 10**energy_sf),
                "Typ": 4,
                "State": _CONNECTED,
                **dict.fromkeys(("WChaRteMax", "WDisChaRteMax"), round(rating_w / 10**power_sf)),
                "SoCMin": 50,
                "SoCMax": 950,
                "SoH": 1000,
            },
        }

    def _more_writable(self) -> tuple[tuple[int, str], ...]:
        return (
            (MASTER, "ControllerHb"), (MASTER, "AlarmReset"), (BANK, "CtrlHb"), (BANK, "AlmRst"),
        )  # fmt: skip


def _initial_values(rating_w: float, capacity_wh: float, site_id: str) -> dict[int, dict[str, int | str]]:
    power_sf, rating_sf = exponent_for(1.5 * rating_w, _INT16), exponent_for(1.5 * rating_w, _UINT16)
    return {
        1: common_model("Simulated battery", site_id),
        MEASUREMENT: {
            "ACType": 2,
            "St": 1,
            "InvSt": 3,
            "ConnSt": 1,
            "Alrm": 0,
            "DERMode": 1,
            "Var": 0,
            "A_SF": -1,
            "V_SF": -1,
            "Hz_SF": -2,
            "W_SF": power_sf,
            "VA_SF": power_sf,
            "Var_SF": power_sf,
            "TotWh_SF": 0,
        },
        RATINGS: {"CtrlModes": _FIXED_W, "W_SF": rating_sf, "VA_SF": rating_sf, "V_SF": 0},
        CONTROL: {
            **dict.fromkeys((*_SETPOINT, *_REVERSION, "WSetRvrtRem"), 0),
            "WSetMod": _WATTS_MODE,
            "WRmp": _SLEW_PCT_PER_S,
            "WRmpRef": 1,
            "WSet_SF": 0,
            "WSetPct_SF": -1,
            "WMaxLimPctEna": 0,
            "WMaxLimPct": 1000,
            "WMaxLimPct_SF": -1,
        },
        CAPACITY: {"SoH": 10000, "Sta": 0, "WH_SF": exponent_for(capacity_wh, _UINT16), "Pct_SF": -2},
    }
