"""Hypothesis strategies for every message of OpenADR 2.0b, with texts that break careless codecs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from lxml import etree  # type: ignore[import-untyped]

from grid.events import EventStatus, OptType
from ven.wire.common import (
    Area,
    EiResponse,
    Measure,
    Period,
    PowerAttributes,
    Target,
    TransportInterface,
)
from ven.wire.event import (
    CreatedEvent,
    DistributeEvent,
    EventBaseline,
    EventResponse,
    RequestEvent,
    SignalPoint,
    WireEvent,
    WireSignal,
)
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt, QualifiedEventId
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    Info,
    NamedInfo,
    Poll,
    Profile,
    QueryRegistration,
    RequestReregistration,
    Response,
)
from ven.wire.payload import Message, Service
from ven.wire.report import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    LoadControlValue,
    RegisteredReport,
    RegisterReport,
    Report,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    ReportRequest,
    ResourceStatus,
    SamplingRate,
    SpecifierPayload,
    UpdatedReport,
    UpdateReport,
)

SIGNAL_NAMES = (
    "SIMPLE",
    "simple",
    "ELECTRICITY_PRICE",
    "ENERGY_PRICE",
    "DEMAND_CHARGE",
    "BID_PRICE",
    "BID_LOAD",
    "BID_ENERGY",
    "CHARGE_STATE",
    "LOAD_DISPATCH",
    "LOAD_CONTROL",
    "x-own",
)
SIGNAL_TYPES = (
    "delta",
    "level",
    "multiplier",
    "price",
    "priceMultiplier",
    "priceRelative",
    "setpoint",
    "x-loadControlCapacity",
    "x-loadControlLevelOffset",
    "x-loadControlPercentOffset",
    "x-loadControlSetpoint",
)
SCALES = ("p", "n", "micro", "m", "c", "d", "k", "M", "G", "T", "none")
UNITS = (
    ("voltage", "V"),
    ("energyApparent", "VAh"),
    ("energyReactive", "VARh"),
    ("energyReal", "Wh"),
    ("powerApparent", "VA"),
    ("powerReactive", "VAR"),
    ("powerReal", "W"),
    ("powerReal", "J/s"),
    ("customUnit", "furlongs per fortnight"),
    ("current", "A"),
    ("currency", "USD"),
    ("currencyPerKWh", "EUR"),
    ("currencyPerKW", "GBP"),
    ("currencyPerThm", "JPY"),
    ("frequency", "Hz"),
    ("Therm", "thm"),
    ("temperature", "celsius"),
    ("temperature", "fahrenheit"),
    ("pulseCount", "count"),
)
REPORT_TYPES = (
    "reading",
    "usage",
    "demand",
    "setPoint",
    "deltaUsage",
    "deltaSetPoint",
    "deltaDemand",
    "baseline",
    "deviation",
    "avgUsage",
    "avgDemand",
    "operatingState",
    "upRegulationCapacityAvailable",
    "downRegulationCapacityAvailable",
    "regulationSetpoint",
    "storedEnergy",
    "targetEnergyStorage",
    "availableEnergyStorage",
    "price",
    "level",
    "powerFactor",
    "percentUsage",
    "percentDemand",
    "x-resourceStatus",
)
READING_TYPES = (
    "Direct Read",
    "Net",
    "Allocated",
    "Estimated",
    "Summed",
    "Derived",
    "Mean",
    "Peak",
    "Hybrid",
    "Contract",
    "Projected",
    "x-RMS",
    "x-notApplicable",
)
REPORT_NAMES = tuple(
    f"{prefix}{name}"
    for prefix in ("", "METADATA_")
    for name in ("TELEMETRY_USAGE", "TELEMETRY_STATUS", "HISTORY_USAGE", "HISTORY_GREENBUTTON")
)
QUALITIES = (
    "No Quality - No Value",
    "No New Value - Previous Value Used",
    "Quality Bad - Non Specific",
    "Quality Bad - Comm Failure",
    "Quality Uncertain - Sub Normal",
    "Quality Good - Non Specific",
    "Quality Good - Local Override",
    "Quality Limit - Field/Not",
    "x-guessed",
)
OPT_REASONS = (
    "economic",
    "emergency",
    "mustRun",
    "notParticipating",
    "outageRunStatus",
    "overrideStatus",
    "participating",
    "x-schedule",
)

# --- values -------------------------------------------------------------------------------------------------------

_CHARACTERS = st.one_of(
    st.sampled_from("<>&\"'\t\n\r ]/#;%é漢\u0085\u2028\U0001f50b"),
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"),
)
TRAPS = (
    "007",
    "1.2.3",
    "-0",
    "1e5",
    "true",
    "None",
    " in spaces ",
    "a\tb\nc\rd",
    "]]>",
    "<!-- -->",
    "&amp;",
    "a & b < c > d",
    "<ei:venID>x</ei:venID>",
    "café 漢字 \U0001f50b",
    "x" * 300,
)
text = st.one_of(st.sampled_from(TRAPS), st.text(_CHARACTERS, max_size=20))
"""Any text that XML can carry."""
identifier = text
present = st.one_of(st.sampled_from(TRAPS), st.text(_CHARACTERS, min_size=1, max_size=20))
"""A text that is not empty."""

instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
durations = st.one_of(
    st.just(0.0), st.integers(1, 90_000).map(float), st.integers(0, 9 * 366).map(lambda days: days * 86400.0)
)
floats = st.one_of(
    st.floats(allow_nan=False, width=64),
    st.sampled_from([0.0, -0.0, 1e-7, 1e16, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf")]),
)
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)
unsigned = st.integers(0, 2**32 - 1)
contexts = st.sampled_from(["http://utility.example/context", "urn:x:y", "", "a/b?c=d&e=f"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


def several(strategy: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, min_size=least, max_size=3).map(tuple)


def built(kind: Callable[..., Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **fields)


responses = built(EiResponse, code=st.integers(0, 999), description=text, request_id=identifier)

# --- targets and units --------------------------------------------------------------------------------------------

_areas = built(Area, positions=several(finite, 0))
_interfaces = built(TransportInterface, point_of_receipt=text, point_of_delivery=text)
targets = built(
    Target,
    **dict.fromkeys(
        (
            "ven_ids",
            "resource_ids",
            "group_ids",
            "group_names",
            "party_ids",
            "end_device_assets",
            "meter_assets",
            "pnodes",
            "aggregated_pnodes",
            "service_delivery_points",
        ),
        several(identifier),
    ),
    transport_interfaces=several(_interfaces),
    service_areas=several(_areas),
    service_locations=several(_areas),
)

_attributes = built(PowerAttributes, hertz=finite, voltage=finite, ac=st.booleans())


@st.composite
def measures(draw: st.DrawFn) -> Measure:
    name, units = draw(st.sampled_from(UNITS))
    if name == "pulseCount":
        return Measure(name=name, units=units, pulse_factor=draw(floats))
    description = ""
    if name == "customUnit":
        description, units = draw(present.map(str.strip)), draw(text.map(str.strip))
    elif name.startswith("currency"):
        description = draw(st.sampled_from(("", "currency", "currencyPerKW", "currencyPerKWh")))
        usual = "currency" if name == "currencyPerThm" else name
        description = "" if description == usual else description
    attributes = draw(_attributes) if name.startswith("power") else None
    scale = draw(st.sampled_from(SCALES))
    return Measure(name=name, units=units, si_scale=scale, description=description, power_attributes=attributes)


# --- events -------------------------------------------------------------------------------------------------------

points = st.lists(built(SignalPoint, duration_s=durations, value=floats, uid=identifier), min_size=1, max_size=3)
signals = built(
    WireSignal,
    signal_id=identifier,
    name=st.sampled_from(SIGNAL_NAMES),
    type=st.sampled_from(SIGNAL_TYPES),
    intervals=points.map(tuple),
    measure=maybe(measures()),
    current_value=maybe(floats),
    target=targets,
)
baselines = built(
    EventBaseline,
    baseline_id=identifier,
    name=text,
    start=instants,
    duration_s=durations,
    intervals=points.map(tuple),
    resource_ids=several(identifier),
    measure=maybe(measures()),
)
events = built(
    WireEvent,
    event_id=identifier,
    modification_number=unsigned,
    status=st.sampled_from(EventStatus),
    created_at=instants,
    market_context=contexts,
    start=instants,
    duration_s=durations,
    signals=several(signals, 1),
    target=targets,
    response_required=st.booleans(),
    priority=unsigned,
    test_event=maybe(text),
    startafter_s=maybe(durations),
    notification_s=maybe(durations),
    ramp_up_s=maybe(durations),
    recovery_s=maybe(durations),
    modified_at=maybe(instants),
    modification_reason=maybe(text),
    vtn_comment=maybe(text),
    baseline=maybe(baselines),
)
_event_responses = built(
    EventResponse,
    request_id=identifier,
    event_id=identifier,
    modification_number=unsigned,
    opt=st.sampled_from(OptType),
    code=st.integers(0, 999),
    description=text,
)

# --- reports ------------------------------------------------------------------------------------------------------

_controls = built(LoadControlValue, current=floats, min=maybe(floats), max=maybe(floats), normal=maybe(floats))
statuses = built(
    ResourceStatus,
    online=st.booleans(),
    manual_override=st.booleans(),
    capacity=maybe(_controls),
    level_offset=maybe(_controls),
    percent_offset=maybe(_controls),
    set_point=maybe(_controls),
)
_payloads = built(
    ReportPayload,
    rid=identifier,
    value=st.one_of(floats, statuses),
    quality=maybe(st.sampled_from(QUALITIES)),
    confidence=maybe(st.integers(0, 100)),
    accuracy=maybe(floats),
)

GREEN_BUTTON = """<atom:feed xmlns:atom="http://www.w3.org/2005/Atom" xmlns:espi="http://naesb.org/espi">
<atom:id>urn:uuid:1</atom:id><atom:title type="text">Usage &amp; more</atom:title>
<atom:updated>2026-07-01T12:00:00Z</atom:updated>
<atom:entry><atom:content><espi:IntervalBlock><espi:interval><espi:duration>3600</espi:duration>
<espi:start>1782907200</espi:start></espi:interval><espi:IntervalReading><espi:timePeriod>
<espi:duration>3600</espi:duration><espi:start>1782907200</espi:start></espi:timePeriod><espi:value>%d</espi:value>
</espi:IntervalReading></espi:IntervalBlock></atom:content><atom:id>urn:uuid:2</atom:id>
<atom:title>%s</atom:title><atom:updated>2026-07-01T12:00:00Z</atom:updated></atom:entry></atom:feed>"""


def green_button(value: int, title: str) -> bytes:
    """A Green Button feed in exclusive canonical form, as it is read back."""
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
    written: bytes = etree.tostring(
        etree.fromstring((GREEN_BUTTON % (value, escaped)).encode()), method="c14n", exclusive=True
    )
    return written


_feeds = st.builds(green_button, st.integers(0, 10**9), text)
_intervals = st.one_of(
    built(
        ReportInterval,
        start=maybe(instants),
        duration_s=maybe(durations),
        payloads=several(_payloads, 1),
        uid=maybe(identifier),
        green_button=st.none(),
    ),
    built(ReportInterval, green_button=_feeds, payloads=several(_payloads)),
)
_sampling = built(SamplingRate, min_period_s=durations, max_period_s=durations, on_change=st.booleans())


@st.composite
def descriptions(draw: st.DrawFn) -> ReportDescription:
    unit = draw(st.sampled_from(("measure", "green_button", "none")))
    return ReportDescription(
        rid=draw(identifier),
        report_type=draw(st.sampled_from(REPORT_TYPES)),
        reading_type=draw(st.sampled_from(READING_TYPES)),
        measure=draw(measures()) if unit == "measure" else None,
        green_button=draw(_feeds) if unit == "green_button" else None,
        subject=draw(maybe(targets)),
        data_source=draw(maybe(targets)),
        market_context=draw(maybe(contexts)),
        sampling=draw(maybe(_sampling)),
    )


reports = built(
    Report,
    specifier_id=identifier,
    request_id=identifier,
    created_at=instants,
    name=maybe(st.sampled_from((*REPORT_NAMES, "x-own"))),
    report_id=maybe(identifier),
    start=maybe(instants),
    duration_s=maybe(durations),
    intervals=several(_intervals),
    descriptions=several(descriptions()),
)
periods = built(Period, start=instants, duration_s=durations)
_specifiers = built(
    SpecifierPayload, rid=identifier, reading_type=st.sampled_from(READING_TYPES), measure=maybe(measures())
)
requests = built(
    ReportRequest,
    request_id=identifier,
    specifier_id=identifier,
    granularity_s=durations,
    back_duration_s=durations,
    payloads=several(_specifiers, 1),
    period=maybe(periods),
)
_cancels = built(
    CancelReport,
    request_id=identifier,
    report_request_ids=several(identifier, 1),
    report_to_follow=st.booleans(),
    ven_id=maybe(identifier),
)

# --- messages -----------------------------------------------------------------------------------------------------

_infos = built(Info, key=text, value=text)
_profiles = built(
    Profile, name=st.sampled_from(("2.0a", "2.0b")), transports=several(st.sampled_from(("simpleHttp", "xmpp")), 1)
)
_services = built(NamedInfo, name=st.sampled_from(list(Service)).map(str), info=several(_infos, 1))
_extensions = built(NamedInfo, name=text, info=several(_infos))

MESSAGES: dict[type[Any], st.SearchStrategy[Message]] = {
    QueryRegistration: built(QueryRegistration, request_id=identifier),
    CreatePartyRegistration: built(
        CreatePartyRegistration,
        request_id=identifier,
        ven_name=maybe(text),
        ven_id=maybe(identifier),
        registration_id=maybe(identifier),
        profile=st.sampled_from(("2.0a", "2.0b")),
        transport=st.sampled_from(("simpleHttp", "xmpp")),
        transport_address=maybe(text),
        report_only=st.booleans(),
        xml_signature=st.booleans(),
        http_pull_model=maybe(st.booleans()),
    ),
    CreatedPartyRegistration: built(
        CreatedPartyRegistration,
        response=responses,
        vtn_id=identifier,
        ven_id=maybe(identifier),
        registration_id=maybe(identifier),
        profiles=several(_profiles, 1),
        poll_interval_s=maybe(durations),
        services=several(_services),
        extensions=several(_extensions),
    ),
    CancelPartyRegistration: built(
        CancelPartyRegistration, request_id=identifier, registration_id=identifier, ven_id=maybe(identifier)
    ),
    CanceledPartyRegistration: built(
        CanceledPartyRegistration, response=responses, registration_id=maybe(identifier), ven_id=maybe(identifier)
    ),
    RequestReregistration: built(RequestReregistration, ven_id=identifier),
    Poll: built(Poll, ven_id=identifier),
    Response: built(Response, response=responses, ven_id=maybe(identifier)),
    RequestEvent: built(RequestEvent, request_id=identifier, ven_id=identifier, reply_limit=maybe(unsigned)),
    DistributeEvent: built(
        DistributeEvent, request_id=identifier, vtn_id=identifier, events=several(events), response=maybe(responses)
    ),
    CreatedEvent: built(CreatedEvent, ven_id=identifier, responses=several(_event_responses), response=responses),
    RegisterReport: built(
        RegisterReport,
        request_id=identifier,
        reports=several(reports),
        ven_id=maybe(identifier),
        report_request_id=maybe(identifier),
    ),
    RegisteredReport: built(RegisteredReport, response=responses, requests=several(requests), ven_id=maybe(identifier)),
    CreateReport: built(CreateReport, request_id=identifier, requests=several(requests, 1), ven_id=maybe(identifier)),
    CreatedReport: built(CreatedReport, response=responses, pending=several(identifier), ven_id=maybe(identifier)),
    UpdateReport: built(UpdateReport, request_id=identifier, reports=several(reports), ven_id=maybe(identifier)),
    UpdatedReport: built(UpdatedReport, response=responses, cancel=maybe(_cancels), ven_id=maybe(identifier)),
    CancelReport: _cancels,
    CanceledReport: built(CanceledReport, response=responses, pending=several(identifier), ven_id=maybe(identifier)),
    CreateOpt: built(
        CreateOpt,
        request_id=identifier,
        opt_id=identifier,
        opt=st.sampled_from(OptType),
        reason=st.sampled_from(OPT_REASONS),
        ven_id=identifier,
        created_at=instants,
        market_context=maybe(contexts),
        availability=maybe(several(periods)),
        event=maybe(built(QualifiedEventId, event_id=identifier, modification_number=unsigned)),
        target=targets,
        device_class=maybe(targets),
    ),
    CreatedOpt: built(CreatedOpt, response=responses, opt_id=identifier),
    CancelOpt: built(CancelOpt, request_id=identifier, opt_id=identifier, ven_id=identifier),
    CanceledOpt: built(CanceledOpt, response=responses, opt_id=maybe(identifier)),
}
"""By type of message."""

messages: st.SearchStrategy[Message] = st.one_of(*MESSAGES.values())
