"""The states of a generator, and the command of each second.

    OFF -> STARTING -> MIN_UP -> RUNNING -> COOL_DOWN -> OFF
             |  ^         |         |
             v  |         +---------+--> FAILED   (it stopped by itself)
           WAITING -----------------> FAILED      (the last start failed; a person resets it)

A start that fails is tried again after a pause, a few times. Once it runs it stays up for its minimum time and never
below its minimum load. Load is put on in blocks, with a pause after each for speed and voltage to settle, and within
the ramp. Whatever stopped by itself is not started again until a person says so. Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from agent.generator.device import EngineState, GeneratorCommand, GeneratorReading

LONGEST_STEP_S = 2.0
"""What is ramped for in one step, however long ago the last one was."""

_READY = (EngineState.READY, EngineState.LOADED)


class Phase(StrEnum):
    """Where the generator is in its cycle."""

    OFF = "off"
    STARTING = "starting"
    WAITING = "waiting"
    """Before another try to start."""
    MIN_UP = "min-up"
    """On load, and may not stop yet."""
    RUNNING = "running"
    COOL_DOWN = "cool-down"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorLimits:
    """What the engine's maker and the site's engineer allow."""

    rating_kw: float
    min_load_share: float = 0.3
    """Of the rating; long running below it fouls a diesel (wet stacking)."""
    ramp_kw_per_s: float
    block_kw: float
    """The largest step of load at once (ISO 8528-5: what keeps frequency and voltage inside the class)."""
    block_pause_s: float = 5.0
    start_s: float = 10.0
    """From the command to ready, usually."""
    start_timeout_s: float = 30.0
    start_tries: int = 3
    retry_pause_s: float = 15.0
    min_up_s: float = 900.0
    cool_down_s: float = 300.0

    @property
    def min_load_kw(self) -> float:
        return self.min_load_share * self.rating_kw

    def lead_s(self, power_kw: float) -> float:
        """From the command until it carries ``power_kw``."""
        pauses = max(0, math.ceil(power_kw / self.block_kw) - 1)
        return self.start_s + power_kw / self.ramp_kw_per_s + pauses * self.block_pause_s


class GeneratorMachine:
    """One generator's cycle. ``step`` is called once a second or so, on any clock that does not go back."""

    def __init__(self, limits: GeneratorLimits) -> None:
        self._limits = limits
        self.phase = Phase.OFF
        self.failure = ""
        """Why it is FAILED, or why the start before this one was not one."""
        self._since_s = 0.0
        self._tries = 0
        self._command_kw = 0.0
        self._stepped_s = 0.0
        self._settled_kw = 0.0
        """The load it has settled at; a block goes on top of it."""
        self._rose_s = 0.0

    def reset(self) -> None:
        """A person looked at it: it may be started again."""
        if self.phase is Phase.FAILED:
            self.phase, self.failure = Phase.OFF, ""

    def lapse(self) -> None:
        """No command reached it for so long that its watchdog withdrew the last one: begin anew from what it does."""
        if self.phase is not Phase.FAILED:
            self.phase = Phase.OFF

    def step(self, reading: GeneratorReading, wanted_kw: float | None, now_s: float) -> GeneratorCommand:
        """The command for now. ``wanted_kw``: None when it is not wanted."""
        dt_s, self._stepped_s = min(now_s - self._stepped_s, LONGEST_STEP_S), now_s
        self._advance(reading, wanted_kw, now_s)
        return self._command(wanted_kw, now_s, dt_s)

    # --- states -----------------------------------------------------------------------------------------------

    def _advance(self, reading: GeneratorReading, wanted_kw: float | None, now_s: float) -> None:
        wanted = wanted_kw is not None
        spent_s = now_s - self._since_s
        match self.phase:
            case Phase.OFF if wanted and reading.state in _READY:
                # Somebody else started it, or an agent before this one: go on from the load it has.
                self._take_load(reading.power_kw, now_s)
            case Phase.OFF if wanted and reading.remote_start:
                self._tries = 0
                self._start(now_s)
            case Phase.STARTING:
                self._starting(reading, wanted, spent_s, now_s)
            case Phase.WAITING if not wanted:
                self._enter(Phase.OFF, now_s)
            case Phase.WAITING if spent_s >= self._limits.retry_pause_s:
                self._start(now_s)
            case Phase.MIN_UP | Phase.RUNNING:
                self._on_load(reading, wanted, spent_s, now_s)
            case Phase.COOL_DOWN if wanted and reading.state is EngineState.READY:
                # Hot and up to speed: it has had its minimum time.
                self._enter(Phase.RUNNING, now_s)
            case Phase.COOL_DOWN if spent_s >= self._limits.cool_down_s or not reading.state.turns:
                self._enter(Phase.OFF, now_s)

    def _start(self, now_s: float) -> None:
        self._tries += 1
        self._enter(Phase.STARTING, now_s)

    def _starting(self, reading: GeneratorReading, wanted: bool, spent_s: float, now_s: float) -> None:
        if reading.state in _READY:
            self._take_load(reading.power_kw, now_s)
        elif not wanted:
            self._enter(Phase.OFF, now_s)
        elif reading.state is EngineState.FAULT or spent_s >= self._limits.start_timeout_s:
            why = ", ".join(reading.alarms) or f"not ready within {self._limits.start_timeout_s:.0f} s"
            self.failure = f"start {self._tries} of {self._limits.start_tries} failed: {why}"
            self._enter(Phase.FAILED if self._tries >= self._limits.start_tries else Phase.WAITING, now_s)

    def _take_load(self, power_kw: float, now_s: float) -> None:
        self._command_kw = self._settled_kw = power_kw
        self._rose_s = now_s
        self.failure = ""
        self._enter(Phase.MIN_UP, now_s)

    def _on_load(self, reading: GeneratorReading, wanted: bool, spent_s: float, now_s: float) -> None:
        if reading.state in (EngineState.FAULT, EngineState.OFF, EngineState.COOLING):
            self.failure = f"it stopped by itself: {', '.join(reading.alarms) or reading.state.name.lower()}"
            self._enter(Phase.FAILED, now_s)
        elif self.phase is Phase.MIN_UP and spent_s >= self._limits.min_up_s:
            self._enter(Phase.RUNNING, now_s)
        elif self.phase is Phase.RUNNING and not wanted and self._command_kw == 0.0:
            self._enter(Phase.COOL_DOWN, now_s)

    def _enter(self, phase: Phase, now_s: float) -> None:
        self.phase, self._since_s = phase, now_s

    # --- command ----------------------------------------------------------------------------------------------

    def _command(self, wanted_kw: float | None, now_s: float, dt_s: float) -> GeneratorCommand:
        match self.phase:
            case Phase.MIN_UP:
                self._load(self._within(wanted_kw or 0.0), now_s, dt_s)
            case Phase.RUNNING:
                self._load(0.0 if wanted_kw is None else self._within(wanted_kw), now_s, dt_s)
            case _:
                self._command_kw = 0.0
        run = self.phase in (Phase.STARTING, Phase.MIN_UP, Phase.RUNNING, Phase.COOL_DOWN)
        return GeneratorCommand(run=run, power_kw=self._command_kw)

    def _within(self, wanted_kw: float) -> float:
        return min(self._limits.rating_kw, max(self._limits.min_load_kw, wanted_kw))

    def _load(self, target_kw: float, now_s: float, dt_s: float) -> None:
        limits = self._limits
        if now_s - self._rose_s >= limits.block_pause_s:
            self._settled_kw = self._command_kw
        reach_kw = limits.ramp_kw_per_s * dt_s
        highest_kw = min(self._command_kw + reach_kw, self._settled_kw + limits.block_kw)
        command_kw = max(self._command_kw - reach_kw, min(highest_kw, target_kw))
        if command_kw > self._command_kw:
            self._rose_s = now_s
        self._settled_kw = min(self._settled_kw, command_kw)
        self._command_kw = command_kw
