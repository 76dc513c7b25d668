"""XML of OpenADR 2.0b: names, escaping, times and durations, and reading elements.

What is written here is canonical (C14N 1.0) as it stands: namespaces declared once, on the signed object, in the
order of their prefixes; no attribute but ``Id`` and ``schemaVersion``; no empty-element tags; text escaped as
canonicalisation would. So a digest is taken of the bytes themselves (``ven.wire.signature``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, TypeVar

from ven.errors import WireError

Element = Any
"""An lxml element; lxml ships no types."""

OADR = "http://openadr.org/oadr-2.0b/2012/07"
EI = "http://docs.oasis-open.org/ns/energyinterop/201110"
PYLD = "http://docs.oasis-open.org/ns/energyinterop/201110/payloads"
EMIX = "http://docs.oasis-open.org/ns/emix/2011/06"
POWER = "http://docs.oasis-open.org/ns/emix/2011/06/power"
SCALE = "http://docs.oasis-open.org/ns/emix/2011/06/siscale"
GML = "http://www.opengis.net/gml/3.2"
STRM = "urn:ietf:params:xml:ns:icalendar-2.0:stream"
XCAL = "urn:ietf:params:xml:ns:icalendar-2.0"
ATOM = "http://www.w3.org/2005/Atom"

PREFIXES = {
    "ei": EI,
    "emix": EMIX,
    "gml": GML,
    "oadr": OADR,
    "power": POWER,
    "pyld": PYLD,
    "scale": SCALE,
    "strm": STRM,
    "xcal": XCAL,
}
"""Every prefix we write, in canonical order."""

NAMESPACES = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items())

T = TypeVar("T")


@cache
def tag(prefix: str, name: str) -> str:
    """The element name as lxml gives it."""
    return f"{{{PREFIXES[prefix]}}}{name}"


# --- writing ------------------------------------------------------------------------------------------------------

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


_SHORT = 128
"""Longer texts are not remembered."""


def text(value: str) -> str:
    """Character data. Raises WireError for characters that XML cannot carry."""
    return _remembered(value) if len(value) <= _SHORT else _escaped(value)


def _escaped(value: str) -> str:
    if _NOT_XML.search(value):
        raise WireError(f"{value!r} holds a character that XML cannot carry")
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")


_remembered = lru_cache(maxsize=8192)(_escaped)


def attribute(value: str) -> str:
    """An attribute's value."""
    return (
        text(value.replace("\r", ""))
        .replace("&gt;", ">")
        .replace('"', "&quot;")
        .replace("\t", "&#x9;")
        .replace("\n", "&#xA;")
    )


def number(value: float) -> str:
    """An xs:float."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"


def decimal(value: float) -> str:
    """An xs:decimal, which knows no exponent. Raises WireError for infinity and NaN, which it does not know either."""
    if not math.isfinite(value):
        raise WireError(f"{value} is no decimal number")
    return f"{Decimal(repr(float(value))):f}"


def boolean(value: bool) -> str:
    return "true" if value else "false"


def instant(moment: datetime) -> str:
    """An xs:dateTime in UTC (rule 1)."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat()[:-6]}Z"


@lru_cache(maxsize=1024)
def lasting(seconds: float) -> str:
    """A duration. Raises WireError: the schema knows whole seconds only."""
    if seconds % 1:
        raise WireError(f"a duration of {seconds} s cannot be written: OpenADR 2.0b knows whole seconds only")
    sign, rest = ("-", -int(seconds)) if seconds < 0 else ("", int(seconds))
    days, rest = divmod(rest, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    clock = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if value)
    if not clock and not days:
        clock = "0S"
    return f"{sign}P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"


def dtstart(moment: datetime) -> str:
    """An xcal:dtstart."""
    return f"<xcal:dtstart><xcal:date-time>{instant(moment)}</xcal:date-time></xcal:dtstart>"


def duration(seconds: float, name: str = "xcal:duration") -> str:
    """A property of a duration."""
    return f"<{name}><xcal:duration>{lasting(seconds)}</xcal:duration></{name}>"


def optional(name: str, value: T | None, render: Callable[[T], str]) -> str:
    """An element of ``render(value)``, or nothing."""
    return "" if value is None else f"<{name}>{render(value)}</{name}>"


def each(name: str, values: tuple[str, ...]) -> str:
    """One element of text a value."""
    return "".join(f"<{name}>{text(value)}</{name}>" for value in values)


# --- reading ------------------------------------------------------------------------------------------------------

_DURATION = re.compile(
    r"(?P<sign>[+-])?P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)D)?"
    r"T?(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?|P?(?P<weeks>\d+)W"
)
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2}T)(\d{2})(:\d{2}:\d{2})(?:\.(\d{0,30}))?(Z?)")
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_LONGEST_S = 10 * 366 * 86_400


class Fields:
    """The children of an element by name, read in any order; for elements that hold each child at most once."""

    __slots__ = ("_children", "name")

    def __init__(self, element: Element) -> None:
        self.name: str = element.tag
        self._children: dict[str, Element] = {child.tag: child for child in element}

    def get(self, name: str) -> Element | None:
        return self._children.get(name)

    def need(self, name: str) -> Element:
        """Raises WireError."""
        child = self._children.get(name)
        if child is None:
            raise WireError(f"{local(self.name)} has no {local(name)}")
        return child

    def text(self, name: str) -> str:
        return self.need(name).text or ""

    def optional(self, name: str) -> str | None:
        child = self._children.get(name)
        return None if child is None else child.text or ""

    def read(self, name: str, reader: Callable[[Element], T]) -> T | None:
        """What ``reader`` makes of the child, if there is one."""
        child = self._children.get(name)
        return None if child is None else reader(child)


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def inner(element: Element) -> str:
    """The text of the only child, as in dtstart, duration and uid."""
    return element[0].text or ""


def texts(element: Element, name: str) -> tuple[str, ...]:
    """The texts of every child of that name."""
    return tuple(child.text or "" for child in element.iterchildren(name))


def children(element: Element, name: str) -> Iterator[Element]:
    found: Iterator[Element] = element.iterchildren(name)
    return found


def read_float(element: Element) -> float:
    """Raises WireError."""
    try:
        return float(element.text)
    except (TypeError, ValueError) as error:
        raise WireError(f"{local(element.tag)}: {element.text!r} is no number") from error


def read_decimal(element: Element) -> float:
    """Of an xs:decimal, which is neither infinite nor larger than a float. Raises WireError."""
    value = read_float(element)
    if not math.isfinite(value):
        raise WireError(f"{local(element.tag)}: {(element.text or '')[:_SHORT]!r} is no decimal number that fits")
    return value


def read_int(element: Element) -> int:
    """Raises WireError."""
    try:
        return int(element.text)
    except (TypeError, ValueError) as error:
        raise WireError(f"{local(element.tag)}: {element.text!r} is no whole number") from error


def read_bool(element: Element) -> bool:
    """Raises WireError."""
    word = (element.text or "").strip()
    if word not in ("true", "false", "1", "0"):
        raise WireError(f"{local(element.tag)}: {word!r} is neither true nor false")
    return word in ("true", "1")


def read_instant(element: Element) -> datetime:
    """Raises WireError."""
    return as_instant(element.text or "")


def read_dtstart(element: Element) -> datetime:
    """Of xcal:dtstart. Raises WireError."""
    return as_instant(inner(element))


def read_duration(element: Element) -> float:
    """Of a property of a duration. Unit: s. Raises WireError."""
    return as_seconds(inner(element))


def as_instant(value: str) -> datetime:
    """An xs:dateTime; without a zone it is UTC, as every time of OpenADR is. Raises WireError."""
    usual = len(value) == 20 and value[7] == "-" and value[10] == "T" and value[16] == ":" and value[-1] == "Z"
    try:
        return datetime.fromisoformat(value) if usual and value[11:13] != "24" else _unusual_instant(value)
    except (ValueError, OverflowError) as error:
        raise WireError(f"{value!r} is no date and time: {error}") from error


def _unusual_instant(value: str) -> datetime:
    found = _INSTANT.fullmatch(value.strip().lstrip("+"))
    if found is None:
        raise WireError(f"{value!r} is no date and time")
    day, hour, rest, fraction, _ = found.groups()
    midnight_after = hour == "24" and rest == ":00:00"
    moment = datetime.fromisoformat(f"{day}{'00' if midnight_after else hour}{rest}").replace(
        microsecond=int((fraction or "0")[:6].ljust(6, "0")), tzinfo=UTC
    )
    return moment + timedelta(days=1) if midnight_after else moment


@lru_cache(maxsize=1024)
def as_seconds(value: str) -> float:
    """A duration. Unit: s. Raises WireError, also for years and months, whose length nobody can tell."""
    found = _DURATION.fullmatch(value.strip()) if len(value) <= _SHORT else None
    if found is None or not any(character.isdigit() for character in value):
        raise WireError(f"{value!r} is no duration")
    parts = found.groupdict()
    if parts["years"] not in (None, "0") or parts["months"] not in (None, "0"):
        raise WireError(f"the duration {value} counts years or months, which have no fixed length: use days")
    seconds = sum(int(parts[unit] or 0) * worth for unit, worth in _SECONDS.items())
    if seconds > _LONGEST_S:
        raise WireError(f"the duration {value} is longer than ten years")
    return float(-seconds if parts["sign"] == "-" else seconds)
