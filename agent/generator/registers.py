"""A generator's register map, for gensets whose controller can be given one.

There is no standard: SunSpec has no model of an engine, and each maker of controllers its own map, most of which can
be re-mapped. This one asks for what the site agent needs and nothing else. Holding registers from 0 on, high word
first; state, power and hours are read in one request, the command is written in one. Whatever else asks the engine to
run (a transfer switch in an outage, a person at its panel) does so beside Run and outranks it.

| address | point | type | |
|---|---|---|---|
| 0 | MapId | uint16 | 0x4E47: this map |
| 1 | MapVersion | uint16 | 1 |
| 2 | State | uint16 | 0 off, 1 cranking, 2 ready, 3 loaded, 4 cooling down, 5 fault |
| 3 | Alarms | bits 16 | by the names below |
| 4 | RemoteStart | uint16 | 1: in automatic, takes a start |
| 5 | Breaker | uint16 | 1: closed |
| 6 | Power | int32, W | at its terminals |
| 8 | Rating | uint32, W | |
| 10 | RunTime | uint32, s | its hour meter |
| 20 | Run | uint16, written | 1 asks it to run; 0 withdraws that, and no more |
| 21 | SetPoint | uint32, W, written | |
| 23 | Watchdog | uint16, s, written | Run falls to 0 when nobody writes for so long |
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.registers import RegisterPoint

MAP_ID, MAP_VERSION = 0x4E47, 1

POINTS: Mapping[str, RegisterPoint] = {
    "MapId": RegisterPoint(address=0),
    "MapVersion": RegisterPoint(address=1),
    "State": RegisterPoint(address=2),
    "Alarms": RegisterPoint(address=3),
    "RemoteStart": RegisterPoint(address=4),
    "Breaker": RegisterPoint(address=5),
    "Power": RegisterPoint(address=6, words=2, signed=True),
    "Rating": RegisterPoint(address=8, words=2),
    "RunTime": RegisterPoint(address=10, words=2),
    "Run": RegisterPoint(address=20),
    "SetPoint": RegisterPoint(address=21, words=2),
    "Watchdog": RegisterPoint(address=23),
}
STATUS = (0, 12)
"""First register and how many: everything that is read."""
COMMAND = (20, 4)
"""The same of what is written: Run, SetPoint, Watchdog."""
WRITTEN = ("Run", "SetPoint", "Watchdog")

# NFPA 110's list of what an emergency power supply must tell.
ALARMS = (
    "overcrank",
    "low oil pressure",
    "high coolant temperature",
    "overspeed",
    "low fuel",
    "breaker failed to close",
    "emergency stop",
    "not in automatic",
)
"""By bit."""
