"""EiEvent of OpenADR 2.0b: oadrRequestEvent, oadrDistributeEvent, oadrCreatedEvent.

Times of a signal's intervals follow from the event's start and the durations before them; an interval of duration 0
ends with the event. An event that cannot be read becomes ``UnreadableEvent`` and the others of its message stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from grid.events import EventStatus, OptType
from ven.errors import WireError
from ven.wire.common import (
    ACCEPTED,
    CREATED,
    DTSTART,
    DURATION,
    EI_RESPONSE,
    EI_TARGET,
    NOBODY_NAMED,
    OK,
    PROPERTIES,
    REQUEST_ID,
    VEN_ID,
    VTN_ID,
    EiResponse,
    Measure,
    Target,
    find_measure,
    read_response,
    read_target,
    write_measure,
    write_response,
    write_target,
)
from ven.wire.schema import fault
from ven.wire.xml import (
    Element,
    Fields,
    as_seconds,
    children,
    dtstart,
    duration,
    each,
    inner,
    instant,
    lasting,
    number,
    optional,
    read_dtstart,
    read_duration,
    read_float,
    read_instant,
    read_int,
    tag,
    text,
    texts,
)

# --- types --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPoint:
    """One interval of a signal or baseline."""

    duration_s: float
    """0: to the end of the event."""
    value: float
    uid: str | None = None
    """From 0 by 1 (rule 2); left out, its place is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSignal:
    """One eiEventSignal."""

    signal_id: str
    name: str
    """signalName, e.g. LOAD_DISPATCH."""
    type: str
    """signalType, e.g. delta."""
    intervals: tuple[SignalPoint, ...]
    measure: Measure | None = None
    current_value: float | None = None
    target: Target = NOBODY_NAMED


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBaseline:
    """eiEventBaseline: the VTN's idea of the load without the event."""

    baseline_id: str
    name: str
    start: datetime
    duration_s: float
    intervals: tuple[SignalPoint, ...]
    resource_ids: tuple[str, ...] = ()
    measure: Measure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEvent:
    """One oadrEvent."""

    event_id: str
    modification_number: int
    status: EventStatus
    created_at: datetime
    market_context: str
    start: datetime
    duration_s: float
    """0: open until cancelled (rule 47)."""
    signals: tuple[WireSignal, ...]
    target: Target = NOBODY_NAMED
    response_required: bool = True
    priority: int = 0
    """1 is the highest, 0 is none."""
    test_event: str | None = None
    """Any text but "false" makes it a test (rule 6)."""
    startafter_s: float | None = None
    """The start may be put off at random by up to this (rule 30)."""
    notification_s: float | None = None
    ramp_up_s: float | None = None
    recovery_s: float | None = None
    modified_at: datetime | None = None
    modification_reason: str | None = None
    vtn_comment: str | None = None
    baseline: EventBaseline | None = None

    @property
    def is_test(self) -> bool:
        return self.test_event is not None and self.test_event.strip().lower() != "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableEvent:
    """One oadrEvent whose content makes no sense; the others of its message are not touched (rule 19)."""

    event_id: str
    """Empty where not even that could be read: the event cannot be answered, and who looks for events that are absent
    from the message does not know which this one was."""
    modification_number: int
    reason: str
    response_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributeEvent:
    """oadrDistributeEvent: every event that concerns the VEN, as a rule."""

    request_id: str
    vtn_id: str
    events: tuple[WireEvent | UnreadableEvent, ...] = ()
    response: EiResponse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent:
    """oadrRequestEvent: every event that concerns us, again; or the next few."""

    request_id: str
    ven_id: str
    reply_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResponse:
    """The answer to one event. ``request_id`` is that of the oadrDistributeEvent which carried it."""

    request_id: str
    event_id: str
    modification_number: int
    opt: OptType
    code: int = OK
    description: str = "OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedEvent:
    """oadrCreatedEvent: answers to events."""

    ven_id: str
    responses: tuple[EventResponse, ...] = ()
    response: EiResponse = ACCEPTED


# --- writing ------------------------------------------------------------------------------------------------------


def write_request_event(message: RequestEvent) -> str:
    return (
        f"<pyld:eiRequestEvent><pyld:requestID>{text(message.request_id)}</pyld:requestID>"
        f"<ei:venID>{text(message.ven_id)}</ei:venID>"
        f"{optional('pyld:replyLimit', message.reply_limit, str)}</pyld:eiRequestEvent>"
    )


def write_created_event(message: CreatedEvent) -> str:
    answers = "".join(
        f"<ei:eventResponse><ei:responseCode>{answer.code:03d}</ei:responseCode>"
        f"<ei:responseDescription>{text(answer.description)}</ei:responseDescription>"
        f"<pyld:requestID>{text(answer.request_id)}</pyld:requestID>"
        f"<ei:qualifiedEventID><ei:eventID>{text(answer.event_id)}</ei:eventID>"
        f"<ei:modificationNumber>{answer.modification_number}</ei:modificationNumber></ei:qualifiedEventID>"
        f"<ei:optType>{answer.opt.value}</ei:optType></ei:eventResponse>"
        for answer in message.responses
    )
    return (
        f"<pyld:eiCreatedEvent>{write_response(message.response)}"
        f"{f'<ei:eventResponses>{answers}</ei:eventResponses>' if answers else ''}"
        f"<ei:venID>{text(message.ven_id)}</ei:venID></pyld:eiCreatedEvent>"
    )


def write_distribute_event(message: DistributeEvent) -> str:
    """Raises WireError for an UnreadableEvent: what could not be read cannot be written."""
    response = "" if message.response is None else write_response(message.response)
    return (
        f"{response}<pyld:requestID>{text(message.request_id)}</pyld:requestID>"
        f"<ei:vtnID>{text(message.vtn_id)}</ei:vtnID>{''.join(map(_write_event, message.events))}"
    )


def _write_event(event: WireEvent | UnreadableEvent) -> str:
    if isinstance(event, UnreadableEvent):
        raise WireError(f"event {event.event_id} could not be read, so it cannot be written")
    baseline = "" if event.baseline is None else _write_baseline(event.baseline)
    return (
        f"<oadr:oadrEvent><ei:eiEvent>{_write_descriptor(event)}{_write_active_period(event)}"
        f"<ei:eiEventSignals>{''.join(map(_write_signal, event.signals))}{baseline}</ei:eiEventSignals>"
        f"{write_target(event.target)}</ei:eiEvent>"
        f"<oadr:oadrResponseRequired>{'always' if event.response_required else 'never'}</oadr:oadrResponseRequired>"
        "</oadr:oadrEvent>"
    )


def _write_descriptor(event: WireEvent) -> str:
    return (
        f"<ei:eventDescriptor><ei:eventID>{text(event.event_id)}</ei:eventID>"
        f"<ei:modificationNumber>{event.modification_number}</ei:modificationNumber>"
        f"{optional('ei:modificationDateTime', event.modified_at, instant)}"
        f"{optional('ei:modificationReason', event.modification_reason, text)}"
        f"<ei:priority>{event.priority}</ei:priority>"
        f"<ei:eiMarketContext><emix:marketContext>{text(event.market_context)}</emix:marketContext>"
        f"</ei:eiMarketContext><ei:createdDateTime>{instant(event.created_at)}</ei:createdDateTime>"
        f"<ei:eventStatus>{event.status.value}</ei:eventStatus>"
        f"{optional('ei:testEvent', event.test_event, text)}{optional('ei:vtnComment', event.vtn_comment, text)}"
        "</ei:eventDescriptor>"
    )


def _write_active_period(event: WireEvent) -> str:
    tolerance = ""
    if event.startafter_s is not None:
        tolerance = (
            f"<xcal:tolerance><xcal:tolerate><xcal:startafter>{lasting(event.startafter_s)}</xcal:startafter>"
            "</xcal:tolerate></xcal:tolerance>"
        )
    periods = "".join(
        "" if seconds is None else duration(seconds, name)
        for name, seconds in (
            ("ei:x-eiNotification", event.notification_s),
            ("ei:x-eiRampUp", event.ramp_up_s),
            ("ei:x-eiRecovery", event.recovery_s),
        )
    )
    return (
        f"<ei:eiActivePeriod><xcal:properties>{dtstart(event.start)}{duration(event.duration_s)}"
        f"{tolerance}{periods}</xcal:properties><xcal:components></xcal:components></ei:eiActivePeriod>"
    )


def _write_points(points: tuple[SignalPoint, ...]) -> str:
    parts = [
        f"<ei:interval>{duration(point.duration_s)}"
        f"<xcal:uid><xcal:text>{place if point.uid is None else text(point.uid)}</xcal:text></xcal:uid>"
        f"<ei:signalPayload><ei:payloadFloat><ei:value>{number(point.value)}</ei:value></ei:payloadFloat>"
        "</ei:signalPayload></ei:interval>"
        for place, point in enumerate(points)
    ]
    return f"<strm:intervals>{''.join(parts)}</strm:intervals>"


def _write_signal(signal: WireSignal) -> str:
    current = ""
    if signal.current_value is not None:
        current = (
            f"<ei:currentValue><ei:payloadFloat><ei:value>{number(signal.current_value)}</ei:value>"
            "</ei:payloadFloat></ei:currentValue>"
        )
    return (
        f"<ei:eiEventSignal>{_write_points(signal.intervals)}"
        f"{'' if signal.target == NOBODY_NAMED else write_target(signal.target)}"
        f"<ei:signalName>{text(signal.name)}</ei:signalName><ei:signalType>{text(signal.type)}</ei:signalType>"
        f"<ei:signalID>{text(signal.signal_id)}</ei:signalID>"
        f"{'' if signal.measure is None else write_measure(signal.measure)}{current}</ei:eiEventSignal>"
    )


def _write_baseline(baseline: EventBaseline) -> str:
    return (
        f"<ei:eiEventBaseline>{dtstart(baseline.start)}{duration(baseline.duration_s)}"
        f"{_write_points(baseline.intervals)}<ei:baselineID>{text(baseline.baseline_id)}</ei:baselineID>"
        f"{each('ei:resourceID', baseline.resource_ids)}<ei:baselineName>{text(baseline.name)}</ei:baselineName>"
        f"{'' if baseline.measure is None else write_measure(baseline.measure)}</ei:eiEventBaseline>"
    )


# --- reading ------------------------------------------------------------------------------------------------------

_EVENT = tag("oadr", "oadrEvent")
_EI_EVENT = tag("ei", "eiEvent")
_RESPONSE_REQUIRED = tag("oadr", "oadrResponseRequired")
_MODIFICATION = re.compile("[0-9]{1,10}")
_INTERVALS = tag("strm", "intervals")
_SIGNAL_PAYLOAD = tag("ei", "signalPayload")
_PAYLOAD_FLOAT = tag("ei", "payloadFloat")
_UID = tag("xcal", "uid")
_SIGNAL = tag("ei", "eiEventSignal")
_TOLERANCE = tag("xcal", "tolerance")


def read_request_event(element: Element) -> RequestEvent:
    fields = Fields(element[0])
    return RequestEvent(
        request_id=fields.text(REQUEST_ID),
        ven_id=fields.text(VEN_ID),
        reply_limit=fields.read(tag("pyld", "replyLimit"), read_int),
    )


def read_created_event(element: Element) -> CreatedEvent:
    fields = Fields(element[0])
    answers = fields.get(tag("ei", "eventResponses"))
    return CreatedEvent(
        ven_id=fields.text(VEN_ID),
        response=read_response(fields.need(EI_RESPONSE)),
        responses=() if answers is None else tuple(map(_read_event_response, answers)),
    )


def _read_event_response(element: Element) -> EventResponse:
    fields = Fields(element)
    event = Fields(fields.need(tag("ei", "qualifiedEventID")))
    return EventResponse(
        request_id=fields.text(REQUEST_ID),
        event_id=event.text(tag("ei", "eventID")),
        modification_number=read_int(event.need(tag("ei", "modificationNumber"))),
        opt=OptType(fields.text(tag("ei", "optType")).strip()),
        code=read_int(fields.need(tag("ei", "responseCode"))),
        description=fields.optional(tag("ei", "responseDescription")) or "",
    )


def read_distribute_event(element: Element) -> DistributeEvent:
    fields = Fields(element)
    return DistributeEvent(
        request_id=fields.text(REQUEST_ID),
        vtn_id=fields.text(VTN_ID),
        events=tuple(map(_read_offered, children(element, _EVENT))),
        response=fields.read(EI_RESPONSE, read_response),
    )


def set_invalid_events_apart(element: Element) -> tuple[UnreadableEvent, ...]:
    """Take what the schema refuses out of an oadrDistributeEvent; it comes back as what is known of it."""
    apart = []
    for event in tuple(children(element, _EVENT)):
        reason = _fault_of_event(event)
        if reason is not None:
            element.remove(event)
            apart.append(_unreadable(event, reason))
    return tuple(apart)


def _fault_of_event(event: Element) -> str | None:
    # The schema knows oadrEvent only within its message, so its parts are looked at.
    if [part.tag for part in event] != [_EI_EVENT, _RESPONSE_REQUIRED] or event.attrib:
        return "an oadrEvent is an eiEvent and an oadrResponseRequired"
    return fault(event[0]) or fault(event[1])


def _unreadable(event: Element, reason: str) -> UnreadableEvent:
    descriptor = event.find(f"{_EI_EVENT}/{tag('ei', 'eventDescriptor')}")
    if descriptor is not None:
        event_id = descriptor.findtext(tag("ei", "eventID"))
        modification = (descriptor.findtext(tag("ei", "modificationNumber")) or "").strip()
        if event_id and _MODIFICATION.fullmatch(modification):
            return UnreadableEvent(
                event_id=event_id,
                modification_number=int(modification),
                reason=reason,
                response_required=_response_required(event),
            )
    return UnreadableEvent(event_id="", modification_number=0, reason=reason, response_required=False)


def _response_required(event: Element) -> bool:
    word: str | None = event.findtext(_RESPONSE_REQUIRED)
    return (word or "always").strip() != "never"


def _read_offered(event: Element) -> WireEvent | UnreadableEvent:
    try:
        return _read_event(event)
    except (WireError, IndexError, TypeError, ValueError) as error:
        return _unreadable(event, str(error))


def _read_event(event: Element) -> WireEvent:
    fields = Fields(Fields(event).need(_EI_EVENT))
    descriptor = Fields(fields.need(tag("ei", "eventDescriptor")))
    period = Fields(Fields(fields.need(tag("ei", "eiActivePeriod"))).need(PROPERTIES))
    signals = fields.need(tag("ei", "eiEventSignals"))
    tolerance = period.get(_TOLERANCE)
    baseline = signals.find(tag("ei", "eiEventBaseline"))
    return WireEvent(
        event_id=descriptor.text(tag("ei", "eventID")),
        modification_number=read_int(descriptor.need(tag("ei", "modificationNumber"))),
        status=_read_status(descriptor),
        created_at=read_instant(descriptor.need(CREATED)),
        market_context=inner(descriptor.need(tag("ei", "eiMarketContext"))).strip(),
        start=read_dtstart(period.need(DTSTART)),
        duration_s=read_duration(period.need(DURATION)),
        signals=tuple(map(_read_signal, children(signals, _SIGNAL))),
        target=fields.read(EI_TARGET, read_target) or NOBODY_NAMED,
        response_required=_response_required(event),
        priority=descriptor.read(tag("ei", "priority"), read_int) or 0,
        test_event=descriptor.optional(tag("ei", "testEvent")),
        startafter_s=_read_startafter(tolerance),
        notification_s=period.read(tag("ei", "x-eiNotification"), read_duration),
        ramp_up_s=period.read(tag("ei", "x-eiRampUp"), read_duration),
        recovery_s=period.read(tag("ei", "x-eiRecovery"), read_duration),
        modified_at=descriptor.read(tag("ei", "modificationDateTime"), read_instant),
        modification_reason=descriptor.optional(tag("ei", "modificationReason")),
        vtn_comment=descriptor.optional(tag("ei", "vtnComment")),
        baseline=None if baseline is None else _read_baseline(baseline),
    )


def _read_status(descriptor: Fields) -> EventStatus:
    word = descriptor.text(tag("ei", "eventStatus")).strip()
    try:
        return EventStatus(word)
    except ValueError:
        raise WireError(f"an event of status {word!r}") from None


def _read_startafter(tolerance: Element | None) -> float | None:
    if tolerance is None or len(tolerance[0]) == 0:
        return None
    return as_seconds(inner(tolerance[0]))


def _read_signal(element: Element) -> WireSignal:
    fields = Fields(element)
    current = fields.get(tag("ei", "currentValue"))
    return WireSignal(
        signal_id=fields.text(tag("ei", "signalID")),
        name=fields.text(tag("ei", "signalName")).strip(),
        type=fields.text(tag("ei", "signalType")).strip(),
        intervals=_read_points(fields.need(_INTERVALS)),
        measure=find_measure(element),
        current_value=None if current is None else read_float(current[0][0]),
        target=fields.read(EI_TARGET, read_target) or NOBODY_NAMED,
    )


def _read_baseline(element: Element) -> EventBaseline:
    fields = Fields(element)
    return EventBaseline(
        baseline_id=fields.text(tag("ei", "baselineID")),
        name=fields.text(tag("ei", "baselineName")),
        start=read_dtstart(fields.need(DTSTART)),
        duration_s=read_duration(fields.need(DURATION)),
        intervals=_read_points(fields.need(_INTERVALS)),
        resource_ids=texts(element, tag("ei", "resourceID")),
        measure=find_measure(element),
    )


def _read_points(intervals: Element) -> tuple[SignalPoint, ...]:
    return tuple(map(_read_point, intervals))


def _read_point(interval: Element) -> SignalPoint:
    duration_s, uid, value = 0.0, None, None
    for child in [*interval]:
        name = child.tag
        if name == DURATION:
            duration_s = as_seconds(child[0].text or "")
        elif name == _UID:
            uid = child[0].text or ""
        elif name == _SIGNAL_PAYLOAD:
            payload = child[0]
            if value is not None or payload.tag != _PAYLOAD_FLOAT:
                raise WireError("an interval of a signal has one payloadFloat")
            value = float(payload[0].text)
    if value is None:
        raise WireError("an interval of a signal has no signalPayload")
    return SignalPoint(duration_s=duration_s, value=value, uid=uid)
