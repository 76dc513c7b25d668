"""What each SunSpec model tells of a battery, and how several of them make one picture.

A battery offers some of these models, new or legacy; every model that the scan found is read by its own small class,
in the order of READERS. Of what several tell the first counts, but of limits the tightest, since each device of the
chain (inverter, bank) keeps its own. Power carries the vendor's sign here. Reference: SunSpec DER Information Models
(701 to 715), Energy Storage Models (802), Inverter Models (101 to 103) and Inverter Control Models (120, 124).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

from agent.modbus import read_head

MEASUREMENT, RATINGS, CONTROL, CAPACITY, MASTER = 701, 702, 704, 713, 715
BANK = 802
NAMEPLATE, STORAGE = 120, 124

# What it is set to, else what it was built for.
_MOST_DISCHARGE = ("WDisChaRteMax", "WDisChaRteMaxRtg", "WMax", "WMaxRtg")
_MOST_CHARGE = ("WChaRteMax", "WChaRteMaxRtg", "WMax", "WMaxRtg")
_LOCAL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a model told; None where it tells nothing of it."""

    power_w: float | None = None
    """In the vendor's sign."""
    soc_pct: float | None = None
    soc_min_pct: float | None = None
    soc_max_pct: float | None = None
    soh_pct: float | None = None
    energy_wh: float | None = None
    """When it was new and full."""
    max_discharge_w: float | None = None
    max_charge_w: float | None = None
    slew_pct_per_s: float | None = None
    """Of its rating."""
    discharge_limit_pct: float | None = None
    """Of its rating: what somebody limits its output to."""
    alarms: tuple[str, ...] = ()
    out_of_service: tuple[str, ...] = ()
    """Why it gives and takes nothing; empty when it does."""


_TIGHTEST: Mapping[str, Callable[[list[float]], float]] = {
    "max_discharge_w": min,
    "max_charge_w": min,
    "soc_min_pct": max,
    "soc_max_pct": min,
}


def observe(device: Any) -> Observed:
    """Read every model of READERS that the device has."""
    told = [reader.read(device.models[reader.number][0]) for reader in READERS if reader.number in device.models]
    return Observed(**{field.name: _combined(field.name, told) for field in fields(Observed)})


def _combined(name: str, told: list[Observed]) -> Any:
    values = [value for each in told if (value := getattr(each, name)) is not None]
    if name in ("alarms", "out_of_service"):
        return tuple(line for lines in values for line in lines)
    if not values:
        return None
    return _TIGHTEST[name](values) if name in _TIGHTEST else values[0]


class Reader(Protocol):
    """One model's part of the picture."""

    @property
    def number(self) -> int:
        """Of the model."""

    def read(self, model: Any) -> Observed:
        """Read the device; raises what pysunspec2 raises."""


class MeasurementReader:
    """701: power, state and alarms at the AC side."""

    number: ClassVar[int] = MEASUREMENT
    _FAULT, _DISCONNECTED = 6, 0

    def read(self, model: Any) -> Observed:
        read_head(model, "W")
        reasons = {"fault (701 InvSt)": _is(model, "InvSt", self._FAULT)}
        reasons["disconnected (701 ConnSt)"] = _is(model, "ConnSt", self._DISCONNECTED)
        return Observed(power_w=value_of(model, "W"), alarms=_alarms(model, "Alrm"), out_of_service=_holding(reasons))


class InverterReader:
    """101, 102 and 103: the same of an inverter of the first generation."""

    _FAULT = 7

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self, model: Any) -> Observed:
        model.read()
        return Observed(
            power_w=value_of(model, "W"),
            alarms=_alarms(model, "Evt1"),
            out_of_service=_holding({f"fault ({self.number} St)": _is(model, "St", self._FAULT)}),
        )


class RatingsReader:
    """702: what it gives and takes at the AC side."""

    number: ClassVar[int] = RATINGS

    def read(self, model: Any) -> Observed:
        model.read()
        return Observed(max_discharge_w=value_of(model, *_MOST_DISCHARGE), max_charge_w=value_of(model, *_MOST_CHARGE))


class ControlReader:
    """704: how fast it follows a set-point, and whether its output is limited besides."""

    number: ClassVar[int] = CONTROL
    _ENABLED = 1

    def read(self, model: Any) -> Observed:
        model.read()
        limited = _is(model, "WMaxLimPctEna", self._ENABLED)
        return Observed(
            # 0 is what devices show that have no ramp of their own.
            slew_pct_per_s=value_of(model, "WRmp") or None,
            discharge_limit_pct=value_of(model, "WMaxLimPct") if limited else None,
        )


class CapacityReader:
    """713: charge, health and status."""

    number: ClassVar[int] = CAPACITY
    _WARNING, _ERROR = 1, 2

    def read(self, model: Any) -> Observed:
        model.read()
        return Observed(
            soc_pct=value_of(model, "SoC"),
            soh_pct=value_of(model, "SoH"),
            energy_wh=value_of(model, "WHRtg"),
            alarms=_holding({"warning (713 Sta)": _is(model, "Sta", self._WARNING)}),
            out_of_service=_holding({"error (713 Sta)": _is(model, "Sta", self._ERROR)}),
        )


class MasterReader:
    """715: who commands it; its heartbeat is read along."""

    number: ClassVar[int] = MASTER

    def read(self, model: Any) -> Observed:
        model.read()
        return Observed(
            out_of_service=_holding({"under local control (715 LocRemCtl)": _is(model, "LocRemCtl", _LOCAL)})
        )


class BankReader:
    """802: the bank behind the inverter; its limits of charge are the maker's or the tighter ones set on site."""

    number: ClassVar[int] = BANK
    _DISCONNECTED, _FAULT = 1, 99

    def read(self, model: Any) -> Observed:
        model.read()
        lowest = [v for v in (value_of(model, "SoCMin"), value_of(model, "SoCRsvMin")) if v is not None]
        highest = [v for v in (value_of(model, "SoCMax"), value_of(model, "SocRsvMax")) if v is not None]
        reasons = {
            "fault (802 State)": _is(model, "State", self._FAULT),
            "disconnected (802 State)": _is(model, "State", self._DISCONNECTED),
            "under local control (802 LocRemCtl)": _is(model, "LocRemCtl", _LOCAL),
        }
        return Observed(
            soc_pct=value_of(model, "SoC"),
            soc_min_pct=max(lowest, default=None),
            soc_max_pct=min(highest, default=None),
            soh_pct=value_of(model, "SoH"),
            energy_wh=value_of(model, "WHRtg"),
            max_discharge_w=value_of(model, "WDisChaRteMax"),
            max_charge_w=value_of(model, "WChaRteMax"),
            alarms=_alarms(model, "Evt1", "Evt2", "EvtVnd1", "EvtVnd2"),
            out_of_service=_holding(reasons),
        )


class NameplateReader:
    """120: what a device of the first generation was built for."""

    number: ClassVar[int] = NAMEPLATE

    def read(self, model: Any) -> Observed:
        model.read()
        return Observed(
            energy_wh=value_of(model, "WHRtg"),
            max_discharge_w=value_of(model, "MaxDisChaRte", "WRtg"),
            max_charge_w=value_of(model, "MaxChaRte", "WRtg"),
        )


class StorageReader:
    """124: charge, and what it may take."""

    number: ClassVar[int] = STORAGE
    _OFF, _FROM_PV_ONLY = 1, 0

    def read(self, model: Any) -> Observed:
        model.read()
        from_grid = not _is(model, "ChaGriSet", self._FROM_PV_ONLY)
        return Observed(
            soc_pct=value_of(model, "ChaState"),
            soc_min_pct=value_of(model, "MinRsvPct"),
            max_charge_w=value_of(model, "WChaMax") if from_grid else 0.0,
            slew_pct_per_s=value_of(model, "WDisChaGra") or None,
            out_of_service=_holding({"off (124 ChaSt)": _is(model, "ChaSt", self._OFF)}),
        )


READERS: tuple[Reader, ...] = (
    MeasurementReader(),
    RatingsReader(),
    ControlReader(),
    CapacityReader(),
    MasterReader(),
    BankReader(),
    InverterReader(103),
    InverterReader(102),
    InverterReader(101),
    NameplateReader(),
    StorageReader(),
)


def value_of(model: Any, *names: str) -> float | None:
    """The first of these points that the device has."""
    for name in names:
        if (value := model.points[name].cvalue) is not None:
            return float(value)
    return None


def _is(model: Any, name: str, value: int) -> bool:
    return bool(model.points[name].value == value)


def _holding(reasons: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(reason for reason, holds in reasons.items() if holds)


def _alarms(model: Any, *names: str) -> tuple[str, ...]:
    """The bits that are set, by the names SunSpec gives them."""
    return tuple(
        f"{symbols.get(bit, f'bit {bit}')} ({model.model_id} {name})"
        for name in names
        if (bits := model.points[name].value)
        for symbols in [{symbol["value"]: symbol["name"] for symbol in model.points[name].pdef.get("symbols", ())}]
        for bit in range(bits.bit_length())
        if bits >> bit & 1
    )
