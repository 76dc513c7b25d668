"""From a battery's readings, one after the other, to what happened: alarms that came and went, trips and returns.

Pure; whoever reads the battery each second hands the reading over and records what comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.control.readings import BatteryReading


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRaised:
    alarm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCleared:
    alarm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """It gives and takes nothing from now on."""

    why: tuple[str, ...]
    lost_kw: float
    """What it gave when it was last read, discharge > 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """It can be commanded again."""


BatteryEvent = AlarmRaised | AlarmCleared | Tripped | Returned


class BatteryWatch:
    """Compares each reading with the one before it."""

    def __init__(self) -> None:
        self._alarms: tuple[str, ...] = ()
        self._in_service = True
        self._power_kw = 0.0

    def seen(self, reading: BatteryReading) -> tuple[BatteryEvent, ...]:
        """What happened between the reading before and this one."""
        raised = [AlarmRaised(alarm=alarm) for alarm in reading.alarms if alarm not in self._alarms]
        cleared = [AlarmCleared(alarm=alarm) for alarm in self._alarms if alarm not in reading.alarms]
        in_service = not reading.out_of_service
        change: list[BatteryEvent] = []
        if self._in_service and not in_service:
            change.append(Tripped(why=reading.out_of_service, lost_kw=self._power_kw))
        elif in_service and not self._in_service:
            change.append(Returned())
        self._alarms, self._in_service, self._power_kw = reading.alarms, in_service, reading.power_kw
        return (*change, *raised, *cleared)
