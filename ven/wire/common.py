"""What several services share: responses, targets, units of measure, intervals (EI, EMIX and xCal of OpenADR 2.0b)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ven.errors import WireError
from ven.wire.xml import (
    GML,
    POWER,
    Element,
    Fields,
    attribute,
    boolean,
    decimal,
    dtstart,
    duration,
    each,
    inner,
    local,
    number,
    read_bool,
    read_decimal,
    read_dtstart,
    read_duration,
    read_float,
    read_int,
    tag,
    text,
)

OK = 200
OUT_OF_SEQUENCE = 450
NOT_ALLOWED = 451
INVALID_ID = 452
NOT_RECOGNIZED = 453
INVALID_DATA = 454
COMPLIANCE = 459
SIGNAL_NOT_SUPPORTED = 460
REPORT_NOT_SUPPORTED = 461
TARGET_MISMATCH = 462
NOT_REGISTERED = 463
DEPLOYMENT = 469

VEN_ID = tag("ei", "venID")
VTN_ID = tag("ei", "vtnID")
REQUEST_ID = tag("pyld", "requestID")
EI_RESPONSE = tag("ei", "eiResponse")
EI_TARGET = tag("ei", "eiTarget")
MARKET_CONTEXT = tag("emix", "marketContext")
CREATED = tag("ei", "createdDateTime")
DTSTART = tag("xcal", "dtstart")
DURATION = tag("xcal", "duration")
PROPERTIES = tag("xcal", "properties")


# --- responses ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EiResponse:
    """eiResponse: how a message fared."""

    code: int = OK
    description: str = "OK"
    request_id: str = ""
    """Of the message that is answered."""

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 300


ACCEPTED = EiResponse()


def write_response(response: EiResponse, name: str = "ei:eiResponse") -> str:
    return (
        f"<{name}><ei:responseCode>{response.code:03d}</ei:responseCode>"
        f"<ei:responseDescription>{text(response.description)}</ei:responseDescription>"
        f"<pyld:requestID>{text(response.request_id)}</pyld:requestID></{name}>"
    )


def read_response(element: Element) -> EiResponse:
    fields = Fields(element)
    return EiResponse(
        code=read_int(fields.need(tag("ei", "responseCode"))),
        description=fields.optional(tag("ei", "responseDescription")) or "",
        request_id=fields.text(REQUEST_ID),
    )


# --- targets ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A polygon of emix:serviceArea or power:serviceLocation."""

    id: str | None = None
    polygon_id: str | None = None
    positions: tuple[float, ...]
    """Coordinates in turn, as gml:posList has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportInterface:
    """Between two nodes of the grid."""

    point_of_receipt: str
    point_of_delivery: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """eiTarget: whom something concerns; several are alternatives, none is everybody (rule 22)."""

    ven_ids: tuple[str, ...] = ()
    resource_ids: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    party_ids: tuple[str, ...] = ()
    end_device_assets: tuple[str, ...] = ()
    """mRIDs."""
    meter_assets: tuple[str, ...] = ()
    """mRIDs."""
    pnodes: tuple[str, ...] = ()
    aggregated_pnodes: tuple[str, ...] = ()
    service_delivery_points: tuple[str, ...] = ()
    transport_interfaces: tuple[TransportInterface, ...] = ()
    service_areas: tuple[Area, ...] = ()
    service_locations: tuple[Area, ...] = ()

    @property
    def empty(self) -> bool:
        return self == NOBODY_NAMED


NOBODY_NAMED = Target()


def _write_nodes(name: str, child: str, values: tuple[str, ...]) -> str:
    return "".join(f"<{name}><power:{child}>{text(value)}</power:{child}></{name}>" for value in values)


def _write_area(area: Area) -> str:
    def gml_id(value: str | None) -> str:
        return "" if value is None else f' gml:id="{attribute(value)}"'

    positions = " ".join(number(position) for position in area.positions)
    return (
        f"<gml:FeatureCollection{gml_id(area.id)}><gml:location><gml:Polygon{gml_id(area.polygon_id)}>"
        f"<gml:exterior><gml:LinearRing><gml:posList>{positions}</gml:posList></gml:LinearRing></gml:exterior>"
        "</gml:Polygon></gml:location></gml:FeatureCollection>"
    )


def write_target(target: Target, name: str = "ei:eiTarget") -> str:
    if target == NOBODY_NAMED:
        return f"<{name}></{name}>"
    interfaces = "".join(
        "<power:transportInterface>"
        f"<power:pointOfReceipt>{text(interface.point_of_receipt)}</power:pointOfReceipt>"
        f"<power:pointOfDelivery>{text(interface.point_of_delivery)}</power:pointOfDelivery>"
        "</power:transportInterface>"
        for interface in target.transport_interfaces
    )
    areas = "".join(f"<emix:serviceArea>{_write_area(area)}</emix:serviceArea>" for area in target.service_areas)
    places = "".join(
        f"<power:serviceLocation>{_write_area(area)}</power:serviceLocation>" for area in target.service_locations
    )
    return "".join(
        (
            f"<{name}>",
            _write_nodes("power:aggregatedPnode", "node", target.aggregated_pnodes),
            _write_nodes("power:endDeviceAsset", "mrid", target.end_device_assets),
            _write_nodes("power:meterAsset", "mrid", target.meter_assets),
            _write_nodes("power:pnode", "node", target.pnodes),
            areas,
            _write_nodes("power:serviceDeliveryPoint", "node", target.service_delivery_points),
            places,
            interfaces,
            each("ei:groupID", target.group_ids),
            each("ei:groupName", target.group_names),
            each("ei:resourceID", target.resource_ids),
            each("ei:venID", target.ven_ids),
            each("ei:partyID", target.party_ids),
            f"</{name}>",
        )
    )


def _read_text(element: Element) -> str:
    return element.text or ""


def _read_interface(element: Element) -> TransportInterface:
    return TransportInterface(point_of_receipt=element[0].text or "", point_of_delivery=element[1].text or "")


def _read_area(element: Element) -> Area:
    collection = element[0]
    polygon = collection[0][0]
    gml_id = f"{{{GML}}}id"
    positions = polygon[0][0][0].text or ""
    try:
        coordinates = tuple(float(position) for position in positions.split())
    except ValueError as error:
        raise WireError(f"gml:posList: {positions[:80]!r} is no list of numbers") from error
    return Area(id=collection.get(gml_id), polygon_id=polygon.get(gml_id), positions=coordinates)


_TARGETS: dict[str, tuple[str, Callable[[Element], Any]]] = {
    VEN_ID: ("ven_ids", _read_text),
    tag("ei", "resourceID"): ("resource_ids", _read_text),
    tag("ei", "groupID"): ("group_ids", _read_text),
    tag("ei", "groupName"): ("group_names", _read_text),
    tag("ei", "partyID"): ("party_ids", _read_text),
    tag("power", "endDeviceAsset"): ("end_device_assets", inner),
    tag("power", "meterAsset"): ("meter_assets", inner),
    tag("power", "pnode"): ("pnodes", inner),
    tag("power", "aggregatedPnode"): ("aggregated_pnodes", inner),
    tag("power", "serviceDeliveryPoint"): ("service_delivery_points", inner),
    tag("power", "transportInterface"): ("transport_interfaces", _read_interface),
    tag("emix", "serviceArea"): ("service_areas", _read_area),
    tag("power", "serviceLocation"): ("service_locations", _read_area),
}
"""By child: the field of Target that it adds to, and what is read of it."""


def read_target(element: Element) -> Target:
    """Raises WireError, also for what is nothing to aim at: leaving it out would widen the target."""
    found: dict[str, list[Any]] = {}
    for child in element:
        try:
            field, reader = _TARGETS[child.tag]
        except KeyError:
            raise WireError(f"{local(element.tag)}: {local(child.tag)} is no target of OpenADR 2.0b") from None
        found.setdefault(field, []).append(reader(child))
    return Target(**{field: tuple(values) for field, values in found.items()}) if found else NOBODY_NAMED


# --- units --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerAttributes:
    """power:powerAttributes."""

    hertz: float = 60.0
    voltage: float = 480.0
    ac: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """emix:itemBase: the unit of values."""

    name: str
    """Element name, e.g. powerReal."""
    units: str
    si_scale: str = "none"
    """siScaleCode, e.g. k."""
    description: str = ""
    """itemDescription, where it is not the one that the unit has in the schema."""
    power_attributes: PowerAttributes | None = None
    pulse_factor: float | None = None
    """Of pulseCount, in place of a scale."""


_DESCRIPTIONS = {
    "voltage": ("power", "Voltage"),
    "energyApparent": ("power", "ApparentEnergy"),
    "energyReactive": ("power", "ReactiveEnergy"),
    "energyReal": ("power", "RealEnergy"),
    "powerApparent": ("power", "ApparentPower"),
    "powerReactive": ("power", "ReactivePower"),
    "powerReal": ("power", "RealPower"),
    "customUnit": ("oadr", ""),
    "current": ("oadr", "Current"),
    "currency": ("oadr", "currency"),
    "currencyPerKWh": ("oadr", "currencyPerKWh"),
    "currencyPerKW": ("oadr", "currencyPerKW"),
    "currencyPerThm": ("oadr", "currency"),
    "frequency": ("oadr", "Frequency"),
    "Therm": ("oadr", "Therm"),
    "temperature": ("oadr", "temperature"),
    "pulseCount": ("oadr", "pulse count"),
}
"""By element name: the prefix and the itemDescription that the schema fixes, or the one usual."""

_POWERS = ("powerReal", "powerApparent", "powerReactive")

MEASURE_TAGS = frozenset(tag(prefix, name) for name, (prefix, _) in _DESCRIPTIONS.items())

KILOWATT = Measure(name="powerReal", units="W", si_scale="k", power_attributes=PowerAttributes())


def write_measure(measure: Measure) -> str:
    """Raises WireError for a unit OpenADR does not have."""
    try:
        prefix, usual = _DESCRIPTIONS[measure.name]
    except KeyError:
        raise WireError(f"{measure.name} is no unit of OpenADR 2.0b") from None
    name = f"{prefix}:{measure.name}"
    if measure.pulse_factor is not None:
        scale = f"<oadr:pulseFactor>{number(measure.pulse_factor)}</oadr:pulseFactor>"
    else:
        scale = f"<scale:siScaleCode>{text(measure.si_scale)}</scale:siScaleCode>"
    attributes = measure.power_attributes or (PowerAttributes() if measure.name in _POWERS else None)
    return (
        f"<{name}><{prefix}:itemDescription>{text(measure.description or usual)}</{prefix}:itemDescription>"
        f"<{prefix}:itemUnits>{text(measure.units)}</{prefix}:itemUnits>{scale}"
        f"{'' if attributes is None else _write_power_attributes(attributes)}</{name}>"
    )


def _write_power_attributes(attributes: PowerAttributes) -> str:
    return (
        f"<power:powerAttributes><power:hertz>{decimal(attributes.hertz)}</power:hertz>"
        f"<power:voltage>{decimal(attributes.voltage)}</power:voltage>"
        f"<power:ac>{boolean(attributes.ac)}</power:ac></power:powerAttributes>"
    )


def find_measure(element: Element) -> Measure | None:
    """The unit among an element's children."""
    for child in element:
        if child.tag in MEASURE_TAGS:
            return read_measure(child)
    return None


def read_measure(element: Element) -> Measure:
    by_name = {local(child.tag): child for child in element}
    factor = by_name.get("pulseFactor")
    attributes = by_name.get("powerAttributes")
    try:
        description, units = by_name["itemDescription"], by_name["itemUnits"]
    except KeyError as error:
        raise WireError(f"{local(element.tag)} has no {error.args[0]}") from error
    scale = by_name.get("siScaleCode")
    name, said = local(element.tag), (description.text or "").strip()
    return Measure(
        name=name,
        description="" if said == _DESCRIPTIONS[name][1] else said,
        units=(units.text or "").strip(),
        si_scale="none" if scale is None else (scale.text or "").strip(),
        power_attributes=None if attributes is None else _read_power_attributes(attributes),
        pulse_factor=None if factor is None else read_float(factor),
    )


def _read_power_attributes(element: Element) -> PowerAttributes:
    fields = Fields(element)
    return PowerAttributes(
        hertz=read_decimal(fields.need(f"{{{POWER}}}hertz")),
        voltage=read_decimal(fields.need(f"{{{POWER}}}voltage")),
        ac=read_bool(fields.need(f"{{{POWER}}}ac")),
    )


# --- time ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """xcal:properties with a start and a duration."""

    start: datetime
    duration_s: float
    """0: open-ended."""


def write_period(period: Period) -> str:
    return f"<xcal:properties>{dtstart(period.start)}{duration(period.duration_s)}</xcal:properties>"


def read_period(properties: Element) -> Period:
    fields = Fields(properties)
    return Period(start=read_dtstart(fields.need(DTSTART)), duration_s=read_duration(fields.need(DURATION)))
