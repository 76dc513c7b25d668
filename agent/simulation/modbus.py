"""One device served over Modbus TCP by pymodbus: SunSpec, plain registers, or contacts as discrete inputs.

The device's memory is its only one: a read is answered from it as it is at that moment, and a write goes into it
before the device is told which points were written. One unit, number 1, as SunSpec devices answer on. Faults of the
line and of a device that hangs are injected here: ``drop`` and ``freeze``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from grid.errors import AddressInUseError

UNIT = 1
_READ_DISCRETE_INPUTS = 2

OnWrite = Callable[[set[tuple[int, str]]], None]
"""Told after each write which (model, point) it touched."""


class Memory(Protocol):
    """What a device shows and takes."""

    base: int
    """Address of the first register."""
    words: list[int]

    def write(self, address: int, values: Sequence[int]) -> set[tuple[int, str]] | None:
        """Take a client's write; the points it touched, or None when one of its registers is read-only."""


class ModbusDevice:
    """Serves a memory. Use as an async context manager; ``port`` is set once entered."""

    def __init__(
        self, registers: Memory, on_write: OnWrite | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._registers = registers
        self._on_write = on_write
        self._frozen: list[int] | None = None
        self._server = _Server(host, port)

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> ModbusDevice:
        block = SimData(self._registers.base, values=list(self._registers.words), datatype=DataType.REGISTERS)
        await self._server.start(SimDevice(UNIT, simdata=[block], action=self._access))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.stop()

    def drop(self) -> None:
        """Cut every connection there is; new ones are taken."""
        self._server.drop()

    def freeze(self) -> None:
        """Answer every read with what is shown now, and forget what is written, until ``thaw``."""
        self._frozen = list(self._registers.words)

    def thaw(self) -> None:
        self._frozen = None

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
        if written is not None and self._frozen is None:
            touched = self._registers.write(address, [int(word) for word in written])
            if touched is None:
                return ExcCodes.ILLEGAL_ADDRESS
            if self._on_write is not None:
                self._on_write(touched)
        words = self._registers.words if self._frozen is None else self._frozen
        first = address - self._registers.base
        current[address - start : address - start + count] = words[first : first + count]
        return None


class ContactDevice:
    """Serves discrete inputs from address 0 on: an I/O module that contacts are wired to."""

    def __init__(self, contacts: int, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.closed = [False] * contacts
        """By address; may be changed at any time."""
        self._server = _Server(host, port)

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> ContactDevice:
        bits = [SimData(0, values=list(self.closed), datatype=DataType.BITS)]
        none = [SimData(0, values=0, datatype=DataType.REGISTERS)]
        coils = [SimData(0, values=False, datatype=DataType.BITS)]
        await self._server.start(SimDevice(UNIT, simdata=(coils, bits, none, none), action=self._access))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.stop()

    def drop(self) -> None:
        """Cut every connection there is; new ones are taken."""
        self._server.drop()

    async def _access(
        self,
        function: int,
        _start: int,
        _address: int,
        _count: int,
        current: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if written is not None or function != _READ_DISCRETE_INPUTS:
            return ExcCodes.ILLEGAL_FUNCTION
        for at in range(0, len(self.closed), 16):
            current[at // 16] = sum(bit << n for n, bit in enumerate(self.closed[at : at + 16]))
        return None


class _Server:
    """pymodbus' server with our port and errors."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self.port = port
        self._server: ModbusTcpServer | None = None

    async def start(self, device: SimDevice) -> None:
        self._server = ModbusTcpServer(device, address=(self._host, self.port))
        try:
            await self._server.serve_forever(background=True)
        except RuntimeError as error:
            raise AddressInUseError(
                f"cannot serve Modbus on {self._host}:{self.port}: stop what uses it or configure another port"
            ) from error
        listener: Any = self._server.transport
        self.port = listener.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def drop(self) -> None:
        if self._server is not None:
            for connection in list(self._server.active_connections.values()):
                connection.close()
