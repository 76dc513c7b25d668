"""A SunSpec battery (models 701, 702, 704 and 713) over Modbus TCP.

It is used only behind its own dead-man: WSetRvrtTms after the last set-point it goes to WSetRvrt, which is nothing.
Those values are written and read back before the first set-point; every later set-point renews them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.control.readings import BatteryReading
from agent.errors import BatteryError, BatteryUnsafeError
from agent.modbus import SunSpecDevice, SunSpecError
from grid.units import W_PER_KW

MEASUREMENT, RATINGS, CONTROL, CAPACITY = 701, 702, 704, 713
REVERT_AFTER_S = 10
_WATTS_MODE = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """A point and the value it must read back."""

    name: str
    value: float


_DEAD_MAN = (
    _Point(name="WSetRvrt", value=0),
    _Point(name="WSetEnaRvrt", value=0),
    _Point(name="WSetRvrtTms", value=REVERT_AFTER_S),
)


class SunSpecBattery:
    """Discharge positive here, whatever sign the vendor gave WSet."""

    def __init__(self, host: str, port: int, unit: int, *, discharge_positive: bool = True) -> None:
        self._device = SunSpecDevice(host, port, unit)
        self._sign = 1.0 if discharge_positive else -1.0
        self._commanded = True
        """Until it was released once: a process before this one may have left a set-point."""

    async def read(self) -> BatteryReading:
        """Power, charge and ratings. Raises BatteryError."""
        return await self._call(self._read)

    async def arm(self) -> None:
        """Write the dead-man and read it back. Raises BatteryUnsafeError when it was not taken."""
        await self._call(_arm)

    async def set_power(self, power_kw: float) -> None:
        """Hold ``power_kw`` and renew the dead-man. Raises BatteryError."""
        self._commanded = True
        watts = self._sign * power_kw * W_PER_KW
        await self._call(lambda device: _set(device, watts))

    async def release(self) -> None:
        """WSetEna off, once. Raises BatteryError."""
        if self._commanded:
            await self._call(_disable)
            self._commanded = False

    async def close(self) -> None:
        await self._device.close()

    async def _call(self, request: Callable[[Any], T]) -> T:
        try:
            return await self._device.call(request)
        except SunSpecError as error:
            raise BatteryError(f"battery {error}: check its address in [battery] and its network") from error

    def _read(self, device: Any) -> BatteryReading:
        for number in (MEASUREMENT, RATINGS, CAPACITY):
            if number not in device.models:
                raise BatteryError(f"the battery has no SunSpec model {number}: it is not a storage this agent can use")
        measurement, ratings, capacity = (device.models[n][0] for n in (MEASUREMENT, RATINGS, CAPACITY))
        for model in (measurement, capacity):
            model.read()
        return BatteryReading(
            power_kw=self._sign * measurement.W.cvalue / W_PER_KW,
            soc_pct=float(capacity.SoC.cvalue),
            energy_kwh=capacity.WHRtg.cvalue / W_PER_KW,
            max_discharge_kw=ratings.WDisChaRteMax.cvalue / W_PER_KW,
            max_charge_kw=ratings.WChaRteMax.cvalue / W_PER_KW,
        )


def _arm(device: Any) -> None:
    control = _control(device)
    for point in _DEAD_MAN:
        target = getattr(control, point.name)
        if target.value is None:
            raise BatteryUnsafeError(f"the battery has no {point.name}: without a dead-man it is not used")
        target.cvalue = point.value
        target.write()
    control.read()
    for point in _DEAD_MAN:
        if getattr(control, point.name).cvalue != point.value:
            raise BatteryUnsafeError(f"the battery did not take {point.name} {point.value}: it is not used")


def _set(device: Any, watts: float) -> None:
    control = _control(device)
    control.WSet.cvalue = round(watts)
    control.WSet.write()
    if control.WSetEna.value != 1 or control.WSetMod.value != _WATTS_MODE:
        control.WSetMod.value = _WATTS_MODE
        control.WSetMod.write()
        control.WSetEna.value = 1
        control.WSetEna.write()
    control.WSetEna.read()  # a dead-man that struck is noticed at the next set-point


def _disable(device: Any) -> None:
    control = _control(device)
    control.WSetEna.value = 0
    control.WSetEna.write()


def _control(device: Any) -> Any:
    if CONTROL not in device.models:
        raise BatteryUnsafeError("the battery has no SunSpec model 704: it takes no set-point and no dead-man")
    return device.models[CONTROL][0]
