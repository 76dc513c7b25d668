"""A SunSpec device over Modbus TCP, from asyncio.

pysunspec2 blocks, so each device has one thread of its own, which also keeps its requests in order. One connection is
held and scanned once. Any failure hangs up and is reported before the next call connects anew, so that whoever uses
the device hears of every lost connection: the device behind the next one may have restarted. Devices without a SunSpec
map are read by agent/registers.py.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sunspec2.device import ModelError
from sunspec2.mdef import ModelDefinitionError
from sunspec2.modbus.client import (
    SunSpecModbusClientDeviceTCP,
    SunSpecModbusClientError,
    SunSpecModbusValueError,
)
from sunspec2.modbus.modbus import ModbusClientError, ModbusClientException

TIMEOUT_S = 0.45
"""Of connecting and of each request: a site's two devices may both be silent within the control loop's second."""

_MARK = b"SunS"
_FAILURES = (
    SunSpecModbusClientError,
    SunSpecModbusValueError,
    ModbusClientError,
    ModelError,
    ModelDefinitionError,
    OSError,
    # What pysunspec2 trips over when a reply is cut short or is not Modbus.
    struct.error,
    LookupError,
    ValueError,
)

T = TypeVar("T")


class SunSpecError(Exception):
    """The device does not answer, or not as SunSpec says; its owner raises it as an error of its own."""


class SunSpecDevice:
    """Runs requests against one device, one after the other."""

    def __init__(self, host: str, port: int, unit: int) -> None:
        self._address = f"{host}:{port} unit {unit}"
        self._host, self._port, self._unit = host, port, unit
        self._device: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sunspec-{port}")

    async def call(self, request: Callable[[Any], T]) -> T:
        """``request(device)`` in the device's thread. Raises SunSpecError, and what the request raises of its own."""
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
                _connect(self._device)
            return request(self._device)
        except (SunSpecError, *_FAILURES) as error:
            # A reply that comes late would be taken for the answer to the next request: never go on with this one.
            self._hang_up()
            raise SunSpecError(f"{self._address}: {error}") from error

    def _hang_up(self) -> None:
        if self._device is not None:
            self._device.disconnect()
            self._device = None


def read_head(model: Any, last: str) -> None:
    """Read a model down to the point ``last`` only; scale factors below it stay as they were scanned."""
    points = list(model.points.values())
    head = points[: 1 + [point.pdef["name"] for point in points].index(last)]
    data = model.device.read(model.model_addr, head[-1].offset + head[-1].len)
    for point in head:
        point.set_mb(data=data[2 * point.offset :], dirty=False)


def _connect(device: Any) -> None:
    device.connect()
    # Left to itself, a scan waits for a silent device once for each address it tries, and hangs up when done, after
    # which every request would silently connect anew.
    device.base_addr_list = [_base_address(device)]
    device.scan(connect=False)


def _base_address(device: Any) -> int:
    for address in device.base_addr_list:
        try:
            mark = device.read(address, 2)
        except ModbusClientException:
            continue  # no such registers: the map lies elsewhere
        if mark == _MARK:
            return int(address)
    raise SunSpecError("it answers, but no SunSpec map is there")
