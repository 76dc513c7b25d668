"""A SunSpec device over Modbus TCP, from asyncio.

pysunspec2 blocks, so each device has one thread of its own, which also keeps its requests in order. The connection
is made on first use and again after any error; a device is scanned once a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sunspec2.modbus.client import (
    SunSpecModbusClientDeviceTCP,
    SunSpecModbusClientError,
)
from sunspec2.modbus.modbus import ModbusClientError

TIMEOUT_S = 0.8
"""Under the control loop's second."""

T = TypeVar("T")


class SunSpecError(Exception):
    """The device does not answer, or not as SunSpec says; its owner raises it as an error of its own."""


class SunSpecDevice:
    """Runs requests against one device, one after the other."""

    def __init__(self, host: str, port: int, unit: int) -> None:
        self._address = f"{host}:{port}"
        self._host, self._port, self._unit = host, port, unit
        self._device: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sunspec-{port}")

    async def call(self, request: Callable[[Any], T]) -> T:
        """``request(device)`` in the device's thread. Raises SunSpecError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, request)

    async def close(self) -> None:
        """Hang up and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._hang_up)
        self._thread.shutdown()

    def _call(self, request: Callable[[Any], T]) -> T:
        try:
            if self._device is None:
                # Kept before it is connected, so that a failed attempt closes its socket too.
                self._device = SunSpecModbusClientDeviceTCP(self._unit, self._host, self._port, timeout=TIMEOUT_S)
                self._device.connect()
                self._device.scan()
            return request(self._device)
        except (SunSpecModbusClientError, ModbusClientError, OSError, KeyError) as error:
            self._hang_up()
            raise SunSpecError(f"{self._address}: {error}") from error

    def _hang_up(self) -> None:
        if self._device is not None:
            self._device.disconnect()
            self._device = None
