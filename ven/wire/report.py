"""EiReport of OpenADR 2.0b: metadata, requests, data, cancels, in both directions.

An interval of data may carry one payload (as openleadr does) or one of every rID (as we write): both are read. Green
Button data is an Atom feed, carried as canonical XML.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ven.errors import WireError
from ven.wire.common import (
    CREATED,
    DTSTART,
    DURATION,
    EI_RESPONSE,
    MARKET_CONTEXT,
    PROPERTIES,
    REQUEST_ID,
    VEN_ID,
    EiResponse,
    Measure,
    Period,
    Target,
    find_measure,
    read_period,
    read_response,
    read_target,
    write_measure,
    write_period,
    write_response,
    write_target,
)
from ven.wire.schema import canonical, parse
from ven.wire.xml import (
    ATOM,
    NAMESPACES,
    Element,
    Fields,
    as_instant,
    as_seconds,
    boolean,
    children,
    dtstart,
    duration,
    each,
    inner,
    instant,
    lasting,
    number,
    optional,
    read_bool,
    read_dtstart,
    read_duration,
    read_float,
    read_instant,
    read_int,
    tag,
    text,
    texts,
)

TELEMETRY_USAGE = "TELEMETRY_USAGE"
TELEMETRY_STATUS = "TELEMETRY_STATUS"
HISTORY_USAGE = "HISTORY_USAGE"
HISTORY_GREENBUTTON = "HISTORY_GREENBUTTON"
METADATA = "METADATA"
"""reportSpecifierID that asks for the metadata again, and prefix of the names of metadata reports."""

# --- types --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadControlValue:
    """One quantity of oadrLoadControlState."""

    current: float
    min: float | None = None
    max: float | None = None
    normal: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """oadrPayloadResourceStatus: whether a resource is there, and who controls it."""

    online: bool
    manual_override: bool
    capacity: LoadControlValue | None = None
    level_offset: LoadControlValue | None = None
    percent_offset: LoadControlValue | None = None
    set_point: LoadControlValue | None = None


@dataclass(frozen=True, slots=True)
class ReportPayload:
    """oadrReportPayload: the value of one rID over an interval."""

    rid: str
    value: float | ResourceStatus
    quality: str | None = None
    """oadrDataQuality."""
    confidence: int | None = None
    """Per cent."""
    accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInterval:
    """ei:interval of a report."""

    start: datetime | None = None
    duration_s: float | None = None
    payloads: tuple[ReportPayload, ...] = ()
    green_button: bytes | None = None
    """An Atom feed of Green Button data."""
    uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRate:
    """oadrSamplingRate."""

    min_period_s: float
    max_period_s: float
    on_change: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDescription:
    """oadrReportDescription: one rID that can be reported."""

    rid: str
    report_type: str
    """reportType, e.g. usage."""
    reading_type: str
    """readingType, e.g. Direct Read."""
    measure: Measure | None = None
    subject: Target | None = None
    data_source: Target | None = None
    market_context: str | None = None
    sampling: SamplingRate | None = None
    green_button: bytes | None = None
    """oadrGBDataDescription: an Atom feed that describes Green Button data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """oadrReport: metadata (descriptions) or data (intervals)."""

    specifier_id: str
    request_id: str
    """reportRequestID; "0" in metadata."""
    created_at: datetime
    name: str | None = None
    """reportName, e.g. TELEMETRY_USAGE or METADATA_TELEMETRY_USAGE."""
    report_id: str | None = None
    start: datetime | None = None
    duration_s: float | None = None
    intervals: tuple[ReportInterval, ...] = ()
    descriptions: tuple[ReportDescription, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecifierPayload:
    """specifierPayload: one rID that is asked for."""

    rid: str
    reading_type: str = "Direct Read"
    measure: Measure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """oadrReportRequest: data of a registered report, every ``back_duration_s``, in steps of ``granularity_s``."""

    request_id: str
    """reportRequestID."""
    specifier_id: str
    granularity_s: float
    back_duration_s: float
    payloads: tuple[SpecifierPayload, ...]
    period: Period | None = None
    """reportInterval: when; left out, from now until cancelled."""

    @property
    def rids(self) -> tuple[str, ...]:
        return tuple(payload.rid for payload in self.payloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterReport:
    """oadrRegisterReport: what we can report."""

    request_id: str
    reports: tuple[Report, ...] = ()
    ven_id: str | None = None
    report_request_id: str | None = None
    """Of the request for metadata that this answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredReport:
    """oadrRegisteredReport: the offer is known; data may be asked for at once."""

    response: EiResponse
    requests: tuple[ReportRequest, ...] = ()
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReport:
    """oadrCreateReport: data is asked for."""

    request_id: str
    requests: tuple[ReportRequest, ...]
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedReport:
    """oadrCreatedReport: which requests are pending now."""

    response: EiResponse
    pending: tuple[str, ...] = ()
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """oadrUpdateReport: data."""

    request_id: str
    reports: tuple[Report, ...] = ()
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReport:
    """oadrCancelReport: no more data for these requests."""

    request_id: str
    report_request_ids: tuple[str, ...]
    report_to_follow: bool = False
    """Whether a last report is wanted."""
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedReport:
    """oadrUpdatedReport: the data arrived; a cancel may ride along."""

    response: EiResponse
    cancel: CancelReport | None = None
    ven_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledReport:
    """oadrCanceledReport: which requests are pending now."""

    response: EiResponse
    pending: tuple[str, ...] = ()
    ven_id: str | None = None


# --- writing ------------------------------------------------------------------------------------------------------


def _ven_id(ven_id: str | None) -> str:
    return optional("ei:venID", ven_id, text)


def _request_id(request_id: str) -> str:
    return f"<pyld:requestID>{text(request_id)}</pyld:requestID>"


def write_register_report(message: RegisterReport) -> str:
    return (
        f"{_request_id(message.request_id)}{''.join(map(write_report, message.reports))}{_ven_id(message.ven_id)}"
        f"{optional('ei:reportRequestID', message.report_request_id, text)}"
    )


def write_registered_report(message: RegisteredReport) -> str:
    requests = "".join(map(write_report_request, message.requests))
    return f"{write_response(message.response)}{requests}{_ven_id(message.ven_id)}"


def write_create_report(message: CreateReport) -> str:
    requests = "".join(map(write_report_request, message.requests))
    return f"{_request_id(message.request_id)}{requests}{_ven_id(message.ven_id)}"


def write_update_report(message: UpdateReport) -> str:
    reports = "".join(map(write_report, message.reports))
    return f"{_request_id(message.request_id)}{reports}{_ven_id(message.ven_id)}"


def write_updated_report(message: UpdatedReport) -> str:
    cancel = ""
    if message.cancel is not None:
        cancel = f"<oadr:oadrCancelReport>{write_cancel_report(message.cancel)}</oadr:oadrCancelReport>"
    return f"{write_response(message.response)}{cancel}{_ven_id(message.ven_id)}"


def write_cancel_report(message: CancelReport) -> str:
    return (
        f"{_request_id(message.request_id)}{each('ei:reportRequestID', message.report_request_ids)}"
        f"<pyld:reportToFollow>{boolean(message.report_to_follow)}</pyld:reportToFollow>{_ven_id(message.ven_id)}"
    )


def write_pending(message: CreatedReport | CanceledReport) -> str:
    return (
        f"{write_response(message.response)}"
        f"<oadr:oadrPendingReports>{each('ei:reportRequestID', message.pending)}</oadr:oadrPendingReports>"
        f"{_ven_id(message.ven_id)}"
    )


def write_report_request(request: ReportRequest) -> str:
    period = "" if request.period is None else f"<ei:reportInterval>{write_period(request.period)}</ei:reportInterval>"
    payloads = "".join(
        f"<ei:specifierPayload><ei:rID>{text(payload.rid)}</ei:rID>"
        f"{'' if payload.measure is None else write_measure(payload.measure)}"
        f"<ei:readingType>{text(payload.reading_type)}</ei:readingType></ei:specifierPayload>"
        for payload in request.payloads
    )
    return (
        f"<oadr:oadrReportRequest><ei:reportRequestID>{text(request.request_id)}</ei:reportRequestID>"
        f"<ei:reportSpecifier><ei:reportSpecifierID>{text(request.specifier_id)}</ei:reportSpecifierID>"
        f"{duration(request.granularity_s, 'xcal:granularity')}"
        f"{duration(request.back_duration_s, 'ei:reportBackDuration')}{period}{payloads}"
        "</ei:reportSpecifier></oadr:oadrReportRequest>"
    )


def write_report(report: Report) -> str:
    intervals = ""
    if report.intervals:
        intervals = f"<strm:intervals>{''.join(map(_write_interval, report.intervals))}</strm:intervals>"
    return (
        f"<oadr:oadrReport>{'' if report.start is None else dtstart(report.start)}"
        f"{'' if report.duration_s is None else duration(report.duration_s)}{intervals}"
        f"{optional('ei:eiReportID', report.report_id, text)}{''.join(map(_write_description, report.descriptions))}"
        f"<ei:reportRequestID>{text(report.request_id)}</ei:reportRequestID>"
        f"<ei:reportSpecifierID>{text(report.specifier_id)}</ei:reportSpecifierID>"
        f"{optional('ei:reportName', report.name, text)}"
        f"<ei:createdDateTime>{instant(report.created_at)}</ei:createdDateTime></oadr:oadrReport>"
    )


def _write_interval(interval: ReportInterval) -> str:
    start = "" if interval.start is None else dtstart(interval.start)
    lasts = "" if interval.duration_s is None else duration(interval.duration_s)
    uid = "" if interval.uid is None else f"<xcal:uid><xcal:text>{text(interval.uid)}</xcal:text></xcal:uid>"
    feed = ""
    if interval.green_button is not None:
        feed = f"<oadr:oadrGBPayload>{_canonical_feed(interval.green_button)}</oadr:oadrGBPayload>"
    return f"<ei:interval>{start}{lasts}{uid}{''.join(map(_write_payload, interval.payloads))}{feed}</ei:interval>"


def _write_payload(payload: ReportPayload) -> str:
    value = payload.value
    if isinstance(value, ResourceStatus):
        written = _write_status(value)
    else:
        written = f"<ei:payloadFloat><ei:value>{number(value)}</ei:value></ei:payloadFloat>"
    extra = ""
    if payload.confidence is not None or payload.accuracy is not None:
        extra = optional("ei:confidence", payload.confidence, str) + optional("ei:accuracy", payload.accuracy, number)
    quality = payload.quality
    grade = "" if quality is None else f"<oadr:oadrDataQuality>{text(quality)}</oadr:oadrDataQuality>"
    return (
        f"<oadr:oadrReportPayload><ei:rID>{text(payload.rid)}</ei:rID>{extra}{written}{grade}</oadr:oadrReportPayload>"
    )


_CONTROLS = {
    "capacity": "oadrCapacity",
    "level_offset": "oadrLevelOffset",
    "percent_offset": "oadrPercentOffset",
    "set_point": "oadrSetPoint",
}


def _write_status(status: ResourceStatus) -> str:
    controls = "".join(
        optional(f"oadr:{name}", getattr(status, field), _write_control) for field, name in _CONTROLS.items()
    )
    state = f"<oadr:oadrLoadControlState>{controls}</oadr:oadrLoadControlState>" if controls else ""
    return (
        f"<oadr:oadrPayloadResourceStatus><oadr:oadrOnline>{boolean(status.online)}</oadr:oadrOnline>"
        f"<oadr:oadrManualOverride>{boolean(status.manual_override)}</oadr:oadrManualOverride>{state}"
        "</oadr:oadrPayloadResourceStatus>"
    )


def _write_control(value: LoadControlValue) -> str:
    return (
        f"{optional('oadr:oadrMin', value.min, number)}{optional('oadr:oadrMax', value.max, number)}"
        f"<oadr:oadrCurrent>{number(value.current)}</oadr:oadrCurrent>"
        f"{optional('oadr:oadrNormal', value.normal, number)}"
    )


def _write_description(description: ReportDescription) -> str:
    if description.green_button is not None:
        feed = _canonical_feed(description.green_button)
        measure = f"<oadr:oadrGBDataDescription>{feed}</oadr:oadrGBDataDescription>"
    else:
        measure = "" if description.measure is None else write_measure(description.measure)
    subject, source = description.subject, description.data_source
    return (
        f"<oadr:oadrReportDescription><ei:rID>{text(description.rid)}</ei:rID>"
        f"{'' if subject is None else write_target(subject, 'ei:reportSubject')}"
        f"{'' if source is None else write_target(source, 'ei:reportDataSource')}"
        f"<ei:reportType>{text(description.report_type)}</ei:reportType>{measure}"
        f"<ei:readingType>{text(description.reading_type)}</ei:readingType>"
        f"{optional('emix:marketContext', description.market_context, text)}"
        f"{optional('oadr:oadrSamplingRate', description.sampling, _write_sampling)}</oadr:oadrReportDescription>"
    )


def _write_sampling(sampling: SamplingRate) -> str:
    return (
        f"<oadr:oadrMinPeriod>{lasting(sampling.min_period_s)}</oadr:oadrMinPeriod>"
        f"<oadr:oadrMaxPeriod>{lasting(sampling.max_period_s)}</oadr:oadrMaxPeriod>"
        f"<oadr:oadrOnChange>{boolean(sampling.on_change)}</oadr:oadrOnChange>"
    )


def _canonical_feed(feed: bytes) -> str:
    """The Atom feed as it stands in the canonical form of the message around it. Raises WireError."""
    root = parse(feed)
    if root.tag != _FEED:
        raise WireError("Green Button data is an Atom feed")
    around = parse(b"<around" + NAMESPACES.encode() + b">" + canonical(root) + b"</around>")
    return canonical(around).partition(b">")[2].removesuffix(b"</around>").decode("utf-8")


# --- reading ------------------------------------------------------------------------------------------------------

_FEED = f"{{{ATOM}}}feed"
_REPORT = tag("oadr", "oadrReport")
_REPORT_REQUEST = tag("oadr", "oadrReportRequest")
_REQUEST = tag("ei", "reportRequestID")
_SPECIFIER_ID = tag("ei", "reportSpecifierID")
_PENDING = tag("oadr", "oadrPendingReports")
_INTERVALS = tag("strm", "intervals")
_UID = tag("xcal", "uid")
_PAYLOAD = tag("oadr", "oadrReportPayload")
_GREEN_BUTTON = tag("oadr", "oadrGBPayload")
_PAYLOAD_FLOAT = tag("ei", "payloadFloat")
_STATUS = tag("oadr", "oadrPayloadResourceStatus")
_QUALITY = tag("oadr", "oadrDataQuality")
_CONFIDENCE = tag("ei", "confidence")
_ACCURACY = tag("ei", "accuracy")
_RID = tag("ei", "rID")


def read_register_report(element: Element) -> RegisterReport:
    fields = Fields(element)
    return RegisterReport(
        request_id=fields.text(REQUEST_ID),
        reports=tuple(map(read_report, children(element, _REPORT))),
        ven_id=fields.optional(VEN_ID),
        report_request_id=fields.optional(_REQUEST),
    )


def read_registered_report(element: Element) -> RegisteredReport:
    fields = Fields(element)
    return RegisteredReport(
        response=read_response(fields.need(EI_RESPONSE)),
        requests=tuple(map(read_report_request, children(element, _REPORT_REQUEST))),
        ven_id=fields.optional(VEN_ID),
    )


def read_create_report(element: Element) -> CreateReport:
    fields = Fields(element)
    return CreateReport(
        request_id=fields.text(REQUEST_ID),
        requests=tuple(map(read_report_request, children(element, _REPORT_REQUEST))),
        ven_id=fields.optional(VEN_ID),
    )


def read_created_report(element: Element) -> CreatedReport:
    fields = Fields(element)
    return CreatedReport(
        response=read_response(fields.need(EI_RESPONSE)),
        pending=read_pending(fields.need(_PENDING)),
        ven_id=fields.optional(VEN_ID),
    )


def read_update_report(element: Element) -> UpdateReport:
    fields = Fields(element)
    return UpdateReport(
        request_id=fields.text(REQUEST_ID),
        reports=tuple(map(read_report, children(element, _REPORT))),
        ven_id=fields.optional(VEN_ID),
    )


def read_updated_report(element: Element) -> UpdatedReport:
    fields = Fields(element)
    return UpdatedReport(
        response=read_response(fields.need(EI_RESPONSE)),
        cancel=fields.read(tag("oadr", "oadrCancelReport"), read_cancel_report),
        ven_id=fields.optional(VEN_ID),
    )


def read_cancel_report(element: Element) -> CancelReport:
    fields = Fields(element)
    return CancelReport(
        request_id=fields.text(REQUEST_ID),
        report_request_ids=texts(element, _REQUEST),
        report_to_follow=read_bool(fields.need(tag("pyld", "reportToFollow"))),
        ven_id=fields.optional(VEN_ID),
    )


def read_canceled_report(element: Element) -> CanceledReport:
    fields = Fields(element)
    return CanceledReport(
        response=read_response(fields.need(EI_RESPONSE)),
        pending=read_pending(fields.need(_PENDING)),
        ven_id=fields.optional(VEN_ID),
    )


def read_pending(element: Element) -> tuple[str, ...]:
    return texts(element, _REQUEST)


def read_report_request(element: Element) -> ReportRequest:
    fields = Fields(element)
    specifier = fields.need(tag("ei", "reportSpecifier"))
    asked = Fields(specifier)
    period = asked.get(tag("ei", "reportInterval"))
    return ReportRequest(
        request_id=fields.text(_REQUEST),
        specifier_id=asked.text(_SPECIFIER_ID),
        granularity_s=read_duration(asked.need(tag("xcal", "granularity"))),
        back_duration_s=read_duration(asked.need(tag("ei", "reportBackDuration"))),
        payloads=tuple(map(_read_specifier, children(specifier, tag("ei", "specifierPayload")))),
        period=None if period is None else read_period(Fields(period).need(PROPERTIES)),
    )


def _read_specifier(element: Element) -> SpecifierPayload:
    fields = Fields(element)
    return SpecifierPayload(
        rid=fields.text(_RID),
        reading_type=fields.text(tag("ei", "readingType")).strip(),
        measure=find_measure(element),
    )


def read_report(element: Element) -> Report:
    fields = Fields(element)
    intervals = fields.get(_INTERVALS)
    return Report(
        specifier_id=fields.text(_SPECIFIER_ID),
        request_id=fields.text(_REQUEST),
        created_at=read_instant(fields.need(CREATED)),
        name=fields.optional(tag("ei", "reportName")),
        report_id=fields.optional(tag("ei", "eiReportID")),
        start=fields.read(DTSTART, read_dtstart),
        duration_s=fields.read(DURATION, read_duration),
        intervals=() if intervals is None else tuple(map(_read_interval, intervals)),
        descriptions=tuple(map(read_description, children(element, tag("oadr", "oadrReportDescription")))),
    )


def _read_interval(interval: Element) -> ReportInterval:
    start = duration_s = uid = feed = None
    payloads = []
    for child in [*interval]:
        name = child.tag
        if name == _PAYLOAD:
            payloads.append(read_payload(child))
        elif name == DTSTART:
            start = as_instant(inner(child))
        elif name == DURATION:
            duration_s = as_seconds(inner(child))
        elif name == _UID:
            uid = inner(child)
        elif name == _GREEN_BUTTON:
            feed = read_feed(child)
    return ReportInterval(start=start, duration_s=duration_s, payloads=tuple(payloads), green_button=feed, uid=uid)


def read_payload(element: Element) -> ReportPayload:
    children = [*element]
    if len(children) == 3:  # by far the most common form, and a day's report has thousands
        rid, value, quality = children
        if value.tag == _PAYLOAD_FLOAT and quality.tag == _QUALITY and rid.tag == _RID:
            return ReportPayload(rid.text or "", float(value[0].text), (quality.text or "").strip())
    return _read_any_payload(Fields(element))


def _read_any_payload(fields: Fields) -> ReportPayload:
    rid, quality = fields.text(_RID), fields.optional(_QUALITY)
    value: float | ResourceStatus | None = fields.read(_STATUS, read_status)
    if value is None:
        value = read_float(fields.need(_PAYLOAD_FLOAT)[0])
    return ReportPayload(
        rid,
        value,
        None if quality is None else quality.strip(),
        fields.read(_CONFIDENCE, read_int),
        fields.read(_ACCURACY, read_float),
    )


def read_status(element: Element) -> ResourceStatus:
    fields = Fields(element)
    controls = fields.read(tag("oadr", "oadrLoadControlState"), read_control_state)
    return ResourceStatus(
        online=read_bool(fields.need(tag("oadr", "oadrOnline"))),
        manual_override=read_bool(fields.need(tag("oadr", "oadrManualOverride"))),
        **(controls or {}),
    )


def read_control_state(element: Element) -> dict[str, LoadControlValue]:
    """Of oadrLoadControlState, by the fields of ResourceStatus."""
    fields = Fields(element)
    found = {field: fields.read(tag("oadr", name), _read_control) for field, name in _CONTROLS.items()}
    return {field: value for field, value in found.items() if value is not None}


def _read_control(element: Element) -> LoadControlValue:
    fields = Fields(element)
    return LoadControlValue(
        current=read_float(fields.need(tag("oadr", "oadrCurrent"))),
        min=fields.read(tag("oadr", "oadrMin"), read_float),
        max=fields.read(tag("oadr", "oadrMax"), read_float),
        normal=fields.read(tag("oadr", "oadrNormal"), read_float),
    )


def read_description(element: Element) -> ReportDescription:
    fields = Fields(element)
    return ReportDescription(
        rid=fields.text(_RID),
        report_type=fields.text(tag("ei", "reportType")).strip(),
        reading_type=fields.text(tag("ei", "readingType")).strip(),
        measure=find_measure(element),
        subject=fields.read(tag("ei", "reportSubject"), read_target),
        data_source=fields.read(tag("ei", "reportDataSource"), read_target),
        market_context=fields.optional(MARKET_CONTEXT),
        sampling=fields.read(tag("oadr", "oadrSamplingRate"), read_sampling),
        green_button=fields.read(tag("oadr", "oadrGBDataDescription"), read_feed),
    )


def read_sampling(element: Element) -> SamplingRate:
    fields = Fields(element)
    return SamplingRate(
        min_period_s=as_seconds(fields.text(tag("oadr", "oadrMinPeriod"))),
        max_period_s=as_seconds(fields.text(tag("oadr", "oadrMaxPeriod"))),
        on_change=read_bool(fields.need(tag("oadr", "oadrOnChange"))),
    )


def read_feed(element: Element) -> bytes:
    """The Atom feed alone, in exclusive canonical form: no namespace of the message around it but what it uses."""
    return canonical(element[0], exclusive=True)
