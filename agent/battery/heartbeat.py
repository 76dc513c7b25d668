"""Heartbeats between a controller and a battery: SunSpec 715 (ControllerHb, DERHb) and 802 (CtrlHb, Hb).

Each second the controller counts up a register, by which the battery knows that it is watched, and the battery counts
up its own. A battery whose count stands still shows values of a controller that hangs: that is an alarm.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from sunspec2.modbus.modbus import ModbusClientException

from agent.battery.observation import BANK, MASTER

STILL_AFTER = 5
"""Looks in a row, a second apart, that found the battery's count where it was."""

_WRAP = 0xFFFF
"""Counts go back to 0 here: the outermost pattern of 16 bits means "not implemented"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registers:
    model: int
    ours: str
    theirs: str


_REGISTERS = (
    _Registers(model=MASTER, ours="ControllerHb", theirs="DERHb"),
    _Registers(model=BANK, ours="CtrlHb", theirs="Hb"),
)


class Heartbeat:
    """Both directions, in each model that the battery has of them; each of the two calls once a second."""

    def __init__(self) -> None:
        self._count = 0
        self._seen: dict[int, int] = {}
        self._still: dict[int, int] = {}
        self._refused: set[int] = set()

    def beat(self, device: Any) -> None:
        """Count up ours; raises what pysunspec2 raises."""
        self._count = (self._count + 1) % _WRAP
        for registers in _REGISTERS:
            if registers.model in device.models:
                self._write(device.models[registers.model][0].points[registers.ours], registers.model)

    def look(self, device: Any) -> None:
        """At theirs, as it was just read with the rest of the battery."""
        for registers in _REGISTERS:
            if registers.model in device.models:
                self._compare(device.models[registers.model][0].points[registers.theirs].value, registers.model)

    def alarms(self) -> tuple[str, ...]:
        """What a person should look at."""
        still = tuple(
            f"its heartbeat stands still ({registers.model} {registers.theirs}): its controller may hang"
            for registers in _REGISTERS
            if self._still.get(registers.model, 0) >= STILL_AFTER
        )
        return still + tuple(
            f"it takes no heartbeat ({registers.model} {registers.ours}): it may stop by itself"
            for registers in _REGISTERS
            if registers.model in self._refused
        )

    def _write(self, point: Any, model: int) -> None:
        if point.value is None:
            return
        point.value = self._count
        self._refused.add(model)
        # It answers, and refuses: read it all the same.
        with contextlib.suppress(ModbusClientException):
            point.write()
            self._refused.discard(model)

    def _compare(self, count: int | None, model: int) -> None:
        if count is None:
            return
        self._still[model] = self._still.get(model, 0) + 1 if self._seen.get(model) == count else 0
        self._seen[model] = count
