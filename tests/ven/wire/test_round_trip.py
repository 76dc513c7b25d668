"""Every message and field to bytes and back; what is written is valid, canonical, and the same each time."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree  # type: ignore[import-untyped]

from grid.events import EventStatus
from tests.ven.wire import strategies as wire
from tests.ven.wire.conftest import NOW
from ven.errors import WireError
from ven.wire.common import KILOWATT, Area, EiResponse, Measure, PowerAttributes, Target
from ven.wire.event import DistributeEvent, SignalPoint, UnreadableEvent, WireEvent, WireSignal
from ven.wire.party import CreatedPartyRegistration, Poll, Response
from ven.wire.payload import BINDINGS, Message, decode, encode, name_of, service_of
from ven.wire.report import (
    RegisterReport,
    Report,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    ResourceStatus,
    UpdateReport,
)
from ven.wire.schema import fault, parse
from ven.wire.signature import unsigned
from ven.wire.xml import as_instant, as_seconds, decimal, lasting, number

SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def event(**changes: Any) -> WireEvent:
    values: dict[str, Any] = {
        "event_id": "e",
        "modification_number": 0,
        "status": EventStatus.FAR,
        "created_at": NOW,
        "market_context": "http://utility.example",
        "start": NOW,
        "duration_s": 3600.0,
        "signals": (signal(),),
    }
    return WireEvent(**(values | changes))


def signal(**changes: Any) -> WireSignal:
    values: dict[str, Any] = {
        "signal_id": "s",
        "name": "SIMPLE",
        "type": "level",
        "intervals": (SignalPoint(duration_s=3600.0, value=1.0, uid="0"),),
    }
    return WireSignal(**(values | changes))


def distribute(*events: WireEvent) -> DistributeEvent:
    return DistributeEvent(request_id="q", vtn_id="vtn", events=events)


def check_round_trip(message: Message) -> None:
    written = encode(message)
    root = etree.fromstring(written)
    assert fault(root) is None
    assert etree.tostring(root, method="c14n") == written
    assert encode(message) == written
    assert decode(written) == message
    assert decode(unsigned(written)) == message


def test_there_is_a_strategy_for_every_message() -> None:
    assert set(wire.MESSAGES) == {binding.type for binding in BINDINGS}


@pytest.mark.parametrize("kind", list(wire.MESSAGES), ids=lambda kind: kind.__name__)
@given(data=st.data())
@SLOW
def test_a_message_is_read_as_it_was_written(kind: type[Any], data: st.DataObject) -> None:
    message = data.draw(wire.MESSAGES[kind])
    check_round_trip(message)
    assert name_of(message) == f"oadr{kind.__name__}"
    assert service_of(message) in ("EiRegisterParty", "OadrPoll", "EiEvent", "EiReport", "EiOpt")


@given(message=wire.messages)
@SLOW
def test_a_message_is_read_wrapped_as_a_signed_object_and_bare(message: Message) -> None:
    signed_object = parse(encode(message))
    assert decode(etree.tostring(signed_object)) == message
    assert decode(etree.tostring(signed_object[0])) == message
    assert decode(unsigned(encode(message))) == message


@given(ven_id=wire.text)
@example(ven_id="007")
@example(ven_id=" ")
def test_an_identifier_is_text_and_keeps_every_character(ven_id: str) -> None:
    assert decode(encode(Poll(ven_id=ven_id))) == Poll(ven_id=ven_id)


@pytest.mark.parametrize("character", ["\0", "\x08", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_a_character_that_xml_cannot_carry_is_refused_when_written(character: str) -> None:
    with pytest.raises(WireError, match="cannot carry"):
        encode(Poll(ven_id=f"a{character}b"))
    with pytest.raises(WireError, match="cannot carry"):
        encode(Poll(ven_id=f"{'a' * 300}{character}b"))


# --- signals, units, targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", wire.SIGNAL_NAMES)
@pytest.mark.parametrize("kind", wire.SIGNAL_TYPES)
def test_every_signal_name_and_type(name: str, kind: str) -> None:
    check_round_trip(distribute(event(signals=(signal(name=name, type=kind, current_value=0.0),))))


@pytest.mark.parametrize("scale", wire.SCALES)
@pytest.mark.parametrize(("name", "units"), [unit for unit in wire.UNITS if unit[0] != "pulseCount"])
def test_every_unit_and_scale(name: str, units: str, scale: str) -> None:
    attributes = PowerAttributes(hertz=50.0, voltage=230.5, ac=False) if name.startswith("power") else None
    description = "speed" if name == "customUnit" else ""
    measure = Measure(name=name, units=units, si_scale=scale, power_attributes=attributes, description=description)
    check_round_trip(distribute(event(signals=(signal(measure=measure),))))


def test_pulses_have_a_factor_instead_of_a_scale() -> None:
    check_round_trip(
        distribute(event(signals=(signal(measure=Measure(name="pulseCount", units="count", pulse_factor=0.1)),)))
    )


def test_power_without_attributes_is_written_with_the_usual_ones() -> None:
    written = encode(distribute(event(signals=(signal(measure=Measure(name="powerReal", units="W", si_scale="k")),))))
    read = decode(written)
    assert isinstance(read, DistributeEvent)
    assert isinstance(read.events[0], WireEvent)
    assert read.events[0].signals[0].measure == KILOWATT


def test_a_unit_that_openadr_does_not_have_is_refused_when_written() -> None:
    with pytest.raises(WireError, match="horsePower is no unit"):
        encode(distribute(event(signals=(signal(measure=Measure(name="horsePower", units="hp")),))))


AREAS = Target(
    service_areas=(
        Area(id="area-1", polygon_id="p-1", positions=(33.4, -112.1, 33.5, -112.0, 1e-7, -1e20)),
        Area(positions=()),
    ),
    service_locations=(Area(id="place-1", polygon_id="p-2", positions=(1.0, 2.0)),),
)


def test_areas_keep_their_polygons_and_ids() -> None:
    check_round_trip(distribute(event(target=AREAS)))


def test_an_event_with_areas_is_read_beside_an_invalid_one() -> None:
    good = event(event_id="good", target=AREAS)
    written = encode(distribute(good, event(event_id="bad", priority=77)))
    read = decode(written.replace(b">77<", b">high<"))
    assert isinstance(read, DistributeEvent)
    assert read.events[0] == good
    assert isinstance(read.events[1], UnreadableEvent)


# --- numbers, times, durations ------------------------------------------------------------------------------------


@given(value=st.floats(allow_nan=False))
def test_a_float_keeps_every_bit(value: float) -> None:
    assert float(number(value)) == value
    assert math.copysign(1, float(number(value))) == math.copysign(1, value)


def test_not_a_number_is_carried() -> None:
    report = Report(
        specifier_id="s",
        request_id="r",
        created_at=NOW,
        intervals=(ReportInterval(payloads=(ReportPayload("a", math.nan),)),),
    )
    read = decode(encode(UpdateReport(request_id="q", reports=(report,))))
    assert isinstance(read, UpdateReport)
    value = read.reports[0].intervals[0].payloads[0].value
    assert isinstance(value, float)
    assert math.isnan(value)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
@example(value=1e-7)
@example(value=1e22)
def test_a_decimal_is_written_without_an_exponent_and_exactly(value: float) -> None:
    written = decimal(value)
    assert "e" not in written.lower()
    assert float(written) == value


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_decimal_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(WireError, match="no decimal number"):
        decimal(value)


@given(seconds=st.integers(-3 * 366 * 86400, 3 * 366 * 86400))
def test_a_duration_is_read_as_it_was_written(seconds: int) -> None:
    assert as_seconds(lasting(float(seconds))) == seconds


def test_durations_that_the_schema_cannot_write_are_refused() -> None:
    for seconds in (0.5, math.inf, math.nan):
        with pytest.raises(WireError, match="whole seconds only"):
            lasting(seconds)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("PT15M", 900),
        ("P1DT1H1M1S", 90061),
        ("-PT5M", -300),
        ("+PT5M", 300),
        ("P2W", 1_209_600),
        ("2W", 1_209_600),
        ("P0D", 0),
        ("PT90M", 5400),
        ("P0Y0M1D", 86400),
        (" PT1S ", 1),
    ],
)
def test_durations_in_every_form_that_the_schema_takes(written: str, seconds: float) -> None:
    assert as_seconds(written) == seconds


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("P", "no duration"),
        ("PT", "no duration"),
        ("", "no duration"),
        ("5", "no duration"),
        ("P1Y", "years or months"),
        ("P1M", "years or months"),
        ("P9999D", "ten years"),
        ("P" + "9" * 200 + "D", "no duration"),
        ("PT1S\nPT1S", "no duration"),
    ],
)
def test_a_duration_that_makes_no_sense_says_why(written: str, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        as_seconds(written)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-07-01T12:00:00Z", NOW),
        ("2026-07-01T12:00:00", NOW),
        ("2026-07-01T12:00:00.000Z", NOW),
        ("2026-07-01T12:00:00.Z", NOW),
        ("+2026-07-01T12:00:00Z", NOW),
        ("2026-07-01T12:00:00.1234567Z", NOW + timedelta(microseconds=123456)),
        ("2026-06-30T24:00:00Z", datetime(2026, 7, 1, tzinfo=UTC)),
    ],
)
def test_instants_in_every_form_that_the_schema_takes(written: str, moment: datetime) -> None:
    assert as_instant(written) == moment


@pytest.mark.parametrize(
    "written", ["", "now", "-0044-03-15T12:00:00Z", "2026-02-30T12:00:00Z", "9999-12-31T24:00:00Z"]
)
def test_an_instant_that_makes_no_sense_is_refused(written: str) -> None:
    with pytest.raises(WireError, match="no date and time"):
        as_instant(written)


def test_a_decimal_that_is_larger_than_a_float_is_refused() -> None:
    measure = Measure(name="powerReal", units="W", power_attributes=PowerAttributes())
    content = encode(distribute(event(signals=(signal(measure=measure),))))
    read = decode(content.replace(b">480.0<", b">" + b"9" * 400 + b"<"))
    assert isinstance(read, DistributeEvent)
    assert isinstance(read.events[0], UnreadableEvent)
    assert "voltage: '999" in read.events[0].reason


def test_every_time_is_written_in_utc() -> None:
    phoenix = timezone(timedelta(hours=-7))
    written = encode(distribute(event(start=NOW.astimezone(phoenix), created_at=NOW.astimezone(phoenix))))
    assert written.count(b"2026-07-01T12:00:00Z") == 2


# --- reports ------------------------------------------------------------------------------------------------------


def report(**changes: Any) -> Report:
    values: dict[str, Any] = {"specifier_id": "s", "request_id": "r", "created_at": NOW}
    return Report(**(values | changes))


@pytest.mark.parametrize("name", wire.REPORT_NAMES)
@pytest.mark.parametrize("report_type", wire.REPORT_TYPES)
def test_every_report_name_and_type(name: str, report_type: str) -> None:
    for reading_type in wire.READING_TYPES:
        description = ReportDescription(rid="007", report_type=report_type, reading_type=reading_type)
        check_round_trip(RegisterReport(request_id="q", reports=(report(name=name, descriptions=(description,)),)))


def test_intervals_of_one_payload_and_of_many_are_read() -> None:
    many = (ReportInterval(start=NOW, payloads=(ReportPayload("a", 1.0), ReportPayload("b", 2.0))),)
    single = tuple(ReportInterval(start=NOW, payloads=(payload,)) for payload in many[0].payloads)
    check_round_trip(UpdateReport(request_id="q", reports=(report(intervals=many), report(intervals=single))))


def test_green_button_data_stands_beside_other_payloads() -> None:
    feed = wire.green_button(17, "a & b")
    status = ResourceStatus(online=True, manual_override=False)
    interval = ReportInterval(start=NOW, payloads=(ReportPayload("a", status),), green_button=feed)
    check_round_trip(UpdateReport(request_id="q", reports=(report(intervals=(interval,)),)))


def test_green_button_data_is_an_atom_feed() -> None:
    for feed, reason in ((b"<feed/>", "Atom feed"), (b"not XML", "not XML"), (b"<!DOCTYPE a><a/>", "document type")):
        with pytest.raises(WireError, match=reason):
            encode(UpdateReport(request_id="q", reports=(report(intervals=(ReportInterval(green_button=feed),)),)))


@pytest.mark.parametrize("prefix", ["", "ei", "zzz", "xcal"])
def test_green_button_data_is_canonical_whatever_its_prefixes(prefix: str) -> None:
    feed = wire.green_button(17, "t").decode()
    renamed = feed.replace("atom:", f"{prefix}:" if prefix else "").replace(
        "xmlns:atom", f"xmlns:{prefix}" if prefix else "xmlns"
    )
    written = encode(
        UpdateReport(request_id="q", reports=(report(intervals=(ReportInterval(green_button=renamed.encode()),)),))
    )
    root = parse(written)
    assert fault(root) is None
    assert etree.tostring(root, method="c14n") == written


def test_green_button_data_without_a_canonical_form_is_refused_both_ways() -> None:
    """C14N knows absolute URIs only."""
    feed = wire.green_button(17, "t").replace(b"<atom:feed", b'<atom:feed xmlns:odd="relative"')
    interval = ReportInterval(green_button=feed)
    with pytest.raises(WireError, match="no canonical form"):
        encode(UpdateReport(request_id="q", reports=(report(intervals=(interval,)),)))
    good = ReportInterval(green_button=wire.green_button(17, "t"))
    content = encode(UpdateReport(request_id="q", reports=(report(intervals=(good,)),)))
    with pytest.raises(WireError, match="no canonical form"):
        decode(content.replace(b"<atom:feed", b'<atom:feed xmlns:odd="relative"'))


# --- one bad event does not reject the others (rule 19) -----------------------------------------------------------

GOOD, BAD, OTHER = event(event_id="good"), event(event_id="bad"), event(event_id="other")


def spoilt(change: tuple[bytes, bytes]) -> DistributeEvent:
    """Three events, the middle one of which is changed."""
    before, middle, after = encode(distribute(GOOD, BAD, OTHER)).split(b"<oadr:oadrEvent>", 3)[1:]
    head = encode(distribute(GOOD, BAD, OTHER)).split(b"<oadr:oadrEvent>", 1)[0]
    assert change[0] in middle
    read = decode(b"<oadr:oadrEvent>".join((head, before, middle.replace(*change, 1), after)))
    assert isinstance(read, DistributeEvent)
    return read


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"SIMPLE", b"COMPLEX"), "COMPLEX"),
        ((b"<ei:priority>0", b"<ei:priority>high"), "high"),
        ((b"PT1H", b"P1Y"), "years or months"),
        ((b"PT1H", b"1 hour"), "1 hour"),
        ((b">far<", b">none<"), "none"),
        ((b">far<", b">soon<"), "soon"),
        ((b">always<", b">sometimes<"), "sometimes"),
        ((b"<oadr:oadrResponseRequired>always</oadr:oadrResponseRequired>", b""), "oadrResponseRequired"),
        ((b"<ei:eiTarget></ei:eiTarget>", b""), "eiTarget"),
        ((b">1.0<", b">one<"), "one"),
    ],
)
def test_an_event_that_cannot_be_read_leaves_the_others_alone(change: tuple[bytes, bytes], reason: str) -> None:
    read = spoilt(change)
    assert [each for each in read.events if isinstance(each, WireEvent)] == [GOOD, OTHER]
    (bad,) = (each for each in read.events if isinstance(each, UnreadableEvent))
    assert (bad.event_id, bad.modification_number, bad.response_required) == ("bad", 0, True)
    assert reason in bad.reason


@pytest.mark.parametrize(
    "change",
    [
        (b"<ei:eventID>bad</ei:eventID>", b""),
        (b"<ei:eventID>bad", b"<ei:eventID>"),
        (b"<ei:modificationNumber>0", b"<ei:modificationNumber>first"),
        (b"<ei:modificationNumber>0", b"<ei:modificationNumber>            7"),
        (b"<ei:modificationNumber>0", "<ei:modificationNumber>\u0661".encode()),
        (b"<ei:modificationNumber>0", b"<ei:modificationNumber>99999999999"),
    ],
)
def test_an_event_that_cannot_even_be_named_leaves_the_others_alone(change: tuple[bytes, bytes]) -> None:
    spoil = (change[0], change[1])
    read = spoilt(spoil)
    assert [each for each in read.events if isinstance(each, WireEvent)][:1] == [GOOD]
    assert OTHER in read.events
    (odd,) = (each for each in read.events if each not in (GOOD, OTHER))
    if isinstance(odd, UnreadableEvent):
        assert (odd.event_id, odd.response_required) == ("", False)


def test_an_unreadable_event_cannot_be_written() -> None:
    bad = UnreadableEvent(event_id="x", modification_number=0, reason="?", response_required=True)
    with pytest.raises(WireError, match="x could not be read"):
        encode(DistributeEvent(request_id="q", vtn_id="v", events=(bad,)))


def test_what_is_wrong_outside_the_events_rejects_the_message() -> None:
    with pytest.raises(WireError, match="vtnID"):
        decode(encode(distribute(GOOD)).replace(b"<ei:vtnID>vtn</ei:vtnID>", b""))


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not XML"),
        (b"hello", "not XML"),
        (b"<a/>", "a is no message of OpenADR 2.0b"),
        (b"<oadrPoll/>", "oadrPoll is no message"),
        (encode(Poll(ven_id="x")).replace(b"ei:venID", b"ei:vtnID"), "oadrPoll is not OpenADR 2.0b: line 1:.*vtnID"),
        (encode(Response(response=EiResponse(code=200))).replace(b">200<", b">fine<"), "fine"),
        (unsigned(b""), "holds one oadrSignedObject"),
        (unsigned(encode(Poll(ven_id="a")) * 2), "holds one oadrSignedObject"),
        (encode(Poll(ven_id="a")).partition(b"><")[0] + b"></oadr:oadrSignedObject>", "holds one message"),
        (
            encode(CreatedPartyRegistration(response=EiResponse(), vtn_id="v", poll_interval_s=5.0)).replace(
                b"PT5S", b"P1M"
            ),
            "years or months",
        ),
    ],
)
def test_a_message_that_cannot_be_read_says_what_is_wrong(content: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(content)
