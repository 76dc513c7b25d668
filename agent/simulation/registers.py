"""The holding registers of a device: of a SunSpec one, laid out by pysunspec2's own model definitions, or a plain map.

A SunSpec map starts at 40000 with the SunS mark and ends with the end model. Numbers are read and set by model and
point name, in engineering units: scale factors are applied here and nowhere else. Points that a device does not set
read as not implemented. In either map only those declared writable accept a Modbus write.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sunspec2.device

from agent.registers import RegisterPoint

BASE_ADDRESS = 40000

_MARK = (0x5375, 0x6E53)
_END = (0xFFFF, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A number of a model: where it lies and how it is written."""

    offset: int
    """From the start of the map, in registers."""
    words: int
    signed: bool
    exponent: int
    """Of the ten it is scaled by."""


class RegisterMap:
    """Registers of one device. ``models`` gives each model's raw initial values, scale factors among them.

    ``writable`` names the points, as (model, point), that a client may write.
    """

    def __init__(
        self, models: Mapping[int, Mapping[str, int | str]], writable: Collection[tuple[int, str]] = ()
    ) -> None:
        self.base = BASE_ADDRESS
        self.words: list[int] = list(_MARK)
        self._points: dict[tuple[int, str], Point] = {}
        for number, values in models.items():
            self._add_model(number, values)
        self.words.extend(_END)
        self._writable: dict[int, tuple[int, str]] = {}
        for name in writable:
            point = self._points[name]
            self._writable.update(dict.fromkeys(range(point.offset, point.offset + point.words), name))

    def _add_model(self, number: int, values: Mapping[str, int | str]) -> None:
        model = sunspec2.device.Model(number, data=dict(values))
        for name, point in model.points.items():
            self._points[number, name] = Point(
                offset=len(self.words) + point.offset,
                words=point.len,
                signed=str(point.pdef["type"]).startswith(("int", "sunssf")),
                exponent=int(values[point.sf]) if point.sf in values else 0,
            )
        data = model.get_mb()
        self.words.extend(struct.unpack(f">{len(data) // 2}H", data))

    def put(self, model: int, name: str, value: float) -> None:
        """Set a number in engineering units: rounded to its scale, held inside its type's range."""
        point = self._points[model, name]
        bits = 16 * point.words
        # The outermost pattern of each type means "not implemented".
        low, high = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if point.signed else (0, 2**bits - 2)
        raw = max(low, min(high, round(value / 10.0**point.exponent)))
        self.words[point.offset : point.offset + point.words] = [
            (raw >> shift) & 0xFFFF for shift in range(bits - 16, -1, -16)
        ]

    def get(self, model: int, name: str) -> float:
        """A number in engineering units."""
        point = self._points[model, name]
        data = struct.pack(f">{point.words}H", *self.words[point.offset : point.offset + point.words])
        return int.from_bytes(data, "big", signed=point.signed) * 10.0**point.exponent

    def write(self, address: int, values: Sequence[int]) -> set[tuple[int, str]] | None:
        """Take a client's write; returns the points it touched, or None if one of its registers is read-only."""
        first = address - BASE_ADDRESS
        touched = [self._writable.get(first + i) for i in range(len(values))]
        if None in touched:
            return None
        self.words[first : first + len(values)] = values
        return {name for name in touched if name is not None}


class PlainRegisters:
    """Registers from address 0 on, by a table of points; whole numbers, no scales."""

    def __init__(self, points: Mapping[str, RegisterPoint], writable: Collection[str] = ()) -> None:
        self.base = 0
        self.words = [0] * max(point.address + point.words for point in points.values())
        self._points = points
        self._writable = {
            address: (0, name)
            for name in writable
            for address in range(points[name].address, points[name].address + points[name].words)
        }

    def put(self, name: str, value: int) -> None:
        point = self._points[name]
        self.words[point.address : point.address + point.words] = point.encode(value)

    def get(self, name: str) -> int:
        point = self._points[name]
        return point.decode(self.words[point.address : point.address + point.words])

    def write(self, address: int, values: Sequence[int]) -> set[tuple[int, str]] | None:
        """Take a client's write; returns the points it touched, or None if one of its registers is read-only."""
        touched = {self._writable.get(address + i) for i in range(len(values))}
        if None in touched:
            return None
        self.words[address : address + len(values)] = values
        return {name for name in touched if name is not None}


def exponent_for(largest: float, limit: int) -> int:
    """The finest scale factor, at least 0, at which ``largest`` still fits into ``limit``."""
    exponent = 0
    while largest / 10**exponent > limit:
        exponent += 1
    return exponent


def common_model(model: str, serial: str) -> dict[str, int | str]:
    """Values of model 1: who made the device."""
    return {"Mn": "Negawatt", "Md": model, "Opt": "negawatt-sim", "Vr": "1.0", "SN": serial, "DA": 1, "Pad": 0x8000}
