"""Our messages through openleadr's codec and back, and what must be refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from openleadr.messaging import create_message, parse_message, validate_xml_schema, validate_xml_signature

from certs.tls import Identity
from grid.events import OptType
from tests.ven.conftest import CLOCK, Pki
from tests.ven.scripted import OK, ScriptedVtn, event_fields, registered, report_request, signal_fields
from ven.errors import WireError
from ven.ports import Quality
from ven.wire.codec import Codec, encode
from ven.wire.messages import (
    CanceledReport,
    CancelReport,
    CreatedEvent,
    CreatedPartyRegistration,
    CreatedReport,
    CreatePartyRegistration,
    CreateReport,
    DistributeEvent,
    EiResponse,
    Measure,
    Outgoing,
    Poll,
    PowerChannel,
    RegisteredReport,
    RegisterReport,
    ReportPoint,
    ReportRequest,
    RequestEvent,
    RequestReregistration,
    Response,
    UnreadableEvent,
    UpdatedReport,
    UpdateReport,
    WireEvent,
)
from ven.wire.signatures import Signer, Verifier

START = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)

OUTGOING: list[tuple[Outgoing, dict[str, object]]] = [
    (Poll(ven_id="a & b"), {"ven_id": "a & b"}),
    (RequestEvent(request_id="q", ven_id="v"), {"request_id": "q", "ven_id": "v"}),
    (CreatePartyRegistration(request_id="q", ven_name="x < y"), {"ven_name": "x < y", "http_pull_model": True}),
    (
        CreatePartyRegistration(request_id="q", ven_name="n", ven_id="v", registration_id="r"),
        {"ven_id": "v", "registration_id": "r"},
    ),
    (
        CreatedReport(ven_id="v", response=EiResponse(code=200, request_id="q"), pending=("a", "b")),
        {"pending_reports": [{"report_request_id": "a"}, {"report_request_id": "b"}]},
    ),
    (CanceledReport(ven_id="v", response=EiResponse(code=200, request_id="q"), pending=()), {"pending_reports": []}),
    (Response(ven_id="v", response=EiResponse(code=200, request_id="q")), {"ven_id": "v"}),
]


@pytest.fixture
def identity(pki: Pki) -> Identity:
    return pki.ven("ven-wire")


@pytest.fixture
def codec(identity: Identity) -> Codec:
    return Codec(Signer(identity), Verifier(identity, "127.0.0.1"), CLOCK)


@pytest.fixture
def vtn(pki: Pki) -> ScriptedVtn:
    return ScriptedVtn(pki.vtn())


@pytest.mark.parametrize(("message", "expected"), OUTGOING)
def test_what_we_send_is_read_by_another_codec(codec: Codec, message: Outgoing, expected: dict[str, object]) -> None:
    content = codec.sign(encode(message))
    validate_xml_signature(validate_xml_schema(content))
    name, fields = parse_message(content)
    assert name == f"oadr{type(message).__name__}"
    assert {key: fields[key] for key in expected} == expected


def test_an_answer_names_event_modification_and_request() -> None:
    message = CreatedEvent(ven_id="v", request_id="q", event_id="e<1>", modification_number=3, opt=OptType.OPT_OUT)
    _, fields = parse_message(encode(message))
    (answer,) = fields["event_responses"]
    assert (answer["event_id"], answer["modification_number"], answer["opt_type"]) == ("e<1>", 3, "optOut")
    assert (answer["request_id"], answer["response_code"]) == ("q", 200)


def test_an_offer_carries_kw_by_resource() -> None:
    channel = PowerChannel(rid="r1", resource_id="site-1", min_period_s=10, max_period_s=3600)
    message = RegisterReport(
        request_id="q", ven_id="v", specifier_id="telemetry-usage", created_at=START, channels=(channel,)
    )
    _, fields = parse_message(encode(message))
    (report,) = fields["reports"]
    (description,) = report["report_descriptions"]
    assert report["report_name"] == "METADATA_TELEMETRY_USAGE"
    assert (description["r_id"], description["report_data_source"]["resource_id"]) == ("r1", "site-1")
    assert (description["measurement"]["unit"], description["measurement"]["scale"]) == ("W", "k")
    assert description["sampling_rate"]["min_period"] == timedelta(seconds=10)


@pytest.mark.parametrize("kw", [0.0, -12.5, 1e-7, 123456.789, 1 / 3])
def test_report_values_arrive_exactly(kw: float) -> None:
    _, fields = parse_message(encode(_update(kw)))
    ((interval,),) = [report["intervals"] for report in fields["reports"]]
    assert interval["report_payload"]["value"] == kw
    assert (interval["dtstart"], interval["duration"]) == (START, timedelta(seconds=10))
    assert interval["report_payload"]["data_quality"] == "Quality Uncertain - Non Specific"


def test_a_repeated_message_is_the_same_bytes_under_a_fresh_signature(codec: Codec) -> None:
    payload = encode(_update(1.0))
    assert encode(_update(1.0)) == payload
    first, second = codec.sign(payload), codec.sign(payload)
    assert first != second
    signed_object = payload[payload.index(b"<oadr:oadrSignedObject") :]
    assert first.endswith(signed_object)
    assert second.endswith(signed_object)


def test_an_event_is_read_with_its_unit(codec: Codec, vtn: ScriptedVtn) -> None:
    targets = [{"ven_id": "v"}, {"resource_id": "site-1"}, {"resource_id": "site-2"}, {"group_id": "g"}]
    fields = event_fields("e-1", START, targets=targets, response_required="never")
    message = codec.decode(vtn.signed("oadrDistributeEvent", {"events": [fields]}))
    assert isinstance(message, DistributeEvent)
    (event,) = message.events
    assert isinstance(event, WireEvent)
    (signal,) = event.signals
    assert signal.measure == Measure(name="powerReal", units="W", si_scale="k")
    assert [(interval.duration_s, interval.value) for interval in signal.intervals] == [(110.0, -30.0)]
    assert (event.start, event.duration_s, event.response_required) == (START, 110.0, False)
    assert (event.ven_ids, event.resource_ids, event.other_targets) == (("v",), ("site-1", "site-2"), True)


def test_a_bad_event_does_not_spoil_its_neighbour(codec: Codec, vtn: ScriptedVtn) -> None:
    events = [event_fields("bad", START, status="none"), event_fields("good", START)]
    message = codec.decode(vtn.signed("oadrDistributeEvent", {"events": events}))
    assert isinstance(message, DistributeEvent)
    bad, good = message.events
    assert isinstance(bad, UnreadableEvent)
    assert "eventStatus none" in bad.reason
    assert isinstance(good, WireEvent)


def test_any_test_event_text_but_false_is_a_test(codec: Codec, vtn: ScriptedVtn) -> None:
    content = vtn.signed("oadrDistributeEvent", {"events": [event_fields("e", START, test_event=True)]})
    message = codec.decode(content)
    assert isinstance(message, DistributeEvent)
    (event,) = message.events
    assert isinstance(event, WireEvent)
    assert event.test_event


def test_identifiers_of_digits_come_as_strings(codec: Codec, vtn: ScriptedVtn) -> None:
    message = codec.decode(vtn.signed("oadrDistributeEvent", {"events": [event_fields("4711", START)]}))
    assert isinstance(message, DistributeEvent)
    assert message.events[0].event_id == "4711"


def test_registration_answers(codec: Codec, vtn: ScriptedVtn) -> None:
    message = codec.decode(vtn.signed(*registered({})))
    assert isinstance(message, CreatedPartyRegistration)
    assert (message.ven_id, message.registration_id, message.poll_interval_s) == ("ven-1", "registration-1", 1.0)
    refused = codec.decode(
        vtn.signed("oadrCreatedPartyRegistration", {"profiles": registered({})[1]["profiles"], "ven_id": None})
    )
    assert isinstance(refused, CreatedPartyRegistration)
    assert refused.registration_id is None
    assert isinstance(codec.decode(vtn.signed("oadrRequestReregistration", {})), RequestReregistration)


def test_report_requests_are_read_from_both_messages(codec: Codec, vtn: ScriptedVtn) -> None:
    interval = {"dtstart": START, "duration": timedelta(hours=1)}
    requests = {"report_requests": [report_request("a", report_interval=interval), report_request("b")]}
    registered_report = codec.decode(vtn.signed("oadrRegisteredReport", requests))
    create_report = codec.decode(vtn.signed("oadrCreateReport", requests))
    assert isinstance(registered_report, RegisteredReport)
    assert isinstance(create_report, CreateReport)
    assert registered_report.requests == create_report.requests
    first, second = create_report.requests
    assert first == ReportRequest(
        report_request_id="a",
        specifier_id="telemetry-usage",
        rids=("site-1-kw", "site-2-kw"),
        granularity_s=10.0,
        back_duration_s=10.0,
        start=START,
        duration_s=3600.0,
    )
    assert (second.start, second.duration_s) == (None, None)


def test_a_cancel_may_ride_along(codec: Codec, vtn: ScriptedVtn) -> None:
    cancel = {"request_id": "c", "report_request_id": ["a", "b"], "report_to_follow": False, "ven_id": "v"}
    message = codec.decode(vtn.signed("oadrUpdatedReport", {"cancel_report": cancel}))
    assert isinstance(message, UpdatedReport)
    assert message.cancel == CancelReport(request_id="c", report_request_ids=("a", "b"))
    alone = codec.decode(vtn.signed("oadrCancelReport", {"report_request_id": "a", "report_to_follow": False}))
    assert alone == CancelReport(request_id="q-1", report_request_ids=("a",))


def test_an_unsigned_message_is_refused(codec: Codec) -> None:
    content = create_message("oadrResponse", response=OK, ven_id="v").encode()
    with pytest.raises(WireError, match="is not signed"):
        codec.decode(content)


def test_an_altered_message_is_refused(codec: Codec, vtn: ScriptedVtn) -> None:
    content = vtn.signed("oadrDistributeEvent", {"events": [event_fields("e", START)]})
    assert content.count(b"-30.0") == 1
    with pytest.raises(WireError, match="does not hold"):
        codec.decode(content.replace(b"-30.0", b"-90.0"))


def test_a_replayed_message_is_refused(codec: Codec, vtn: ScriptedVtn) -> None:
    content = vtn.signed("oadrResponse", {})
    codec.decode(content)
    with pytest.raises(WireError, match="already used"):
        codec.decode(content)


def test_only_the_vtn_may_sign(codec: Codec, pki: Pki) -> None:
    for other in (pki.foreign_vtn(), pki.ven("ven-other")):
        with pytest.raises(WireError, match="who is not the VTN"):
            codec.decode(ScriptedVtn(other).signed("oadrResponse", {}))


@pytest.mark.parametrize("content", [b"no XML", b"<a/>", b"\xff\xfe", b""])
def test_what_is_not_openadr_is_refused(codec: Codec, content: bytes) -> None:
    with pytest.raises(WireError, match=r"is not OpenADR 2\.0b"):
        codec.decode(content)


def test_a_message_for_a_vtn_is_refused(codec: Codec, vtn: ScriptedVtn) -> None:
    with pytest.raises(WireError, match="oadrPoll"):
        codec.decode(vtn.signed("oadrPoll", {}))


def test_a_value_that_is_no_number_spoils_its_event(codec: Codec, vtn: ScriptedVtn) -> None:
    signal = signal_fields([(timedelta(seconds=110), "NaN")])
    message = codec.decode(vtn.signed("oadrDistributeEvent", {"events": [event_fields("e", START, signals=[signal])]}))
    assert isinstance(message, DistributeEvent)
    assert isinstance(message.events[0], UnreadableEvent)


def _update(kw: float) -> UpdateReport:
    return UpdateReport(
        request_id="q",
        ven_id="v",
        report_id="i",
        report_request_id="z",
        specifier_id="telemetry-usage",
        created_at=START,
        points=(ReportPoint(rid="r1", start=START, duration_s=10, kw=kw, quality=Quality.UNCERTAIN),),
    )
