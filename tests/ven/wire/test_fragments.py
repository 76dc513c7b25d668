"""Every global element of the OpenADR namespace can be read, alone or in its message."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lxml import etree  # type: ignore[import-untyped]

from tests.ven.wire import strategies as wire
from tests.ven.wire.conftest import NOW
from ven.errors import WireError
from ven.wire.common import Measure, PowerAttributes, Target
from ven.wire.party import Info, NamedInfo, Poll, Profile
from ven.wire.payload import BINDINGS, decode_any, encode
from ven.wire.report import (
    LoadControlValue,
    Report,
    ReportDescription,
    ReportPayload,
    ReportRequest,
    ResourceStatus,
    SamplingRate,
    SpecifierPayload,
)
from ven.wire.signature import unsigned
from ven.wire.xml import NAMESPACES, OADR

XSD = "{http://www.w3.org/2001/XMLSchema}"
SCALED = "<oadr:itemDescription>{}</oadr:itemDescription><oadr:itemUnits>{}</oadr:itemUnits>"
SCALE = "<scale:siScaleCode>k</scale:siScaleCode>"
FEED = wire.green_button(3, "t")
DURATION = "<xcal:duration>PT{}S</xcal:duration>"
TARGET = "<ei:groupID>007</ei:groupID>"
INFO = "<oadr:oadrInfo><oadr:oadrKey>k</oadr:oadrKey><oadr:oadrValue>1.2.3</oadr:oadrValue></oadr:oadrInfo>"
ONE = "<oadr:oadrCurrent>1.5</oadr:oadrCurrent>"


def scaled(name: str, description: str, units: str) -> tuple[str, Measure]:
    from_schema = "" if name != "customUnit" else description
    return SCALED.format(description, units) + SCALE, Measure(
        name=name, units=units, si_scale="k", description=from_schema
    )


FRAGMENTS: dict[str, tuple[str, Any]] = {
    "oadrVenName": (" a &amp; b ", " a & b "),
    "oadrProfiles": (
        "<oadr:oadrProfile><oadr:oadrProfileName>2.0b</oadr:oadrProfileName><oadr:oadrTransports><oadr:oadrTransport>"
        "<oadr:oadrTransportName>simpleHttp</oadr:oadrTransportName></oadr:oadrTransport></oadr:oadrTransports>"
        "</oadr:oadrProfile>",
        (Profile(),),
    ),
    "oadrProfileName": ("2.0b", "2.0b"),
    "oadrTransports": (
        "<oadr:oadrTransport><oadr:oadrTransportName>xmpp</oadr:oadrTransportName></oadr:oadrTransport>",
        ("xmpp",),
    ),
    "oadrTransportName": ("simpleHttp", "simpleHttp"),
    "oadrHttpPullModel": ("true", True),
    "oadrServiceSpecificInfo": (
        f"<oadr:oadrService><oadr:oadrServiceName>EiOpt</oadr:oadrServiceName>{INFO}</oadr:oadrService>",
        (NamedInfo(name="EiOpt", info=(Info(key="k", value="1.2.3"),)),),
    ),
    "oadrServiceName": ("EiOpt", "EiOpt"),
    "oadrInfo": (INFO.removeprefix("<oadr:oadrInfo>").removesuffix("</oadr:oadrInfo>"), Info(key="k", value="1.2.3")),
    "oadrXmlSignature": ("1", True),
    "oadrReportOnly": ("false", False),
    "oadrTransportAddress": ("https://ven.example", "https://ven.example"),
    "oadrRequestedOadrPollFreq": (DURATION.format(10), 10.0),
    "oadrResponseRequired": ("never", "never"),
    "oadrPendingReports": ("<ei:reportRequestID>007</ei:reportRequestID>", ("007",)),
    "customUnit": scaled("customUnit", "speed", "m/s"),
    "current": scaled("current", "Current", "A"),
    "currency": scaled("currency", "currency", "USD"),
    "currencyPerKWh": scaled("currencyPerKWh", "currencyPerKWh", "USD"),
    "currencyPerKW": scaled("currencyPerKW", "currencyPerKW", "USD"),
    "currencyPerThm": scaled("currencyPerThm", "currency", "USD"),
    "frequency": scaled("frequency", "Frequency", "Hz"),
    "Therm": scaled("Therm", "Therm", "thm"),
    "temperature": scaled("temperature", "temperature", "celsius"),
    "pulseCount": (
        SCALED.format("pulse count", "count") + "<oadr:pulseFactor>0.5</oadr:pulseFactor>",
        Measure(name="pulseCount", units="count", pulse_factor=0.5),
    ),
    "pulseFactor": ("0.5", 0.5),
    "oadrReportRequest": (
        "<ei:reportRequestID>007</ei:reportRequestID><ei:reportSpecifier><ei:reportSpecifierID>s</ei:reportSpecifierID>"
        f"<xcal:granularity>{DURATION.format(5)}</xcal:granularity>"
        f"<ei:reportBackDuration>{DURATION.format(60)}</ei:reportBackDuration><ei:specifierPayload><ei:rID>r</ei:rID>"
        "<ei:readingType>Direct Read</ei:readingType></ei:specifierPayload></ei:reportSpecifier>",
        ReportRequest(
            request_id="007",
            specifier_id="s",
            granularity_s=5.0,
            back_duration_s=60.0,
            payloads=(SpecifierPayload(rid="r"),),
        ),
    ),
    "oadrReport": (
        "<ei:reportRequestID>0</ei:reportRequestID><ei:reportSpecifierID>s</ei:reportSpecifierID>"
        "<ei:createdDateTime>2026-07-01T12:00:00Z</ei:createdDateTime>",
        Report(specifier_id="s", request_id="0", created_at=NOW),
    ),
    "oadrReportDescription": (
        "<ei:rID>r</ei:rID><ei:reportType>usage</ei:reportType><power:powerReal>"
        "<power:itemDescription>RealPower</power:itemDescription><power:itemUnits>W</power:itemUnits>"
        f"{SCALE}<power:powerAttributes><power:hertz>60.0</power:hertz><power:voltage>480</power:voltage>"
        "<power:ac>1</power:ac></power:powerAttributes></power:powerReal><ei:readingType>Mean</ei:readingType>",
        ReportDescription(
            rid="r",
            report_type="usage",
            reading_type="Mean",
            measure=Measure(name="powerReal", units="W", si_scale="k", power_attributes=PowerAttributes()),
        ),
    ),
    "oadrSamplingRate": (
        "<oadr:oadrMinPeriod>PT1S</oadr:oadrMinPeriod><oadr:oadrMaxPeriod>PT2S</oadr:oadrMaxPeriod>"
        "<oadr:oadrOnChange>false</oadr:oadrOnChange>",
        SamplingRate(min_period_s=1.0, max_period_s=2.0),
    ),
    "oadrPayloadResourceStatus": (
        "<oadr:oadrOnline>true</oadr:oadrOnline><oadr:oadrManualOverride>false</oadr:oadrManualOverride>",
        ResourceStatus(online=True, manual_override=False),
    ),
    "oadrLoadControlState": (
        f"<oadr:oadrCapacity>{ONE}</oadr:oadrCapacity><oadr:oadrSetPoint>{ONE}</oadr:oadrSetPoint>",
        {"capacity": LoadControlValue(current=1.5), "set_point": LoadControlValue(current=1.5)},
    ),
    "oadrGBPayload": (FEED.decode(), FEED),
    "oadrGBDataDescription": (FEED.decode(), FEED),
    "oadrDeviceClass": (TARGET, Target(group_ids=("007",))),
    "oadrReportPayload": (
        "<ei:rID>007</ei:rID><ei:payloadFloat><ei:value>1.5</ei:value></ei:payloadFloat>",
        ReportPayload("007", 1.5),
    ),
    "oadrDataQuality": ("Quality Good - Non Specific", "Quality Good - Non Specific"),
}


def globals_of_the_schema() -> set[str]:
    spec = find_spec("openleadr")
    assert spec is not None
    assert spec.origin is not None
    schema = etree.parse(Path(spec.origin).parent / "schema" / "oadr_20b.xsd")
    return {element.get("name") for element in schema.getroot().iterchildren(f"{XSD}element")}


def fragment(name: str, content: str) -> bytes:
    return f"<oadr:{name}{NAMESPACES}>{content}</oadr:{name}>".encode()


def test_every_global_element_of_the_namespace_is_known() -> None:
    messages = {binding.name for binding in BINDINGS}
    assert globals_of_the_schema() == {"oadrPayload", "oadrSignedObject"} | messages | set(FRAGMENTS)


@pytest.mark.parametrize("name", list(FRAGMENTS))
def test_an_element_is_read_alone(name: str) -> None:
    content, value = FRAGMENTS[name]
    assert decode_any(fragment(name, content)) == (name, value)
    assert decode_any(fragment(name, content), checked=False) == (name, value)


@pytest.mark.parametrize("name", [name for name in FRAGMENTS if name != "oadrVenName"])
def test_an_element_that_is_invalid_says_so(name: str) -> None:
    if name in ("oadrTransportAddress", "oadrPendingReports", "oadrLoadControlState", "oadrDeviceClass"):
        content = "<oadr:unknown></oadr:unknown>"
    else:
        content = "nonsense"
    with pytest.raises(WireError, match=name):
        decode_any(fragment(name, content))


def test_messages_are_read_in_every_wrapping() -> None:
    content = encode(Poll(ven_id="007"))
    for form in (content, unsigned(content), etree.tostring(etree.fromstring(content)[0])):
        assert decode_any(form) == ("oadrPoll", Poll(ven_id="007"))


def test_a_message_that_the_schema_refuses_is_read_when_asked_to() -> None:
    content = encode(Poll(ven_id="007")).replace(b"</ei:venID>", b"</ei:venID><ei:vtnID>x</ei:vtnID>")
    with pytest.raises(WireError, match="vtnID"):
        decode_any(content)
    assert decode_any(content, checked=False) == ("oadrPoll", Poll(ven_id="007"))


@pytest.mark.parametrize("content", [b"<a/>", f'<oadr:nothing xmlns:oadr="{OADR}"/>'.encode(), b"<oadrVenName/>"])
def test_what_is_nothing_of_openadr_is_refused(content: bytes) -> None:
    with pytest.raises(WireError, match="nothing of OpenADR"):
        decode_any(content)
