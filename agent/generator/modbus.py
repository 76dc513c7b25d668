"""A generator over Modbus TCP by the map in agent/generator/registers.py.

Each command writes run, set-point and watchdog in one request and reads them back: one that did not take the watchdog
is not left running.
"""

from __future__ import annotations

from agent.errors import GeneratorError
from agent.generator.device import WATCHDOG_S, EngineState, GeneratorCommand, GeneratorReading
from agent.generator.registers import ALARMS, COMMAND, MAP_ID, MAP_VERSION, POINTS, STATUS
from agent.registers import RegisterDevice, RegisterError
from grid.units import W_PER_KW


class ModbusGenerator:
    """One generator. Power in kW at its terminals."""

    def __init__(self, host: str, port: int, unit: int) -> None:
        self._device = RegisterDevice(host, port, unit)

    async def read(self) -> GeneratorReading:
        """State, power and hours now. Raises GeneratorError."""
        words = await self._holding(*STATUS)
        values = {
            name: point.decode(words[point.address : point.address + point.words])
            for name, point in POINTS.items()
            if point.address < STATUS[0] + STATUS[1]
        }
        if (values["MapId"], values["MapVersion"]) != (MAP_ID, MAP_VERSION):
            raise GeneratorError(
                f"what answers as the generator has no register map {MAP_ID:#x} version {MAP_VERSION} but "
                f"{values['MapId']:#x} version {values['MapVersion']}: check its address in [generator] and its map"
            )
        if values["State"] not in set(EngineState):
            raise GeneratorError(f"the generator shows state {values['State']}, which its register map does not have")
        return GeneratorReading(
            state=EngineState(values["State"]),
            power_kw=values["Power"] / W_PER_KW,
            rating_kw=values["Rating"] / W_PER_KW,
            remote_start=values["RemoteStart"] == 1,
            run_s=values["RunTime"],
            alarms=tuple(name for bit, name in enumerate(ALARMS) if values["Alarms"] >> bit & 1),
        )

    async def command(self, command: GeneratorCommand) -> None:
        """Do this and renew the watchdog. Raises GeneratorError."""
        words = _command_words(command)
        await self._write(words)
        if (shown := await self._holding(*COMMAND)) != words:
            await self._write(_command_words(GeneratorCommand(run=False, power_kw=0.0)))
            raise GeneratorError(
                f"the generator did not take its command: registers {COMMAND[0]} on show {shown} for {words}; "
                "it is told to stop"
            )

    async def close(self) -> None:
        await self._device.close()

    async def _holding(self, address: int, count: int) -> list[int]:
        try:
            return await self._device.holding(address, count)
        except RegisterError as error:
            raise GeneratorError(_where(error)) from error

    async def _write(self, words: list[int]) -> None:
        try:
            await self._device.write(COMMAND[0], words)
        except RegisterError as error:
            raise GeneratorError(_where(error)) from error


def _where(error: RegisterError) -> str:
    return f"generator {error}: check its address in [generator] and its network"


def _command_words(command: GeneratorCommand) -> list[int]:
    values = {"Run": int(command.run), "SetPoint": round(command.power_kw * W_PER_KW), "Watchdog": WATCHDOG_S}
    return [word for name, value in values.items() for word in POINTS[name].encode(value)]
