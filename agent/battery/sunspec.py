"""A SunSpec battery over Modbus TCP, by whichever models it offers.

Models are found by a scan on each connection: what they tell is put together in agent/battery/observation.py, the one
that commands it is chosen in agent/battery/control.py. It is used only behind its own dead-man, which is written and
read back on each connection before a set-point goes out on it, because a battery that was gone may have restarted
without; every set-point renews the timer and reads all of it back, because a gateway before the battery may have kept
the connection meanwhile. Reference: SunSpec DER Information Model, and IEEE 1547-2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from agent.battery.control import Control, control_of
from agent.battery.heartbeat import Heartbeat
from agent.battery.observation import Observed, observe
from agent.control.readings import BatteryReading
from agent.errors import BatteryError, BatteryUnsafeError
from agent.modbus import SunSpecDevice, SunSpecError
from grid.units import W_PER_KW

T = TypeVar("T")


class SunSpecBattery:
    """Discharge positive here, whatever sign the vendor gave W and WSet."""

    def __init__(self, host: str, port: int, unit: int, *, discharge_positive: bool = True) -> None:
        self._device = SunSpecDevice(host, port, unit)
        self._sign = 1.0 if discharge_positive else -1.0
        self._heartbeat = Heartbeat()
        self._armed = False
        """On the connection there is now."""
        self._commanded = True
        """Until it was released once: a process before this one may have left a set-point."""

    async def read(self) -> BatteryReading:
        """Power, charge, limits and state. Raises BatteryError."""
        return self._reading(await self._call(self._observe))

    async def beat(self) -> None:
        """Show it that its controller lives, where it has a heartbeat. Raises BatteryError."""
        await self._call(self._heartbeat.beat)

    async def arm(self) -> None:
        """Write the dead-man and read it back. Raises BatteryUnsafeError when it was not taken."""
        self._armed = False
        await self._call(lambda device: _control(device).arm(device))
        self._armed = True

    async def set_power(self, power_kw: float) -> None:
        """Hold ``power_kw`` and renew the dead-man. Raises BatteryError, also when it has to be armed again first."""
        if not self._armed:
            raise BatteryError("the battery's dead-man is not armed on this connection: arm it before a set-point")
        self._commanded = True
        discharge_w = power_kw * W_PER_KW
        try:
            await self._call(lambda device: _control(device).set(device, discharge_w, self._sign))
        except BatteryError:
            self._armed = False
            raise

    async def release(self) -> None:
        """Take the set-point back, once. Raises BatteryError."""
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

    def _observe(self, device: Any) -> Observed:
        seen = observe(device)
        self._heartbeat.look(device)
        return seen

    def _reading(self, seen: Observed) -> BatteryReading:
        power_w = _needed(seen.power_w, "power (W of SunSpec model 701, or 101 to 103)")
        soc_pct = _needed(seen.soc_pct, "SoC (SunSpec model 713 or 802, or ChaState of 124)")
        energy_wh = _needed(seen.energy_wh, "WHRtg (SunSpec model 713 or 802, or 120)")
        most_w = _needed(seen.max_discharge_w, "most discharge (SunSpec model 702 or 802, or 120)")
        least_w = _needed(seen.max_charge_w, "most charge (SunSpec model 702 or 802, or 120)")
        health_pct = 100.0 if seen.soh_pct is None else seen.soh_pct
        in_service = not seen.out_of_service
        limit_share = 1.0 if seen.discharge_limit_pct is None else min(1.0, seen.discharge_limit_pct / 100.0)
        return BatteryReading(
            power_kw=self._sign * power_w / W_PER_KW,
            soc_pct=soc_pct,
            energy_kwh=energy_wh / W_PER_KW * health_pct / 100.0,
            max_discharge_kw=limit_share * most_w / W_PER_KW if in_service else 0.0,
            max_charge_kw=least_w / W_PER_KW if in_service else 0.0,
            soc_min_pct=0.0 if seen.soc_min_pct is None else seen.soc_min_pct,
            soc_max_pct=100.0 if seen.soc_max_pct is None else seen.soc_max_pct,
            slew_kw_per_s=math.inf if seen.slew_pct_per_s is None else seen.slew_pct_per_s / 100.0 * most_w / W_PER_KW,
            soh_pct=seen.soh_pct,
            alarms=seen.alarms + self._heartbeat.alarms(),
            out_of_service=seen.out_of_service,
        )


def _control(device: Any) -> Control:
    control = control_of(device)
    if control is None:
        raise BatteryUnsafeError(
            "the battery has no SunSpec model 704 and no 124: it takes no set-point and no dead-man"
        )
    return control


def _disable(device: Any) -> None:
    control = control_of(device)
    if control is not None:  # else it holds no set-point either
        control.disable(device)


def _needed(value: float | None, name: str) -> float:
    if value is None:
        raise BatteryError(f"the battery shows no {name}: it is not a storage this agent can use")
    return value
