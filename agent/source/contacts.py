"""The contacts a site shows its agent, and the wires they come on.

Each contact is one bit of a Modbus I/O module. A wire says whether closed means yes: alarms are best wired normally
closed, so that a broken wire reads as the alarm. The two signals of the source, the switch's position and the power
monitor, should come from two devices: one module that hangs must not be able to say twice that all is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.errors import InputsError
from agent.registers import RegisterDevice, RegisterError


class Contact(StrEnum):
    """What a contact says while it is true."""

    ON_UTILITY = "on_utility"
    """Transfer switch or main breaker: closed on the utility's side."""
    ON_EMERGENCY = "on_emergency"
    """Transfer switch: closed on the generator's side."""
    UTILITY_PRESENT = "utility_present"
    """Power monitor: the utility's voltage and frequency are there."""
    UPS_ON_BATTERY = "ups_on_battery"
    UPS_BYPASS = "ups_bypass"
    GENERATOR_TEST = "generator_test"
    COOLANT = "coolant"
    """Coolant or chiller alarm."""
    LEAK = "leak"
    TEMPERATURE = "temperature"
    """Supply too hot."""
    FIRE = "fire"
    EPO = "epo"
    """Emergency power-off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Where a contact comes in."""

    address: int
    """Of the discrete input."""
    normally_closed: bool = False
    """An open input means yes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactReading:
    """All contacts now."""

    values: Mapping[Contact, bool | None]
    """Of each contact that is wired; None when its module does not answer."""
    failing: tuple[str, ...] = ()


class InputModule:
    """One Modbus I/O module."""

    def __init__(self, host: str, port: int, unit: int, wires: Mapping[Contact, Wire]) -> None:
        self._device = RegisterDevice(host, port, unit)
        self.wires = wires
        self._count = 1 + max(wire.address for wire in wires.values())

    async def read(self) -> dict[Contact, bool]:
        """Its contacts, by one request. Raises InputsError."""
        try:
            closed = await self._device.discrete(0, self._count)
        except RegisterError as error:
            raise InputsError(f"inputs {error}: check its address in [[inputs]] and its network") from error
        return {contact: closed[wire.address] != wire.normally_closed for contact, wire in self.wires.items()}

    async def close(self) -> None:
        await self._device.close()


class SiteInputs:
    """All modules of a site, read at once. A module that does not answer leaves its contacts unknown."""

    def __init__(self, modules: Sequence[InputModule]) -> None:
        self._modules = tuple(modules)

    async def read(self) -> ContactReading:
        """Every contact; never raises for a module that does not answer."""
        values: dict[Contact, bool | None] = {}
        failing: list[str] = []
        for module, read in zip(self._modules, await asyncio.gather(*map(_read, self._modules)), strict=True):
            if isinstance(read, InputsError):
                values.update(dict.fromkeys(module.wires, None))
                failing.append(str(read))
            else:
                values.update(read)
        return ContactReading(values=values, failing=tuple(failing))

    async def close(self) -> None:
        for module in self._modules:
            await module.close()


async def _read(module: InputModule) -> dict[Contact, bool] | InputsError:
    try:
        return await module.read()
    except InputsError as error:
        return error
