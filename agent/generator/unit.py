"""One generator as the site uses it: asked for power for a purpose, run by its states, its hours kept by permit.

Each tick reads it, judges what is asked by the permit and the hours there are left, steps the machine and commands.
A refusal is an outcome with the permit's name in it, never an exception: control goes on without the generator. Hours
are written down before the start is commanded, and follow the engine's own meter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent.errors import GeneratorError
from agent.generator.device import WATCHDOG_S, Generator, GeneratorCommand, GeneratorReading
from agent.generator.journal import HoursLedger
from agent.generator.machine import GeneratorLimits, GeneratorMachine, Phase
from agent.generator.permits import Permit, Purpose, Refused, judge
from grid.clock import Clock
from grid.errors import JournalError
from grid.units import SECONDS_PER_HOUR

COUNT_EVERY_S = 60
"""Of the hour meter, between two writes of an open run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the site wants of it now."""

    purpose: Purpose
    power_kw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorStatus:
    """The generator after a tick."""

    phase: Phase
    reading: GeneratorReading | None
    """None when it does not answer."""
    refused: str = ""
    """Why what was asked is not permitted; empty when it is."""
    alarms: tuple[str, ...] = ()


class GeneratorUnit:
    """Ticked once a second, whether it is wanted or not: somebody else may start it, and its hours count too."""

    def __init__(
        self, *, device: Generator, limits: GeneratorLimits, permit: Permit, ledger: HoursLedger, clock: Clock
    ) -> None:
        self.machine = GeneratorMachine(limits)
        self._device = device
        self._limits = limits
        self._permit = permit
        self._ledger = ledger
        self._clock = clock
        self._reconciled = False
        self._commanded_s = clock.monotonic()

    async def tick(self, demand: Demand | None, *, on_utility: bool = True) -> GeneratorStatus:
        """Read, judge, step, command. ``on_utility``: a run that nobody asked for is then not an outage's."""
        now = self._clock.now()
        try:
            reading = await self._device.read()
        except GeneratorError as error:
            # Its watchdog stops it if this lasts; what it did shows when it is back.
            return GeneratorStatus(phase=self.machine.phase, reading=None, alarms=(str(error),))
        if self._clock.monotonic() - self._commanded_s >= WATCHDOG_S:
            self.machine.lapse()
        refused = self._refusal(demand, now)
        granted = None if refused else demand
        command = self.machine.step(reading, granted.power_kw if granted else None, self._clock.monotonic())
        failures = [self.machine.failure] if self.machine.failure else []
        try:
            self._keep_hours(reading, granted, on_utility=on_utility, now=now)
        except JournalError as error:
            failures.append(str(error))
            if self.machine.phase is Phase.STARTING:
                # What cannot be accounted for is not begun; what runs goes on, its meter keeps count.
                self.machine.lapse()
                command = GeneratorCommand(run=False, power_kw=0.0)
        try:
            await self._device.command(command)
            self._commanded_s = self._clock.monotonic()
        except GeneratorError as error:
            failures.append(str(error))
        return GeneratorStatus(
            phase=self.machine.phase, reading=reading, refused=refused, alarms=(*reading.alarms, *failures)
        )

    async def release(self) -> None:
        """Withdraw the run command; its own controller unloads and cools it. Raises GeneratorError."""
        await self._device.command(GeneratorCommand(run=False, power_kw=0.0))
        self.machine.lapse()

    def _refusal(self, demand: Demand | None, now: datetime) -> str:
        if demand is None:
            return ""
        whole_h = (self._limits.min_up_s + self._limits.cool_down_s) / SECONDS_PER_HOUR
        wanted_h = whole_h if self.machine.phase is Phase.OFF else self._limits.cool_down_s / SECONDS_PER_HOUR
        verdict = judge(self._permit, demand.purpose, self._ledger.used_h(now), wanted_h)
        return verdict.why if isinstance(verdict, Refused) else ""

    # --- hours ------------------------------------------------------------------------------------------------

    def _keep_hours(
        self, reading: GeneratorReading, granted: Demand | None, *, on_utility: bool, now: datetime
    ) -> None:
        """Raises JournalError when the disk takes no change."""
        self._reconcile(reading, now)
        open_for = self._ledger.running_for()
        if not (reading.state.turns or self.machine.phase is Phase.STARTING):
            if open_for is not None:
                self._ledger.end(reading.run_s, now)
            return
        purpose = granted.purpose if granted else _unasked(open_for, on_utility=on_utility)
        if purpose is not open_for:
            self._ledger.begin(purpose, reading.run_s, now)
        elif reading.run_s - (self._ledger.counted_to_s() or 0) >= COUNT_EVERY_S:
            self._ledger.count(reading.run_s, now)

    def _reconcile(self, reading: GeneratorReading, now: datetime) -> None:
        """Once, when it first answers: what it ran while nobody watched."""
        if self._reconciled:
            return
        counted_s = self._ledger.counted_to_s()
        if counted_s is not None and reading.run_s > counted_s and self._ledger.running_for() is None:
            self._ledger.add(Purpose.UNASKED, counted_s, reading.run_s, now)
        self._reconciled = True


def _unasked(open_for: Purpose | None, *, on_utility: bool) -> Purpose:
    """What a run is for that nobody asks for now: what it was begun for, or the outage that shows a moment later."""
    if open_for in (None, Purpose.UNASKED):
        return Purpose.UNASKED if on_utility else Purpose.OUTAGE
    return open_for
