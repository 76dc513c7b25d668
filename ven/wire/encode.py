"""Our messages as the dictionaries openleadr renders.

openleadr's templates escape nothing, so every text of ours is escaped here; that is the only thing its callers would
otherwise have to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from xml.sax.saxutils import escape

from ven.ports import Quality
from ven.wire.messages import (
    TELEMETRY_USAGE,
    CanceledReport,
    CreatedEvent,
    CreatedReport,
    CreatePartyRegistration,
    EiResponse,
    Outgoing,
    Poll,
    PowerChannel,
    RegisterReport,
    ReportPoint,
    RequestEvent,
    Response,
    UpdateReport,
)

_DATA_QUALITY = {
    Quality.GOOD: "Quality Good - Non Specific",
    Quality.UNCERTAIN: "Quality Uncertain - Non Specific",
}


def to_openleadr(message: Outgoing) -> tuple[str, dict[str, Any]]:
    """The message's name and its fields as openleadr's ``create_message`` takes them."""
    match message:
        case Poll(ven_id=ven_id):
            return "oadrPoll", {"ven_id": escape(ven_id)}
        case RequestEvent():
            return "oadrRequestEvent", {"request_id": escape(message.request_id), "ven_id": escape(message.ven_id)}
        case Response():
            return "oadrResponse", {"response": _response(message.response), "ven_id": escape(message.ven_id)}
        case CreatePartyRegistration():
            return "oadrCreatePartyRegistration", _create_party_registration(message)
        case CreatedEvent():
            return "oadrCreatedEvent", _created_event(message)
        case RegisterReport():
            return "oadrRegisterReport", _register_report(message)
        case CreatedReport():
            return "oadrCreatedReport", _pending(message.ven_id, message.response, message.pending)
        case CanceledReport():
            return "oadrCanceledReport", _pending(message.ven_id, message.response, message.pending)
        case UpdateReport():
            return "oadrUpdateReport", _update_report(message)


def _create_party_registration(message: CreatePartyRegistration) -> dict[str, Any]:
    return {
        "request_id": escape(message.request_id),
        "ven_id": None if message.ven_id is None else escape(message.ven_id),
        "registration_id": None if message.registration_id is None else escape(message.registration_id),
        "ven_name": escape(message.ven_name),
        "profile_name": "2.0b",
        "transport_name": "simpleHttp",
        "transport_address": "",
        "report_only": False,
        "xml_signature": True,
        "http_pull_model": True,
    }


def _created_event(message: CreatedEvent) -> dict[str, Any]:
    answer = {
        "response_code": message.code,
        "response_description": escape(message.description),
        "request_id": escape(message.request_id),
        "event_id": escape(message.event_id),
        "modification_number": message.modification_number,
        "opt_type": message.opt.value,
    }
    return {
        "response": {"response_code": 200, "response_description": "OK"},
        "event_responses": [answer],
        "ven_id": escape(message.ven_id),
    }


def _register_report(message: RegisterReport) -> dict[str, Any]:
    report = {
        "report_name": TELEMETRY_USAGE,
        "report_specifier_id": escape(message.specifier_id),
        "created_date_time": message.created_at,
        "report_descriptions": [_channel(channel) for channel in message.channels],
    }
    return {"request_id": escape(message.request_id), "ven_id": escape(message.ven_id), "reports": [report]}


def _channel(channel: PowerChannel) -> dict[str, Any]:
    return {
        "r_id": escape(channel.rid),
        "report_data_source": {"resource_id": escape(channel.resource_id)},
        "report_type": "usage",
        "reading_type": "Mean",
        "sampling_rate": {
            "min_period": timedelta(seconds=channel.min_period_s),
            "max_period": timedelta(seconds=channel.max_period_s),
            "on_change": False,
        },
        "measurement": {
            "name": "powerReal",
            "description": "RealPower",
            "unit": "W",
            "scale": "k",
            # The schema wants these; nobody reads them, and 60 Hz three-phase 480 V is what US sites have.
            "power_attributes": {"hertz": 60, "voltage": 480, "ac": True},
        },
    }


def _pending(ven_id: str, response: EiResponse, pending: Sequence[str]) -> dict[str, Any]:
    return {
        "ven_id": escape(ven_id),
        "response": _response(response),
        "pending_reports": [{"report_request_id": escape(request_id)} for request_id in pending],
    }


def _update_report(message: UpdateReport) -> dict[str, Any]:
    report = {
        "report_id": escape(message.report_id),
        "report_name": TELEMETRY_USAGE,
        "report_request_id": escape(message.report_request_id),
        "report_specifier_id": escape(message.specifier_id),
        "created_date_time": message.created_at,
        "dtstart": message.points[0].start,
        "intervals": [_point(point) for point in message.points],
    }
    return {"request_id": escape(message.request_id), "ven_id": escape(message.ven_id), "reports": [report]}


def _point(point: ReportPoint) -> dict[str, Any]:
    return {
        "dtstart": point.start,
        "duration": timedelta(seconds=point.duration_s),
        "report_payload": {
            "r_id": escape(point.rid),
            "value": repr(float(point.kw)),
            "data_quality": _DATA_QUALITY[point.quality],
        },
    }


def _response(response: EiResponse) -> dict[str, Any]:
    return {
        "response_code": response.code,
        "response_description": escape(response.description),
        "request_id": escape(response.request_id),
    }
