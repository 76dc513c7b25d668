"""A Modbus TCP device without a SunSpec map: plain registers and discrete inputs, from asyncio by pymodbus.

One connection is held; requests go out one after the other. Any failure hangs up and is reported before the next
call connects anew, so that whoever uses the device hears of every lost connection. Numbers of more than one register
have their high word first. Reference: Modbus Application Protocol 1.1b3, functions 2, 3 and 16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

TIMEOUT_S = 0.45
"""Of connecting and of each request, as of SunSpec devices."""


class RegisterError(Exception):
    """The device does not answer, or refuses; its owner raises it as an error of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPoint:
    """A whole number in a device's holding registers."""

    address: int
    words: int = 1
    signed: bool = False

    def decode(self, words: Sequence[int]) -> int:
        """The number that these words, all of its own, say."""
        value = 0
        for word in words:
            value = value << 16 | word
        bits = 16 * self.words
        return value - (1 << bits) if self.signed and value >> (bits - 1) else value

    def encode(self, value: int) -> list[int]:
        """Its words. Raises OverflowError when it does not fit."""
        data = value.to_bytes(2 * self.words, "big", signed=self.signed)
        return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


class RegisterDevice:
    """Runs requests against one device, one after the other."""

    def __init__(self, host: str, port: int, unit: int) -> None:
        self._address = f"{host}:{port} unit {unit}"
        self._host, self._port, self._unit = host, port, unit
        self._client: AsyncModbusTcpClient | None = None
        self._turn = asyncio.Lock()

    async def holding(self, address: int, count: int) -> list[int]:
        """Holding registers from ``address`` on. Raises RegisterError."""
        reply = await self._call(
            lambda client: client.read_holding_registers(address, count=count, device_id=self._unit)
        )
        return list(reply.registers)

    async def discrete(self, address: int, count: int) -> list[bool]:
        """Discrete inputs from ``address`` on. Raises RegisterError."""
        reply = await self._call(lambda client: client.read_discrete_inputs(address, count=count, device_id=self._unit))
        return list(reply.bits[:count])  # it pads to whole bytes

    async def write(self, address: int, words: list[int]) -> None:
        """These holding registers, in one request. Raises RegisterError."""
        await self._call(lambda client: client.write_registers(address, words, device_id=self._unit))

    async def close(self) -> None:
        """Hang up."""
        async with self._turn:
            self._hang_up()

    async def _call(self, request: Callable[[AsyncModbusTcpClient], Awaitable[Any]]) -> Any:
        async with self._turn:
            try:
                reply = await request(await self._connected())
            except (ModbusException, OSError) as error:
                self._hang_up()
                raise RegisterError(f"{self._address}: {error}") from error
            except asyncio.CancelledError:
                # A reply that comes late would be taken for the answer to the next request.
                self._hang_up()
                raise
            if reply.isError():
                raise RegisterError(f"{self._address}: it refuses, {reply}")
            return reply

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is None:
            self._client = AsyncModbusTcpClient(
                self._host, port=self._port, timeout=TIMEOUT_S, retries=0, reconnect_delay=0
            )
            if not await self._client.connect():
                raise OSError("connection refused or not answered")
        return self._client

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
