"""A generator set behind the agent's own register map: cranks, fails to start as often as told, loads on a ramp.

Its controller obeys Run and SetPoint, and withdraws Run when nobody renewed it for the watchdog's time. A transfer
switch may ask for it too, with the load of its bus. The hour
meter counts while the engine turns. A trip, or the last of the cranks that fail, is a fault that a withdrawn run
command resets.
"""

from __future__ import annotations

import math

from agent.generator.device import EngineState
from agent.generator.registers import MAP_ID, MAP_VERSION, POINTS, WRITTEN
from agent.simulation.registers import PlainRegisters
from grid.units import W_PER_KW

_OVERCRANK, _LOW_OIL, _NOT_IN_AUTO = 1 << 0, 1 << 1, 1 << 7
_TIME_EPSILON_S = 1e-6


class Generator:
    """Registers that an engine follows."""

    def __init__(
        self,
        *,
        rating_kw: float,
        crank_s: float = 8.0,
        ramp_kw_per_s: float = 50.0,
        cool_s: float = 20.0,
        failing_starts: int = 0,
        run_s: int = 0,
    ) -> None:
        self.failing_starts = failing_starts
        """How many of the next starts fail."""
        self.power_kw = 0.0
        self.bus_kw: float | None = None
        """Load of the bus that a transfer switch put on it; None: the switch does not ask for it."""
        self.state = EngineState.OFF
        self._crank_s, self._cool_s, self._ramp_kw_per_s = crank_s, cool_s, ramp_kw_per_s
        self._in_state_s = 0.0
        self._unrenewed_s = math.inf
        self._turned_s = float(run_s)
        self._alarms = 0
        self.registers = PlainRegisters(POINTS, WRITTEN)
        for name, value in (("MapId", MAP_ID), ("MapVersion", MAP_VERSION), ("Rating", round(rating_kw * W_PER_KW))):
            self.registers.put(name, value)
        self.in_automatic = True
        self._publish()

    def written(self, _: set[tuple[int, str]]) -> None:
        """A client wrote a command."""
        self._unrenewed_s = 0.0

    def trip(self) -> None:
        """Low oil pressure: it stops at once."""
        self._alarms |= _LOW_OIL
        self._enter(EngineState.FAULT)
        self._publish()

    def step(self, dt_s: float) -> float:
        """Go on by ``dt_s``; returns its power. Unit: kW."""
        self._unrenewed_s += dt_s
        self._in_state_s += dt_s
        if self._unrenewed_s > self.registers.get("Watchdog") + _TIME_EPSILON_S:
            self.registers.put("Run", 0)
        asked = self.registers.get("Run") == 1 and self.in_automatic
        self._next_state(asked or self.bus_kw is not None)
        set_kw = self.registers.get("SetPoint") / W_PER_KW if asked else 0.0
        self._follow(set_kw if self.bus_kw is None else self.bus_kw, dt_s)
        if self.state.turns:
            self._turned_s += dt_s
        self._publish()
        return self.power_kw

    def _next_state(self, run: bool) -> None:
        state, spent_s = self.state, self._in_state_s + _TIME_EPSILON_S
        if state is EngineState.OFF and run:
            self._enter(EngineState.CRANKING)
        elif state is EngineState.CRANKING and not run:
            self._enter(EngineState.OFF)
        elif state is EngineState.CRANKING and spent_s >= self._crank_s:
            if self.failing_starts:
                self.failing_starts -= 1
                self._alarms |= _OVERCRANK
                self._enter(EngineState.FAULT)
            else:
                self._enter(EngineState.READY)
        elif state in (EngineState.READY, EngineState.LOADED) and not run and self.power_kw == 0.0:
            self._enter(EngineState.COOLING)
        elif state is EngineState.COOLING:
            if run:
                self._enter(EngineState.READY)
            elif spent_s >= self._cool_s:
                self._enter(EngineState.OFF)
        elif state is EngineState.FAULT and not run:
            self._alarms = 0
            self._enter(EngineState.OFF)

    def _enter(self, state: EngineState) -> None:
        self.state, self._in_state_s = state, 0.0

    def _follow(self, wanted_kw: float, dt_s: float) -> None:
        if self.state not in (EngineState.READY, EngineState.LOADED):
            self.power_kw = 0.0
            return
        reach_kw = self._ramp_kw_per_s * dt_s
        self.power_kw = max(self.power_kw - reach_kw, min(self.power_kw + reach_kw, wanted_kw))
        self.state = EngineState.LOADED if self.power_kw > 0 else EngineState.READY

    def _publish(self) -> None:
        shown = {
            "State": int(self.state),
            "Alarms": self._alarms | (0 if self.in_automatic else _NOT_IN_AUTO),
            "RemoteStart": int(self.in_automatic),
            "Breaker": int(self.power_kw > 0),
            "Power": round(self.power_kw * W_PER_KW),
            "RunTime": math.floor(self._turned_s + _TIME_EPSILON_S),
        }
        for name, value in shown.items():
            self.registers.put(name, value)
