"""A generator, whatever it speaks: it is only ever run behind a watchdog of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

WATCHDOG_S = 30
"""How long it goes on with a command that nobody renews; then it unloads, cools down and stops by itself."""


class EngineState(IntEnum):
    """What the generator's own controller says it is doing."""

    OFF = 0
    CRANKING = 1
    READY = 2
    """Up to speed and voltage; its breaker may be open."""
    LOADED = 3
    COOLING = 4
    FAULT = 5
    """Stopped by a fault, until a person or a withdrawn run command resets it."""

    @property
    def turns(self) -> bool:
        """Whether the engine runs, and with it the hours."""
        return self in (EngineState.CRANKING, EngineState.READY, EngineState.LOADED, EngineState.COOLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorReading:
    """The generator now."""

    state: EngineState
    power_kw: float
    rating_kw: float
    remote_start: bool
    """It is in automatic, and takes a start from us."""
    run_s: int
    """Its own hour meter, in seconds."""
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorCommand:
    """What it should do until the next one."""

    run: bool
    power_kw: float


class Generator(Protocol):
    """Every call raises GeneratorError when the generator does not answer."""

    async def read(self) -> GeneratorReading:
        """State, power and hours now."""

    async def command(self, command: GeneratorCommand) -> None:
        """Do this and renew the watchdog; GeneratorError when it does not read back."""

    async def close(self) -> None:
        """Hang up; a generator left running stops by its watchdog."""
