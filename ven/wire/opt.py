"""EiOpt of OpenADR 2.0b: opting in or out of an event, or of stretches of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from grid.events import OptType
from ven.wire.common import (
    CREATED,
    EI_RESPONSE,
    EI_TARGET,
    MARKET_CONTEXT,
    NOBODY_NAMED,
    PROPERTIES,
    REQUEST_ID,
    VEN_ID,
    EiResponse,
    Period,
    Target,
    read_period,
    read_response,
    read_target,
    write_period,
    write_response,
    write_target,
)
from ven.wire.xml import Element, Fields, children, instant, optional, read_instant, read_int, tag, text


@dataclass(frozen=True, slots=True, kw_only=True)
class QualifiedEventId:
    """qualifiedEventID: one modification of an event."""

    event_id: str
    modification_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOpt:
    """oadrCreateOpt: of an event, or with ``availability`` of time whatever comes."""

    request_id: str
    opt_id: str
    opt: OptType
    reason: str
    """optReason, e.g. economic or x-schedule."""
    ven_id: str
    created_at: datetime
    market_context: str | None = None
    availability: tuple[Period, ...] | None = None
    """vavailability: the stretches the opt is about."""
    event: QualifiedEventId | None = None
    target: Target = NOBODY_NAMED
    device_class: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedOpt:
    """oadrCreatedOpt."""

    response: EiResponse
    opt_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOpt:
    """oadrCancelOpt: the opt holds no longer."""

    request_id: str
    opt_id: str
    ven_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledOpt:
    """oadrCanceledOpt."""

    response: EiResponse
    opt_id: str | None = None


# --- writing ------------------------------------------------------------------------------------------------------


def write_create_opt(message: CreateOpt) -> str:
    availability = ""
    if message.availability is not None:
        stretches = "".join(
            f"<xcal:available>{write_period(period)}</xcal:available>" for period in message.availability
        )
        availability = f"<xcal:vavailability><xcal:components>{stretches}</xcal:components></xcal:vavailability>"
    device_class = message.device_class
    return (
        f"<ei:optID>{text(message.opt_id)}</ei:optID><ei:optType>{message.opt.value}</ei:optType>"
        f"<ei:optReason>{text(message.reason)}</ei:optReason>"
        f"{optional('emix:marketContext', message.market_context, text)}<ei:venID>{text(message.ven_id)}</ei:venID>"
        f"{availability}<ei:createdDateTime>{instant(message.created_at)}</ei:createdDateTime>"
        f"<pyld:requestID>{text(message.request_id)}</pyld:requestID>"
        f"{optional('ei:qualifiedEventID', message.event, _write_event)}{write_target(message.target)}"
        f"{'' if device_class is None else write_target(device_class, 'oadr:oadrDeviceClass')}"
    )


def _write_event(event: QualifiedEventId) -> str:
    return (
        f"<ei:eventID>{text(event.event_id)}</ei:eventID>"
        f"<ei:modificationNumber>{event.modification_number}</ei:modificationNumber>"
    )


def write_created_opt(message: CreatedOpt) -> str:
    return f"{write_response(message.response)}<ei:optID>{text(message.opt_id)}</ei:optID>"


def write_cancel_opt(message: CancelOpt) -> str:
    return (
        f"<pyld:requestID>{text(message.request_id)}</pyld:requestID><ei:optID>{text(message.opt_id)}</ei:optID>"
        f"<ei:venID>{text(message.ven_id)}</ei:venID>"
    )


def write_canceled_opt(message: CanceledOpt) -> str:
    return f"{write_response(message.response)}{optional('ei:optID', message.opt_id, text)}"


# --- reading ------------------------------------------------------------------------------------------------------

_OPT_ID = tag("ei", "optID")


def read_create_opt(element: Element) -> CreateOpt:
    fields = Fields(element)
    availability = fields.get(tag("xcal", "vavailability"))
    return CreateOpt(
        request_id=fields.text(REQUEST_ID),
        opt_id=fields.text(_OPT_ID),
        opt=OptType(fields.text(tag("ei", "optType")).strip()),
        reason=fields.text(tag("ei", "optReason")).strip(),
        ven_id=fields.text(VEN_ID),
        created_at=read_instant(fields.need(CREATED)),
        market_context=fields.optional(MARKET_CONTEXT),
        availability=None if availability is None else _read_availability(availability),
        event=fields.read(tag("ei", "qualifiedEventID"), _read_event),
        target=fields.read(EI_TARGET, read_target) or NOBODY_NAMED,
        device_class=fields.read(tag("oadr", "oadrDeviceClass"), read_target),
    )


def _read_availability(element: Element) -> tuple[Period, ...]:
    available = children(element[0], tag("xcal", "available"))
    return tuple(read_period(Fields(one).need(PROPERTIES)) for one in available)


def _read_event(element: Element) -> QualifiedEventId:
    fields = Fields(element)
    return QualifiedEventId(
        event_id=fields.text(tag("ei", "eventID")),
        modification_number=read_int(fields.need(tag("ei", "modificationNumber"))),
    )


def read_created_opt(element: Element) -> CreatedOpt:
    fields = Fields(element)
    return CreatedOpt(response=read_response(fields.need(EI_RESPONSE)), opt_id=fields.text(_OPT_ID))


def read_cancel_opt(element: Element) -> CancelOpt:
    fields = Fields(element)
    return CancelOpt(request_id=fields.text(REQUEST_ID), opt_id=fields.text(_OPT_ID), ven_id=fields.text(VEN_ID))


def read_canceled_opt(element: Element) -> CanceledOpt:
    fields = Fields(element)
    return CanceledOpt(response=read_response(fields.need(EI_RESPONSE)), opt_id=fields.optional(_OPT_ID))
