"""openleadr's codec and ours read each other: all its templates, and ours where its guessing of types allows."""

from __future__ import annotations

import logging
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openleadr.messaging as theirs
import pytest
from openleadr import enums

from grid.events import EventStatus, OptType
from tests.ven.wire.conftest import NOW
from ven.wire.common import (
    KILOWATT,
    EiResponse,
    Measure,
    Period,
    PowerAttributes,
    Target,
)
from ven.wire.event import (
    CreatedEvent,
    DistributeEvent,
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
    Poll,
    Profile,
    QueryRegistration,
    RequestReregistration,
    Response,
)
from ven.wire.payload import BINDINGS, Message, decode, encode, name_of
from ven.wire.report import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    Report,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    ReportRequest,
    SamplingRate,
    SpecifierPayload,
    UpdatedReport,
    UpdateReport,
)
from ven.wire.signature import unsigned

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
RESPONSE = {"response_code": 200, "response_description": "OK", "request_id": "007"}
ACCEPTED = EiResponse(code=200, description="OK", request_id="007")
THEIR_POWER = {
    "name": "powerReal",
    "description": "RealPower",
    "unit": "W",
    "scale": "k",
    "power_attributes": {"hertz": 60, "voltage": 480, "ac": True},
}
THEIR_EVENT = {
    "event_descriptor": {
        "event_id": "007",
        "modification_number": 3,
        "modification_reason": "weather",
        "modification_date_time": NOW,
        "priority": 1,
        "market_context": "http://utility.example",
        "created_date_time": NOW,
        "event_status": "near",
        "test_event": False,
        "vtn_comment": "hello",
    },
    "active_period": {
        "dtstart": NOW,
        "duration": 2 * HOUR,
        "tolerance": {"startafter": MINUTE},
        "notification_period": HOUR,
        "ramp_up_period": MINUTE,
        "recovery_period": 2 * MINUTE,
    },
    "event_signals": [
        {
            "intervals": [
                {"duration": HOUR, "uid": 0, "signal_payload": 1.5},
                {"duration": HOUR, "uid": 1, "signal_payload": 2.5},
            ],
            "signal_name": "LOAD_DISPATCH",
            "signal_type": "setpoint",
            "signal_id": "id-1",
            "current_value": 0.0,
            "measurement": THEIR_POWER,
        }
    ],
    "targets": [{"group_id": "g"}, {"ven_id": "007"}, {"resource_id": "r-1"}, {"resource_id": "r-2"}],
    "response_required": "never",
}


def our_point(start_hour: int, value: float) -> SignalPoint:
    return SignalPoint(duration_s=3600.0, value=value, uid=str(start_hour))


EVENT = WireEvent(
    event_id="007",
    modification_number=3,
    modification_reason="weather",
    modified_at=NOW,
    status=EventStatus.NEAR,
    created_at=NOW,
    market_context="http://utility.example",
    start=NOW,
    duration_s=7200.0,
    startafter_s=60.0,
    notification_s=3600.0,
    ramp_up_s=60.0,
    recovery_s=120.0,
    signals=(
        WireSignal(
            signal_id="id-1",
            name="LOAD_DISPATCH",
            type="setpoint",
            intervals=(our_point(0, 1.5), our_point(1, 2.5)),
            current_value=0.0,
            measure=KILOWATT,
        ),
    ),
    target=Target(group_ids=("g",), ven_ids=("007",), resource_ids=("r-1", "r-2")),
    response_required=False,
    priority=1,
    test_event="false",
    vtn_comment="hello",
)
THEIR_REQUEST = {
    "report_request_id": "007",
    "report_specifier": {
        "report_specifier_id": "id-1",
        "granularity": MINUTE,
        "report_back_duration": HOUR,
        "report_interval": {"dtstart": NOW, "duration": 2 * HOUR},
        "specifier_payloads": [{"r_id": "r-1", "reading_type": "Direct Read"}],
    },
}
REQUEST = ReportRequest(
    request_id="007",
    specifier_id="id-1",
    granularity_s=60.0,
    back_duration_s=3600.0,
    payloads=(SpecifierPayload(rid="r-1"),),
    period=Period(start=NOW, duration_s=7200.0),
)
THEIR_METADATA = {
    "report_id": "x",
    "report_specifier_id": "id-1",
    "report_name": "TELEMETRY_USAGE",
    "created_date_time": NOW,
    "duration": HOUR,
    "report_descriptions": [
        {
            "r_id": "007",
            "report_subject": {"end_device_asset": {"mrid": "Storage"}},
            "report_data_source": {"resource_id": "r-2"},
            "report_type": "usage",
            "reading_type": "Direct Read",
            "market_context": "http://utility.example",
            "sampling_rate": {"min_period": MINUTE, "max_period": HOUR, "on_change": False},
            "measurement": dict(THEIR_POWER),
        }
    ],
}
METADATA = Report(
    specifier_id="id-1",
    request_id="0",
    created_at=NOW,
    name="METADATA_TELEMETRY_USAGE",
    duration_s=3600.0,
    descriptions=(
        ReportDescription(
            rid="007",
            subject=Target(end_device_assets=("Storage",)),
            data_source=Target(resource_ids=("r-2",)),
            report_type="usage",
            reading_type="Direct Read",
            market_context="http://utility.example",
            sampling=SamplingRate(min_period_s=60.0, max_period_s=3600.0),
            measure=KILOWATT,
        ),
    ),
)
THEIR_DATA = {
    "report_id": "007",
    "report_request_id": "id-1",
    "report_specifier_id": "s",
    "report_name": "TELEMETRY_USAGE",
    "created_date_time": NOW,
    "dtstart": NOW,
    "intervals": [
        {
            "dtstart": NOW,
            "duration": MINUTE,
            "report_payload": {"r_id": rid, "value": 1.5, "confidence": 95, "accuracy": 0.5, "data_quality": "x-own"},
        }
        for rid in ("a", "b")
    ],
}
DATA = Report(
    specifier_id="s",
    request_id="id-1",
    created_at=NOW,
    name="TELEMETRY_USAGE",
    report_id="007",
    start=NOW,
    intervals=tuple(
        ReportInterval(start=NOW, duration_s=60.0, payloads=(ReportPayload(rid, 1.5, "x-own", 95, 0.5),))
        for rid in ("a", "b")
    ),
)

TEMPLATES: dict[str, tuple[dict[str, Any], Message]] = {
    "oadrPoll": ({"ven_id": "007"}, Poll(ven_id="007")),
    "oadrResponse": ({"response": RESPONSE, "ven_id": "007"}, Response(response=ACCEPTED, ven_id="007")),
    "oadrRequestReregistration": ({"ven_id": "007"}, RequestReregistration(ven_id="007")),
    "oadrQueryRegistration": ({"request_id": "007"}, QueryRegistration(request_id="007")),
    "oadrCreatePartyRegistration": (
        {
            "request_id": "007",
            "registration_id": "id-1",
            "ven_id": "v",
            "profile_name": "2.0b",
            "transport_name": "simpleHttp",
            "transport_address": "https://ven.example",
            "report_only": False,
            "xml_signature": True,
            "ven_name": "name",
            "http_pull_model": True,
        },
        CreatePartyRegistration(
            request_id="007",
            registration_id="id-1",
            ven_id="v",
            transport_address="https://ven.example",
            ven_name="name",
        ),
    ),
    "oadrCreatedPartyRegistration": (
        {
            "response": RESPONSE,
            "registration_id": "id-1",
            "ven_id": "v",
            "vtn_id": "utility",
            "profiles": [{"profile_name": "2.0b", "transports": [{"transport_name": "simpleHttp"}]}],
            "requested_oadr_poll_freq": timedelta(seconds=10),
        },
        CreatedPartyRegistration(
            response=ACCEPTED,
            registration_id="id-1",
            ven_id="v",
            vtn_id="utility",
            profiles=(Profile(),),
            poll_interval_s=10.0,
        ),
    ),
    "oadrCancelPartyRegistration": (
        {"request_id": "007", "registration_id": "id-1", "ven_id": "v"},
        CancelPartyRegistration(request_id="007", registration_id="id-1", ven_id="v"),
    ),
    "oadrCanceledPartyRegistration": (
        {"response": RESPONSE, "registration_id": "id-1", "ven_id": "v"},
        CanceledPartyRegistration(response=ACCEPTED, registration_id="id-1", ven_id="v"),
    ),
    "oadrRequestEvent": (
        {"request_id": "007", "ven_id": "v", "reply_limit": 5},
        RequestEvent(request_id="007", ven_id="v", reply_limit=5),
    ),
    "oadrDistributeEvent": (
        {"response": RESPONSE, "request_id": "007", "vtn_id": "utility", "events": [THEIR_EVENT]},
        DistributeEvent(response=ACCEPTED, request_id="007", vtn_id="utility", events=(EVENT,)),
    ),
    "oadrCreatedEvent": (
        {
            "response": {"response_code": 200, "response_description": "OK", "request_id": ""},
            "ven_id": "v",
            "event_responses": [
                {
                    "response_code": 200,
                    "response_description": "OK",
                    "request_id": "q",
                    "event_id": "007",
                    "modification_number": 3,
                    "opt_type": "optOut",
                }
            ],
        },
        CreatedEvent(
            ven_id="v",
            responses=(EventResponse(request_id="q", event_id="007", modification_number=3, opt=OptType.OPT_OUT),),
        ),
    ),
    "oadrRegisterReport": (
        {"request_id": "007", "ven_id": "v", "reports": [THEIR_METADATA]},
        RegisterReport(request_id="007", ven_id="v", reports=(METADATA,)),
    ),
    "oadrRegisteredReport": (
        {"response": RESPONSE, "ven_id": "v", "report_requests": [THEIR_REQUEST]},
        RegisteredReport(response=ACCEPTED, ven_id="v", requests=(REQUEST,)),
    ),
    "oadrCreateReport": (
        {"request_id": "007", "ven_id": "v", "report_requests": [THEIR_REQUEST]},
        CreateReport(request_id="007", ven_id="v", requests=(REQUEST,)),
    ),
    "oadrCreatedReport": (
        {
            "response": RESPONSE,
            "ven_id": "v",
            "pending_reports": [{"report_request_id": "007"}, {"report_request_id": "id-1"}],
        },
        CreatedReport(response=ACCEPTED, ven_id="v", pending=("007", "id-1")),
    ),
    "oadrUpdateReport": (
        {"request_id": "007", "ven_id": "v", "reports": [THEIR_DATA]},
        UpdateReport(request_id="007", ven_id="v", reports=(DATA,)),
    ),
    "oadrUpdatedReport": (
        {"response": RESPONSE, "ven_id": "v"},
        UpdatedReport(response=ACCEPTED, ven_id="v"),
    ),
    "oadrCancelReport": (
        {"request_id": "007", "report_request_id": "id-1", "report_to_follow": True, "ven_id": "v"},
        CancelReport(request_id="007", report_request_ids=("id-1",), report_to_follow=True, ven_id="v"),
    ),
    "oadrCanceledReport": (
        {"response": RESPONSE, "ven_id": "v", "pending_reports": []},
        CanceledReport(response=ACCEPTED, ven_id="v"),
    ),
    "oadrCreateOpt": (
        {
            "request_id": "007",
            "opt_id": "id-1",
            "opt_type": "optOut",
            "opt_reason": "x-schedule",
            "market_context": "http://utility.example",
            "ven_id": "v",
            "vavailability": {"components": [{"dtstart": NOW, "duration": HOUR}]},
            "created_date_time": NOW,
            "event_id": "e",
            "modification_number": 3,
            "targets": [{"resource_id": "r-1"}],
            "signal_target_mrid": "Storage",
        },
        CreateOpt(
            request_id="007",
            opt_id="id-1",
            opt=OptType.OPT_OUT,
            reason="x-schedule",
            market_context="http://utility.example",
            ven_id="v",
            availability=(Period(start=NOW, duration_s=3600.0),),
            created_at=NOW,
            event=QualifiedEventId(event_id="e", modification_number=3),
            target=Target(resource_ids=("r-1",)),
            device_class=Target(end_device_assets=("Storage",)),
        ),
    ),
    "oadrCreatedOpt": ({"response": RESPONSE, "opt_id": "id-1"}, CreatedOpt(response=ACCEPTED, opt_id="id-1")),
    "oadrCancelOpt": (
        {"request_id": "007", "opt_id": "id-1", "ven_id": "v"},
        CancelOpt(request_id="007", opt_id="id-1", ven_id="v"),
    ),
    "oadrCanceledOpt": ({"response": RESPONSE, "opt_id": "id-1"}, CanceledOpt(response=ACCEPTED, opt_id="id-1")),
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("openleadr").setLevel(logging.ERROR)


def test_every_template_is_here() -> None:
    spec = find_spec("openleadr")
    assert spec is not None
    assert spec.origin is not None
    names = {path.stem for path in (Path(spec.origin).parent / "templates").glob("oadr*.xml")}
    assert names - {"oadrPayload"} == set(TEMPLATES) == {binding.name for binding in BINDINGS}


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_what_openleadr_writes_is_read(name: str) -> None:
    arguments, message = TEMPLATES[name]
    written = theirs.create_message(name, **arguments)
    assert decode(written.encode()) == message
    assert name_of(message) == name


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_openleadr_reads_what_we_write_as_what_it_writes(name: str) -> None:
    arguments, message = TEMPLATES[name]
    ours = unsigned(encode(message))
    theirs.validate_xml_schema(ours)
    assert theirs.parse_message(ours) == theirs.parse_message(theirs.create_message(name, **arguments))


def test_a_signal_without_a_unit_or_a_target_is_read() -> None:
    event = {
        **THEIR_EVENT,
        "event_signals": [
            {
                "intervals": [{"dtstart": NOW, "duration": 2 * HOUR, "uid": 0, "signal_payload": 3}],
                "signal_name": "SIMPLE",
                "signal_type": "level",
                "signal_id": "s",
            }
        ],
        "targets": [],
    }
    read = decode(
        theirs.create_message("oadrDistributeEvent", request_id="q", vtn_id="utility", events=[event]).encode()
    )
    assert isinstance(read, DistributeEvent)
    assert isinstance(read.events[0], WireEvent)
    assert read.events[0].target.empty
    assert read.events[0].signals == (
        WireSignal(
            signal_id="s",
            name="SIMPLE",
            type="level",
            intervals=(SignalPoint(duration_s=7200.0, value=3.0, uid="0"),),
        ),
    )


MEASUREMENTS = {
    name: getattr(enums.MEASUREMENTS, name)
    for name in dir(enums.MEASUREMENTS)
    if hasattr(getattr(enums.MEASUREMENTS, name), "unit")
}


@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_every_measurement_of_openleadr_is_read(name: str) -> None:
    known = MEASUREMENTS[name]
    given = {
        "name": known.name,
        "description": known.description,
        "unit": known.unit,
        "scale": known.scale,
        "pulse_factor": known.pulse_factor,
    }
    attributes = None
    if known.power_attributes is not None:
        given["power_attributes"] = {"hertz": 50, "voltage": 230, "ac": True}
        attributes = PowerAttributes(hertz=50.0, voltage=230.0)
    metadata = {
        **THEIR_METADATA,
        "report_descriptions": [
            {**THEIR_METADATA["report_descriptions"][0], "measurement": given}  # type: ignore[index]
        ],
    }
    read = decode(theirs.create_message("oadrRegisterReport", request_id="q", ven_id="v", reports=[metadata]).encode())
    assert isinstance(read, RegisterReport)
    assert read.reports[0].descriptions[0].measure == Measure(
        name=known.name,
        # A unit that its table misspells becomes a custom one.
        description=known.description if known.name == "customUnit" else "",
        units=known.unit,
        si_scale=known.scale or "none",
        power_attributes=attributes,
        pulse_factor=known.pulse_factor,
    )


def test_where_openleadr_guesses_ours_keeps_text() -> None:
    written = unsigned(encode(Poll(ven_id="007")))
    assert theirs.parse_message(written) == ("oadrPoll", {"ven_id": 7})
    assert decode(written) == Poll(ven_id="007")
    dotted = unsigned(encode(Poll(ven_id="1.2.3")))
    with pytest.raises(ValueError, match="could not convert"):
        theirs.parse_message(dotted)
    assert decode(dotted) == Poll(ven_id="1.2.3")
