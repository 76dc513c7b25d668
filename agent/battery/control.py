"""How a SunSpec battery is commanded: by model 704, or by 124 where that is all it has.

Both are used only behind their own dead-man. ``arm`` writes it and reads it back; ``set`` writes a set-point and
reads back that it stands and that the dead-man is as armed, else it takes the set-point back. Of the models a battery
has, the first in CONTROLS commands it. Reference: SunSpec DER Information Model, 704, and Inverter Control Models, 124.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from sunspec2.modbus.modbus import ModbusClientException

from agent.battery.device import REVERT_AFTER_S
from agent.battery.observation import CONTROL, NAMEPLATE, STORAGE, value_of
from agent.errors import BatteryError, BatteryUnsafeError


class Control(Protocol):
    """One model that takes a power."""

    number: ClassVar[int]

    def arm(self, device: Any) -> None:
        """Raises BatteryUnsafeError when it takes no dead-man."""

    def set(self, device: Any, discharge_w: float, vendor_sign: float) -> None:
        """Hold this power and renew the dead-man; ``vendor_sign`` is -1 where the vendor counts charging positive."""

    def disable(self, device: Any) -> None:
        """Take the set-point back."""


class SetPointControl:
    """704: WSet in watts; WSetRvrtTms after the last one its reversion turns WSetEna off."""

    number: ClassVar[int] = CONTROL
    _ON, _OFF, _WATTS_MODE = 1, 0, 1
    _DEAD_MAN: ClassVar[Mapping[str, int]] = {"WSetRvrt": 0, "WSetEnaRvrt": 0, "WSetRvrtTms": REVERT_AFTER_S}

    def arm(self, device: Any) -> None:
        _write_dead_man(device.models[self.number][0], self._DEAD_MAN)

    def set(self, device: Any, discharge_w: float, vendor_sign: float) -> None:
        control = device.models[self.number][0]
        # They lie side by side and go out as one write: there is no moment with only some of them in force.
        control.WSetEna.value = self._ON
        control.WSetMod.value = self._WATTS_MODE
        control.WSet.cvalue = vendor_sign * discharge_w
        control.write()
        control.read()
        wrong = _not_as(control, {**self._DEAD_MAN, "WSetEna": self._ON})
        if not wrong and control.WSetRvrtRem.cvalue == 0:
            wrong = "it shows WSetRvrtRem 0 though its timer should run"
        if wrong:
            self.disable(device)
            raise BatteryError(_TAKEN_BACK.format(wrong))

    def disable(self, device: Any) -> None:
        control = device.models[self.number][0]
        control.WSetEna.value = self._OFF
        control.WSetEna.write()


class WindowControl:
    """124: the window [-InWRte, OutWRte] closed on one power; InOutWRte_RvrtTms after the last one it opens again.

    A negative limit forces the other direction, as Fronius documents it; a device that refuses one is not commanded.
    Which way the points mean is in their names: no vendor's sign applies.
    """

    number: ClassVar[int] = STORAGE
    _BOTH_LIMITS, _NONE = 3, 0
    _DEAD_MAN: ClassVar[Mapping[str, int]] = {"InOutWRte_RvrtTms": REVERT_AFTER_S}

    def arm(self, device: Any) -> None:
        _write_dead_man(device.models[self.number][0], self._DEAD_MAN)

    def set(self, device: Any, discharge_w: float, vendor_sign: float) -> None:
        del vendor_sign
        control = device.models[self.number][0]
        charge_rating_w = _rating_w(value_of(control, "WChaMax"))
        nameplate = device.models[NAMEPLATE][0] if NAMEPLATE in device.models else None
        of_nameplate_w = None if nameplate is None else value_of(nameplate, "MaxDisChaRte")
        discharge_rating_w = charge_rating_w if of_nameplate_w is None else _rating_w(of_nameplate_w)
        control.OutWRte.cvalue = 100.0 * discharge_w / discharge_rating_w
        control.InWRte.cvalue = -100.0 * discharge_w / charge_rating_w
        # At once, and with the timer beside them in one write; what the device does not have is left out of it.
        for name, value in {"InOutWRte_WinTms": 0, **self._DEAD_MAN, "InOutWRte_RmpTms": 0}.items():
            if control.points[name].value is not None:
                control.points[name].value = value
        wanted = {name: control.points[name].cvalue for name in ("OutWRte", "InWRte")}
        control.write()
        control.StorCtl_Mod.value = self._BOTH_LIMITS
        control.StorCtl_Mod.write()
        control.read()
        if wrong := _not_as(control, {**self._DEAD_MAN, **wanted, "StorCtl_Mod": self._BOTH_LIMITS}):
            self.disable(device)
            raise BatteryError(_TAKEN_BACK.format(wrong))

    def disable(self, device: Any) -> None:
        control = device.models[self.number][0]
        control.StorCtl_Mod.value = self._NONE
        control.StorCtl_Mod.write()


CONTROLS: tuple[Control, ...] = (SetPointControl(), WindowControl())

_TAKEN_BACK = "the battery is not behind its dead-man, {}: the set-point is taken back, it is armed anew"


def control_of(device: Any) -> Control | None:
    """What commands this battery; None when nothing does."""
    return next((control for control in CONTROLS if control.number in device.models), None)


def _write_dead_man(control: Any, dead_man: Mapping[str, int]) -> None:
    for name, value in dead_man.items():
        point = control.points[name]
        if point.value is None:
            raise BatteryUnsafeError(f"the battery has no {name}: without a dead-man it is not used")
        point.cvalue = value
        # A refused write is judged as any other: by what reads back.
        with contextlib.suppress(ModbusClientException):
            point.write()
    control.read()
    if wrong := _not_as(control, dead_man):
        raise BatteryUnsafeError(f"the battery took no dead-man, {wrong}: it is not used")


def _not_as(control: Any, wanted: Mapping[str, float]) -> str:
    """What it shows instead; empty when it shows all of it."""
    return ", ".join(
        f"it shows {name} {shown} for {value}"
        for name, value in wanted.items()
        if (shown := control.points[name].cvalue) != value
    )


def _rating_w(rating_w: float | None) -> float:
    if not rating_w:
        raise BatteryError("the battery shows no rating (124 WChaMax): a share of it cannot be commanded")
    return rating_w
