"""One SunSpec device served over Modbus TCP by pymodbus.

The register map is the device's only memory: a read is answered from it as it is at that moment, and a write goes
into it before the device is told which points were written. One unit, number 1, as SunSpec devices answer on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from agent.simulation.registers import BASE_ADDRESS, RegisterMap
from grid.errors import AddressInUseError

UNIT = 1

OnWrite = Callable[[set[tuple[int, str]]], None]
"""Told after each write which (model, point) it touched."""


class ModbusDevice:
    """Serves a register map. Use as an async context manager; ``port`` is set once entered."""

    def __init__(
        self, registers: RegisterMap, on_write: OnWrite | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._registers = registers
        self._on_write = on_write
        self._host = host
        self.port = port
        self._server: ModbusTcpServer | None = None

    async def __aenter__(self) -> ModbusDevice:
        block = SimData(BASE_ADDRESS, values=list(self._registers.words), datatype=DataType.REGISTERS)
        device = SimDevice(UNIT, simdata=[block], action=self._access)
        self._server = ModbusTcpServer(device, address=(self._host, self.port))
        try:
            await self._server.serve_forever(background=True)
        except RuntimeError as error:
            raise AddressInUseError(
                f"cannot serve Modbus on {self._host}:{self.port}: stop what uses it or configure another port"
            ) from error
        listener: Any = self._server.transport
        self.port = listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _access(
        self,
        _function: int,
        start: int,
        address: int,
        count: int,
        current: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """pymodbus asks before it reads or writes its own copy: bring that copy up to date."""
        if written is not None:
            touched = self._registers.write(address, [int(word) for word in written])
            if touched is None:
                return ExcCodes.ILLEGAL_ADDRESS
            if self._on_write is not None:
                self._on_write(touched)
        first = address - BASE_ADDRESS
        current[address - start : address - start + count] = self._registers.words[first : first + count]
        return None
