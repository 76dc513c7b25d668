"""Messages to bytes and back: the one table of what OpenADR 2.0b knows.

What is written is an oadrSignedObject in canonical form; ``ven.wire.signature`` puts the oadrPayload around it, with
a signature or without. What is read may be a payload, a signed object, a bare message, or any other global element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

from ven.errors import WireError
from ven.wire.common import read_measure, read_target
from ven.wire.event import (
    CreatedEvent,
    DistributeEvent,
    RequestEvent,
    UnreadableEvent,
    read_created_event,
    read_distribute_event,
    read_request_event,
    set_invalid_events_apart,
    write_created_event,
    write_distribute_event,
    write_request_event,
)
from ven.wire.opt import (
    CanceledOpt,
    CancelOpt,
    CreatedOpt,
    CreateOpt,
    read_cancel_opt,
    read_canceled_opt,
    read_create_opt,
    read_created_opt,
    write_cancel_opt,
    write_canceled_opt,
    write_create_opt,
    write_created_opt,
)
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    Poll,
    QueryRegistration,
    RequestReregistration,
    Response,
    read_cancel_party_registration,
    read_canceled_party_registration,
    read_create_party_registration,
    read_created_party_registration,
    read_info,
    read_named_infos,
    read_oadr_response,
    read_poll,
    read_profiles,
    read_query_registration,
    read_request_reregistration,
    read_transports,
    write_cancel_party_registration,
    write_canceled_party_registration,
    write_create_party_registration,
    write_created_party_registration,
    write_oadr_response,
    write_query_registration,
    write_ven_id,
)
from ven.wire.report import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    UpdatedReport,
    UpdateReport,
    read_cancel_report,
    read_canceled_report,
    read_control_state,
    read_create_report,
    read_created_report,
    read_description,
    read_feed,
    read_payload,
    read_pending,
    read_register_report,
    read_registered_report,
    read_report,
    read_report_request,
    read_sampling,
    read_status,
    read_update_report,
    read_updated_report,
    write_cancel_report,
    write_create_report,
    write_pending,
    write_register_report,
    write_registered_report,
    write_update_report,
    write_updated_report,
)
from ven.wire.schema import fault, parse
from ven.wire.xml import NAMESPACES, Element, local, read_bool, read_duration, read_float, tag

Message = (
    QueryRegistration
    | CreatePartyRegistration
    | CreatedPartyRegistration
    | CancelPartyRegistration
    | CanceledPartyRegistration
    | RequestReregistration
    | Poll
    | Response
    | RequestEvent
    | DistributeEvent
    | CreatedEvent
    | RegisterReport
    | RegisteredReport
    | CreateReport
    | CreatedReport
    | UpdateReport
    | UpdatedReport
    | CancelReport
    | CanceledReport
    | CreateOpt
    | CreatedOpt
    | CancelOpt
    | CanceledOpt
)


class Service(StrEnum):
    """The last part of an endpoint's path."""

    REGISTER_PARTY = "EiRegisterParty"
    REPORT = "EiReport"
    EVENT = "EiEvent"
    OPT = "EiOpt"
    POLL = "OadrPoll"


class Binding(NamedTuple):
    """One message: its element, its type, the service it belongs to, and both directions."""

    name: str
    type: type[Any]
    service: Service
    read: Callable[[Element], Any]
    write: Callable[[Any], str]


def _bind(service: Service, kind: type[Any], read: Callable[[Any], Any], write: Callable[[Any], str]) -> Binding:
    return Binding(f"oadr{kind.__name__}", kind, service, read, write)


_PARTY, _REPORT, _EVENT, _OPT = Service.REGISTER_PARTY, Service.REPORT, Service.EVENT, Service.OPT

BINDINGS = (
    _bind(_PARTY, QueryRegistration, read_query_registration, write_query_registration),
    _bind(_PARTY, CreatePartyRegistration, read_create_party_registration, write_create_party_registration),
    _bind(_PARTY, CreatedPartyRegistration, read_created_party_registration, write_created_party_registration),
    _bind(_PARTY, CancelPartyRegistration, read_cancel_party_registration, write_cancel_party_registration),
    _bind(_PARTY, CanceledPartyRegistration, read_canceled_party_registration, write_canceled_party_registration),
    _bind(_PARTY, RequestReregistration, read_request_reregistration, write_ven_id),
    _bind(_PARTY, Response, read_oadr_response, write_oadr_response),
    _bind(Service.POLL, Poll, read_poll, write_ven_id),
    _bind(_EVENT, RequestEvent, read_request_event, write_request_event),
    _bind(_EVENT, DistributeEvent, read_distribute_event, write_distribute_event),
    _bind(_EVENT, CreatedEvent, read_created_event, write_created_event),
    _bind(_REPORT, RegisterReport, read_register_report, write_register_report),
    _bind(_REPORT, RegisteredReport, read_registered_report, write_registered_report),
    _bind(_REPORT, CreateReport, read_create_report, write_create_report),
    _bind(_REPORT, CreatedReport, read_created_report, write_pending),
    _bind(_REPORT, UpdateReport, read_update_report, write_update_report),
    _bind(_REPORT, UpdatedReport, read_updated_report, write_updated_report),
    _bind(_REPORT, CancelReport, read_cancel_report, write_cancel_report),
    _bind(_REPORT, CanceledReport, read_canceled_report, write_pending),
    _bind(_OPT, CreateOpt, read_create_opt, write_create_opt),
    _bind(_OPT, CreatedOpt, read_created_opt, write_created_opt),
    _bind(_OPT, CancelOpt, read_cancel_opt, write_cancel_opt),
    _bind(_OPT, CanceledOpt, read_canceled_opt, write_canceled_opt),
)

_BY_TYPE = {binding.type: binding for binding in BINDINGS}
_BY_TAG = {tag("oadr", binding.name): binding for binding in BINDINGS}

PAYLOAD = tag("oadr", "oadrPayload")
SIGNED_OBJECT = tag("oadr", "oadrSignedObject")
_DISTRIBUTE_EVENT = tag("oadr", "oadrDistributeEvent")

SIGNED_OBJECT_ID = "oadrSignedObject"
_OPENING = f'<oadr:oadrSignedObject{NAMESPACES} oadr:Id="{SIGNED_OBJECT_ID}">'


def service_of(message: Message) -> Service:
    """The endpoint a message goes to."""
    return _BY_TYPE[type(message)].service


def name_of(message: Message) -> str:
    """The standard's name, e.g. oadrPoll."""
    return _BY_TYPE[type(message)].name


def encode(message: Message) -> bytes:
    """The oadrSignedObject in canonical form, the same bytes for the same message. Raises WireError."""
    name, _, _, _, write = _BY_TYPE[type(message)]
    return (
        f'{_OPENING}<oadr:{name} ei:schemaVersion="2.0b">{write(message)}</oadr:{name}></oadr:oadrSignedObject>'
    ).encode()


def decode(content: bytes) -> Message:
    """The message in a payload, a signed object, or bare; checked against the schema. Raises WireError.

    Whoever signed it is not looked at: see ``ven.wire.signature``.
    """
    return read_message(parse(content))


def read_message(root: Element, *, checked: bool = True) -> Message:
    """``decode`` of a tree; without ``checked`` the schema is not asked."""
    element = message_element(root)
    binding = _BY_TAG.get(element.tag)
    if binding is None:
        raise WireError(f"{local(element.tag)} is no message of OpenADR 2.0b")
    apart: tuple[UnreadableEvent, ...] = ()
    if checked and (reason := fault(root)) is not None:
        if element.tag == _DISTRIBUTE_EVENT:
            apart = set_invalid_events_apart(element)
        if not apart or (reason := fault(root)) is not None:
            raise WireError(f"{binding.name} is not OpenADR 2.0b: {reason}")
    message: Message = _read(element, binding.read)
    if apart:
        assert isinstance(message, DistributeEvent)
        return replace(message, events=message.events + apart)
    return message


def _read(element: Element, reader: Callable[[Element], Any]) -> Any:
    try:
        return reader(element)
    except (IndexError, ValueError, TypeError) as error:
        raise WireError(f"{local(element.tag)} cannot be read: {error!r}") from error


def message_element(root: Element) -> Element:
    """What is inside the wrapping, if there is one. Raises WireError."""
    element = root
    if element.tag == PAYLOAD:
        found = [child for child in element if child.tag == SIGNED_OBJECT]
        if len(found) != 1:
            raise WireError("an oadrPayload holds one oadrSignedObject")
        element = found[0]
    if element.tag == SIGNED_OBJECT:
        if len(element) != 1:
            raise WireError("an oadrSignedObject holds one message")
        element = element[0]
    return element


def _text(element: Element) -> str:
    return element.text or ""


_FRAGMENTS: dict[str, Callable[[Element], Any]] = {
    "oadrReport": read_report,
    "oadrReportRequest": read_report_request,
    "oadrReportDescription": read_description,
    "oadrPendingReports": read_pending,
    "oadrSamplingRate": read_sampling,
    "oadrPayloadResourceStatus": read_status,
    "oadrLoadControlState": read_control_state,
    "oadrReportPayload": read_payload,
    "oadrGBPayload": read_feed,
    "oadrGBDataDescription": read_feed,
    "oadrInfo": read_info,
    "pulseFactor": read_float,
    "oadrDeviceClass": read_target,
    "oadrProfiles": read_profiles,
    "oadrTransports": read_transports,
    "oadrServiceSpecificInfo": read_named_infos,
    "oadrRequestedOadrPollFreq": read_duration,
    "oadrHttpPullModel": read_bool,
    "oadrXmlSignature": read_bool,
    "oadrReportOnly": read_bool,
    **dict.fromkeys(
        (
            "oadrVenName",
            "oadrProfileName",
            "oadrTransportName",
            "oadrServiceName",
            "oadrTransportAddress",
            "oadrResponseRequired",
            "oadrDataQuality",
        ),
        _text,
    ),
    **dict.fromkeys(
        (
            "customUnit",
            "current",
            "currency",
            "currencyPerKWh",
            "currencyPerKW",
            "currencyPerThm",
            "frequency",
            "Therm",
            "temperature",
            "pulseCount",
        ),
        read_measure,
    ),
}
"""Global elements of the namespace that are no messages but parts of them."""


def decode_any(content: bytes, *, checked: bool = True) -> tuple[str, Any]:
    """The name and value of whatever global element this is; for tools. Raises WireError."""
    root = parse(content)
    element = message_element(root)
    if element.tag in _BY_TAG:
        return local(element.tag), read_message(root, checked=checked)
    reader = _FRAGMENTS.get(local(element.tag))
    if reader is None or element.tag != tag("oadr", local(element.tag)):
        raise WireError(f"{local(element.tag)} is nothing of OpenADR 2.0b that can be read alone")
    if checked and (reason := fault(root)) is not None:
        raise WireError(f"{local(element.tag)} is not OpenADR 2.0b: {reason}")
    return local(element.tag), _read(element, reader)
