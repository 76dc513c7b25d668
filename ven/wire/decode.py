"""The dictionaries openleadr parses, as our messages.

openleadr guesses types by how a text looks: an identifier of digits comes as a number (its leading zeros lost) and
an unusual date stays a text. Here identifiers become strings again and whatever else is not of its type is refused,
event by event where it sits inside one event, so that a bad event does not reject the others (rule 19).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from grid.events import EventStatus
from ven.errors import WireError
from ven.wire.messages import (
    CancelReport,
    CreatedPartyRegistration,
    CreateReport,
    DistributeEvent,
    EiResponse,
    Incoming,
    Measure,
    RegisteredReport,
    ReportRequest,
    RequestReregistration,
    Response,
    UnreadableEvent,
    UpdatedReport,
    WireEvent,
    WireInterval,
    WireSignal,
)

Fields = Mapping[str, Any]


def from_openleadr(name: str, fields: Fields) -> Incoming:
    """The message of that name. Raises WireError."""
    try:
        reader = _READERS[name]
    except KeyError:
        raise WireError(f"the VTN sent {name}, which a pull VEN does not take") from None
    return reader(fields)


def _read_response(fields: Fields) -> Response:
    return Response(ven_id=_optional(fields, "ven_id") or "", response=_response(fields))


def _read_registration(fields: Fields) -> CreatedPartyRegistration:
    poll = fields.get("requested_oadr_poll_freq")
    return CreatedPartyRegistration(
        response=_response(fields),
        vtn_id=_text(fields, "vtn_id"),
        ven_id=_optional(fields, "ven_id"),
        registration_id=_optional(fields, "registration_id"),
        poll_interval_s=None if poll is None else _duration_s(fields, "requested_oadr_poll_freq"),
    )


def _read_reregistration(_: Fields) -> RequestReregistration:
    return RequestReregistration()


def _read_events(fields: Fields) -> DistributeEvent:
    events = _list(fields, "events")
    return DistributeEvent(
        request_id=_text(fields, "request_id"),
        vtn_id=_optional(fields, "vtn_id") or "",
        events=tuple(_event(event) for event in events),
    )


def _read_registered_report(fields: Fields) -> RegisteredReport:
    return RegisteredReport(response=_response(fields), requests=_requests(fields))


def _read_create_report(fields: Fields) -> CreateReport:
    return CreateReport(request_id=_text(fields, "request_id"), requests=_requests(fields))


def _read_cancel_report(fields: Fields) -> CancelReport:
    found = fields.get("report_request_id")
    ids = found if isinstance(found, list) else [found]
    return CancelReport(
        request_id=_optional(fields, "request_id") or "",
        report_request_ids=tuple(str(report_id) for report_id in ids if report_id is not None),
    )


def _read_updated_report(fields: Fields) -> UpdatedReport:
    cancel = fields.get("cancel_report")
    return UpdatedReport(
        response=_response(fields), cancel=_read_cancel_report(cancel) if isinstance(cancel, Mapping) else None
    )


_READERS: dict[str, Callable[[Fields], Incoming]] = {
    "oadrResponse": _read_response,
    "oadrCreatedPartyRegistration": _read_registration,
    "oadrRequestReregistration": _read_reregistration,
    "oadrDistributeEvent": _read_events,
    "oadrRegisteredReport": _read_registered_report,
    "oadrCreateReport": _read_create_report,
    "oadrCancelReport": _read_cancel_report,
    "oadrUpdatedReport": _read_updated_report,
}


def _event(fields: Fields) -> WireEvent | UnreadableEvent:
    descriptor = _mapping(fields, "event_descriptor")
    event_id = _text(descriptor, "event_id")
    modification = _integer(descriptor, "modification_number")
    required = fields.get("response_required") != "never"
    try:
        return _readable_event(fields, descriptor, event_id, modification, required)
    except WireError as error:
        return UnreadableEvent(
            event_id=event_id, modification_number=modification, reason=str(error), response_required=required
        )


def _readable_event(fields: Fields, descriptor: Fields, event_id: str, modification: int, required: bool) -> WireEvent:
    period = _mapping(fields, "active_period")
    targets = [(kind, str(value)) for target in fields.get("targets") or () for kind, value in target.items()]
    return WireEvent(
        event_id=event_id,
        modification_number=modification,
        status=_status(descriptor),
        created_at=_moment(descriptor, "created_date_time"),
        market_context=_text(descriptor, "market_context"),
        priority=_integer(descriptor, "priority") if descriptor.get("priority") is not None else 0,
        test_event=bool(descriptor.get("test_event", False)),
        start=_moment(period, "dtstart"),
        duration_s=_duration_s(period, "duration"),
        signals=tuple(_signal(signal) for signal in _list(fields, "event_signals")),
        ven_ids=tuple(value for kind, value in targets if kind == "ven_id"),
        resource_ids=tuple(value for kind, value in targets if kind == "resource_id"),
        other_targets=any(kind not in ("ven_id", "resource_id") for kind, _ in targets),
        response_required=required,
    )


def _signal(fields: Fields) -> WireSignal:
    measurement = fields.get("measurement")
    return WireSignal(
        signal_id=_text(fields, "signal_id"),
        name=_text(fields, "signal_name"),
        type=_text(fields, "signal_type"),
        measure=_measure(measurement) if isinstance(measurement, Mapping) else None,
        intervals=tuple(_interval(interval) for interval in _list(fields, "intervals")),
    )


def _measure(fields: Fields) -> Measure:
    return Measure(
        name=_text(fields, "name"), units=_text(fields, "unit"), si_scale=_optional(fields, "scale") or "none"
    )


def _interval(fields: Fields) -> WireInterval:
    value = fields.get("signal_payload")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WireError(f"a signal value is {value!r}, not a number")
    return WireInterval(duration_s=_duration_s(fields, "duration"), value=float(value))


def _requests(fields: Fields) -> tuple[ReportRequest, ...]:
    return tuple(_report_request(request) for request in _list(fields, "report_requests"))


def _report_request(fields: Fields) -> ReportRequest:
    specifier = _mapping(fields, "report_specifier")
    granularity_s = _duration_s(specifier, "granularity")
    interval = specifier.get("report_interval")
    lasting_s = _duration_s(interval, "duration") if isinstance(interval, Mapping) else 0.0
    back = specifier.get("report_back_duration")
    return ReportRequest(
        report_request_id=_text(fields, "report_request_id"),
        specifier_id=_text(specifier, "report_specifier_id"),
        rids=tuple(_text(payload, "r_id") for payload in _list(specifier, "specifier_payloads")),
        granularity_s=granularity_s,
        back_duration_s=granularity_s if back is None else _duration_s(specifier, "report_back_duration"),
        start=_moment(interval, "dtstart") if isinstance(interval, Mapping) else None,
        duration_s=lasting_s or None,
    )


def _response(fields: Fields) -> EiResponse:
    response = _mapping(fields, "response")
    return EiResponse(
        code=_integer(response, "response_code"),
        description=_optional(response, "response_description") or "",
        request_id=_optional(response, "request_id") or "",
    )


def _status(descriptor: Fields) -> EventStatus:
    text = _text(descriptor, "event_status")
    try:
        return EventStatus(text)
    except ValueError:
        raise WireError(f"eventStatus {text} is not the status of an event") from None


def _mapping(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    if not isinstance(value, Mapping):
        raise WireError(f"{key} is missing")
    return value


def _list(fields: Fields, key: str) -> list[Any]:
    value = fields.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise WireError(f"{key} is not a list")
    return value


def _text(fields: Fields, key: str) -> str:
    value = _optional(fields, key)
    if value is None:
        raise WireError(f"{key} is missing")
    return value


def _optional(fields: Fields, key: str) -> str | None:
    value = fields.get(key)
    return None if value is None else str(value)


def _integer(fields: Fields, key: str) -> int:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WireError(f"{key} is {value!r}, not a whole number")
    return value


def _moment(fields: Fields, key: str) -> datetime:
    value = fields.get(key)
    if not isinstance(value, datetime):
        raise WireError(f"{key} is {value!r}, not a UTC time such as 2026-01-31T00:00:00Z")
    return value


def _duration_s(fields: Fields, key: str) -> float:
    value = fields.get(key)
    if not isinstance(value, timedelta) or value < timedelta():
        raise WireError(f"{key} is {value!r}, not a duration such as PT15M")
    return value.total_seconds()
