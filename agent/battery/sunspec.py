"""A SunSpec battery (models 701, 702, 704 and 713) over Modbus TCP.

It is used only behind its own dead-man: WSetRvrtTms after the last set-point its reversion turns WSetEna off. Those
values are written and read back on each connection before a set-point goes out on it, because a battery that was
gone may have restarted without them; every set-point renews the timer and reads all of it back, because a gateway
before the battery may have kept the connection meanwhile. Reference: SunSpec DER Information Model, model 704, and
IEEE 1547-2018.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sunspec2.modbus.modbus import ModbusClientException

from agent.battery.device import REVERT_AFTER_S
from agent.control.readings import BatteryReading
from agent.errors import BatteryError, BatteryUnsafeError
from agent.modbus import SunSpecDevice, SunSpecError
from grid.units import W_PER_KW

MEASUREMENT, RATINGS, CONTROL, CAPACITY = 701, 702, 704, 713

_ON, _OFF = 1, 0
_WATTS_MODE = 1
_DEAD_MAN = {"WSetRvrt": 0, "WSetEnaRvrt": _OFF, "WSetRvrtTms": REVERT_AFTER_S}
# What it is set to, else what it was built for.
_MOST_DISCHARGE = ("WDisChaRteMax", "WDisChaRteMaxRtg", "WMax", "WMaxRtg")
_MOST_CHARGE = ("WChaRteMax", "WChaRteMaxRtg", "WMax", "WMaxRtg")

T = TypeVar("T")


class SunSpecBattery:
    """Discharge positive here, whatever sign the vendor gave W and WSet."""

    def __init__(self, host: str, port: int, unit: int, *, discharge_positive: bool = True) -> None:
        self._device = SunSpecDevice(host, port, unit)
        self._sign = 1.0 if discharge_positive else -1.0
        self._armed = False
        """On the connection there is now."""
        self._commanded = True
        """Until it was released once: a process before this one may have left a set-point."""

    async def read(self) -> BatteryReading:
        """Power, charge and ratings. Raises BatteryError."""
        return await self._call(self._read)

    async def arm(self) -> None:
        """Write the dead-man and read it back. Raises BatteryUnsafeError when it was not taken."""
        self._armed = False
        await self._call(_arm)
        self._armed = True

    async def set_power(self, power_kw: float) -> None:
        """Hold ``power_kw`` and renew the dead-man. Raises BatteryError, also when it has to be armed again first."""
        if not self._armed:
            raise BatteryError("the battery's dead-man is not armed on this connection: arm it before a set-point")
        self._commanded = True
        watts = self._sign * power_kw * W_PER_KW
        try:
            await self._call(lambda device: _set(device, watts))
        except BatteryError:
            self._armed = False
            raise

    async def release(self) -> None:
        """WSetEna off, once. Raises BatteryError."""
        if self._commanded:
            await self._call(_disable)
            self._commanded = False

    async def close(self) -> None:
        """Hang up; a set-point left in force ends by the dead-man."""
        await self._device.close()

    async def _call(self, request: Callable[[Any], T]) -> T:
        try:
            return await self._device.call(request)
        except SunSpecError as error:
            self._armed = False
            raise BatteryError(f"battery {error}: check its address in [battery] and its network") from error

    def _read(self, device: Any) -> BatteryReading:
        measurement, ratings, capacity = (_model(device, n) for n in (MEASUREMENT, RATINGS, CAPACITY))
        measurement.W.read()
        ratings.read()
        capacity.read()
        return BatteryReading(
            power_kw=self._sign * _value(measurement, "W") / W_PER_KW,
            soc_pct=_value(capacity, "SoC"),
            energy_kwh=_value(capacity, "WHRtg") / W_PER_KW,
            max_discharge_kw=_value(ratings, *_MOST_DISCHARGE) / W_PER_KW,
            max_charge_kw=_value(ratings, *_MOST_CHARGE) / W_PER_KW,
        )


def _arm(device: Any) -> None:
    control = _control(device)
    for name, value in _DEAD_MAN.items():
        point = control.points[name]
        if point.value is None:
            raise BatteryUnsafeError(f"the battery has no {name}: without a dead-man it is not used")
        point.cvalue = value
        # A refused write is judged as any other: by what reads back.
        with contextlib.suppress(ModbusClientException):
            point.write()
    control.read()
    if wrong := _not_as(control, _DEAD_MAN):
        raise BatteryUnsafeError(f"the battery took no dead-man, {wrong}: it is not used")


def _set(device: Any, watts: float) -> None:
    control = _control(device)
    # They lie side by side and go out as one write: there is no moment with only some of them in force.
    control.WSetEna.value = _ON
    control.WSetMod.value = _WATTS_MODE
    control.WSet.cvalue = watts
    control.write()
    control.read()
    wrong = _not_as(control, {**_DEAD_MAN, "WSetEna": _ON})
    if not wrong and control.WSetRvrtRem.cvalue == 0:
        wrong = "it shows WSetRvrtRem 0 though its timer should run"
    if wrong:
        _disable(device)
        raise BatteryError(
            f"the battery is not behind its dead-man, {wrong}: the set-point is taken back, it is armed anew"
        )


def _not_as(control: Any, wanted: Mapping[str, int]) -> str:
    """What it shows instead; empty when it shows all of it."""
    return ", ".join(
        f"it shows {name} {shown} for {value}"
        for name, value in wanted.items()
        if (shown := control.points[name].cvalue) != value
    )


def _disable(device: Any) -> None:
    if CONTROL not in device.models:
        return  # it holds no set-point either
    control = _control(device)
    control.WSetEna.value = _OFF
    control.WSetEna.write()


def _control(device: Any) -> Any:
    if CONTROL not in device.models:
        raise BatteryUnsafeError("the battery has no SunSpec model 704: it takes no set-point and no dead-man")
    return device.models[CONTROL][0]


def _model(device: Any, number: int) -> Any:
    if number not in device.models:
        raise BatteryError(f"the battery has no SunSpec model {number}: it is not a storage this agent can use")
    return device.models[number][0]


def _value(model: Any, *names: str) -> float:
    """The first of these points that the battery has."""
    for name in names:
        if (value := model.points[name].cvalue) is not None:
            return float(value)
    raise BatteryError(f"the battery shows no {names[0]}: it is not a storage this agent can use")
