"""Readings as Green Button data: an Atom feed of ESPI, as HISTORY_GREENBUTTON carries it (NAESB REQ.21, ESPI 1.1).

One feed is one usage point with one meter reading of hourly or shorter energy in Wh, its reading type and one block
of interval readings. Identifiers are made of the resource and the time, so the same data makes the same feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from grid.intervals import EPOCH, Interval
from grid.units import W_PER_KW, energy_kwh
from ven.ports import Quality
from ven.wire.xml import attribute, instant, text

ATOM = "http://www.w3.org/2005/Atom"
ESPI = "http://naesb.org/espi"

WATT_HOURS, FORWARD, ELECTRICITY, INTERVAL_DATA, ENERGY = 72, 1, 1, 4, 12
"""Of ESPI's ReadingType: uom, flowDirection, commodity, accumulationBehaviour (delta data), kind."""
VALID, QUESTIONABLE = 0, 13
"""Of ESPI's QualityOfReading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReading:
    """Mean power over an interval, which is its energy."""

    interval: Interval
    kw: float
    quality: Quality


def feed(resource_id: str, readings: Sequence[EnergyReading], at: datetime) -> bytes:
    """The feed of one resource; at least one reading, oldest first."""
    point = f"/espi/1_1/resource/UsagePoint/{uuid5(NAMESPACE_URL, resource_id)}"
    reading = f"{point}/MeterReading/1"
    first, last = readings[0].interval.start, readings[-1].interval.end
    step_s = readings[0].interval.duration_s
    entries = (
        _entry(
            point,
            "",
            f"usage of {resource_id}",
            at,
            "<UsagePoint><ServiceCategory><kind>0</kind></ServiceCategory></UsagePoint>",
        ),
        _entry(
            reading, f"{point}/MeterReading", f"meter reading of {resource_id}", at, "<MeterReading></MeterReading>"
        ),
        _entry(
            f"{reading}/ReadingType/1",
            "",
            "energy in Wh",
            at,
            f"<ReadingType><accumulationBehaviour>{INTERVAL_DATA}</accumulationBehaviour>"
            f"<commodity>{ELECTRICITY}</commodity><flowDirection>{FORWARD}</flowDirection>"
            f"<intervalLength>{step_s:.0f}</intervalLength><kind>{ENERGY}</kind>"
            f"<powerOfTenMultiplier>0</powerOfTenMultiplier><uom>{WATT_HOURS}</uom></ReadingType>",
        ),
        _entry(
            f"{reading}/IntervalBlock/{_seconds(first)}",
            f"{reading}/IntervalBlock",
            f"readings of {resource_id}",
            at,
            f"<IntervalBlock><interval><duration>{(last - first).total_seconds():.0f}</duration>"
            f"<start>{_seconds(first)}</start></interval>{''.join(map(_reading, readings))}</IntervalBlock>",
        ),
    )
    return (
        f'<feed xmlns="{ATOM}"><id>urn:uuid:{uuid5(NAMESPACE_URL, f"{resource_id}@{instant(first)}")}</id>'
        f"<title>Green Button of {text(resource_id)}</title><updated>{instant(at)}</updated>{''.join(entries)}</feed>"
    ).encode()


def _entry(path: str, up: str, title: str, at: datetime, content: str) -> str:
    name, _, rest = content.partition(">")
    links = f'<link rel="self" href="{attribute(path)}"></link>'
    if up:
        links += f'<link rel="up" href="{attribute(up)}"></link>'
    return (
        f"<entry><id>urn:uuid:{uuid5(NAMESPACE_URL, path)}</id>{links}<title>{text(title)}</title>"
        f'<content>{name} xmlns="{ESPI}">{rest}</content>'
        f"<published>{instant(at)}</published><updated>{instant(at)}</updated></entry>"
    )


def _reading(reading: EnergyReading) -> str:
    value = round(energy_kwh(reading.kw, reading.interval.duration_s) * W_PER_KW)
    quality = VALID if reading.quality is Quality.GOOD else QUESTIONABLE
    return (
        f"<IntervalReading><ReadingQuality><quality>{quality}</quality></ReadingQuality>"
        f"<timePeriod><duration>{reading.interval.duration_s:.0f}</duration>"
        f"<start>{_seconds(reading.interval.start)}</start></timePeriod><value>{value}</value></IntervalReading>"
    )


def _seconds(moment: datetime) -> int:
    return round((moment - EPOCH).total_seconds())
