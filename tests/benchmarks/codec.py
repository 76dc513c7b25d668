"""What making and reading messages costs, beside openleadr and beside the least it could cost.

``python -m tests.benchmarks.codec`` prints JSON, a row for each message, direction and signature:

- ours: ``Codec.write`` or ``Codec.read``, as a session calls them.
- openleadr: ``create_message``, with certificate and key as PEM, or what its client does with an answer:
  ``validate_xml_schema``, ``validate_xml_signature`` where it is signed, ``parse_message``. Logging is off.
- floor of making: the same bytes from f-strings that escape nothing, a SHA-256 and the bare signature.
- floor of reading: lxml's parser, the schema, and every value taken out into tuples; where it is signed C14N, a SHA-256
  and the bare verification.

Every call gets another message than the one before, with times that no cache has seen. All are timed in turn, the best
of several rounds counts. ``ratio`` is openleadr's time over ours, ``over_floor`` is ours over the floor.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import platform
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openleadr.messaging as theirs
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from lxml import etree  # type: ignore[import-untyped]

from certs.authority import Authority
from certs.files import KeyType, LeafKey, read_certificates, read_leaf_key
from certs.issuance import Role, issue
from certs.trust import ChainTrust
from grid.clock import SystemClock
from grid.events import EventStatus
from ven.wire.codec import Codec
from ven.wire.common import KILOWATT, Target
from ven.wire.event import DistributeEvent, SignalPoint, WireEvent, WireSignal
from ven.wire.party import Poll
from ven.wire.payload import Message, encode
from ven.wire.replay import ReplayGuard
from ven.wire.report import Report, ReportInterval, ReportPayload, UpdateReport
from ven.wire.signature import Signer, Verifier, unsigned
from ven.wire.xml import NAMESPACES

INTERVALS = 24
READINGS, RIDS = 100, ("a-kw", "b-kw", "c-kw", "d-kw")
VARIANTS = 64
"""Different messages of a kind; together they have more times than any cache holds."""
EI = "{http://docs.oasis-open.org/ns/energyinterop/201110}"
OADR = "{http://openadr.org/oadr-2.0b/2012/07}"
STRM = "{urn:ietf:params:xml:ns:icalendar-2.0:stream}"
PYLD = "{http://docs.oasis-open.org/ns/energyinterop/201110/payloads}"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One message in each of its forms."""

    ours: Message
    theirs: dict[str, Any]
    """Keyword arguments of ``create_message``."""
    plain: Callable[[], bytes]
    """Makes the oadrSignedObject of ``ours`` from f-strings."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of message."""

    name: str
    element: str
    samples: Sequence[Sample]
    extract: Callable[[Any], Any]
    """Takes every value out of an oadrSignedObject."""


# --- samples ------------------------------------------------------------------------------------------------------


def _wrapped(name: str, content: str) -> bytes:
    return (
        f'<oadr:oadrSignedObject{NAMESPACES} oadr:Id="oadrSignedObject"><oadr:{name} ei:schemaVersion="2.0b">{content}'
        f"</oadr:{name}></oadr:oadrSignedObject>"
    ).encode()


def _z(moment: datetime) -> str:
    return f"{moment.isoformat()[:-6]}Z"


def poll_sample(number: int) -> Sample:
    ven_id = f"ven-{number}"
    return Sample(
        ours=Poll(ven_id=ven_id),
        theirs={"ven_id": ven_id},
        plain=lambda: _wrapped("oadrPoll", f"<ei:venID>{ven_id}</ei:venID>"),
    )


def event_sample(number: int) -> Sample:
    dice = random.Random(number)
    start = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(seconds=97 * number)
    values = [round(dice.uniform(0, 500), 3) for _ in range(INTERVALS)]
    event_id, request_id = f"event-{number}", f"request-{number}"

    def plain() -> bytes:
        intervals = "".join(
            "<ei:interval><xcal:duration><xcal:duration>PT1H</xcal:duration></xcal:duration>"
            f"<xcal:uid><xcal:text>{place}</xcal:text></xcal:uid><ei:signalPayload><ei:payloadFloat>"
            f"<ei:value>{value!r}</ei:value></ei:payloadFloat></ei:signalPayload></ei:interval>"
            for place, value in enumerate(values)
        )
        return _wrapped(
            "oadrDistributeEvent",
            f"<pyld:requestID>{request_id}</pyld:requestID><ei:vtnID>utility</ei:vtnID><oadr:oadrEvent><ei:eiEvent>"
            f"<ei:eventDescriptor><ei:eventID>{event_id}</ei:eventID><ei:modificationNumber>0</ei:modificationNumber>"
            "<ei:priority>1</ei:priority><ei:eiMarketContext><emix:marketContext>http://utility.example/dr"
            f"</emix:marketContext></ei:eiMarketContext><ei:createdDateTime>{_z(start)}</ei:createdDateTime>"
            "<ei:eventStatus>far</ei:eventStatus></ei:eventDescriptor><ei:eiActivePeriod><xcal:properties>"
            f"<xcal:dtstart><xcal:date-time>{_z(start)}</xcal:date-time></xcal:dtstart>"
            "<xcal:duration><xcal:duration>P1D</xcal:duration></xcal:duration></xcal:properties>"
            "<xcal:components></xcal:components></ei:eiActivePeriod><ei:eiEventSignals><ei:eiEventSignal>"
            f"<strm:intervals>{intervals}</strm:intervals><ei:signalName>LOAD_DISPATCH</ei:signalName>"
            "<ei:signalType>setpoint</ei:signalType><ei:signalID>s</ei:signalID><power:powerReal>"
            "<power:itemDescription>RealPower</power:itemDescription><power:itemUnits>W</power:itemUnits>"
            "<scale:siScaleCode>k</scale:siScaleCode><power:powerAttributes><power:hertz>60.0</power:hertz>"
            "<power:voltage>480.0</power:voltage><power:ac>true</power:ac></power:powerAttributes></power:powerReal>"
            "<ei:currentValue><ei:payloadFloat><ei:value>0.0</ei:value></ei:payloadFloat></ei:currentValue>"
            f"</ei:eiEventSignal></ei:eiEventSignals><ei:eiTarget><ei:venID>ven-{number}</ei:venID></ei:eiTarget>"
            "</ei:eiEvent><oadr:oadrResponseRequired>always</oadr:oadrResponseRequired></oadr:oadrEvent>",
        )

    signal = WireSignal(
        signal_id="s",
        name="LOAD_DISPATCH",
        type="setpoint",
        intervals=tuple(
            SignalPoint(duration_s=3600.0, value=value, uid=str(place)) for place, value in enumerate(values)
        ),
        measure=KILOWATT,
        current_value=0.0,
    )
    event = WireEvent(
        event_id=event_id,
        modification_number=0,
        status=EventStatus.FAR,
        created_at=start,
        market_context="http://utility.example/dr",
        start=start,
        duration_s=86400.0,
        signals=(signal,),
        target=Target(ven_ids=(f"ven-{number}",)),
        priority=1,
    )
    hour = timedelta(hours=1)
    theirs_event = {
        "event_descriptor": {
            "event_id": event_id,
            "modification_number": 0,
            "priority": 1,
            "market_context": "http://utility.example/dr",
            "created_date_time": start,
            "event_status": "far",
        },
        "active_period": {"dtstart": start, "duration": timedelta(days=1)},
        "event_signals": [
            {
                "intervals": [
                    {"dtstart": start + place * hour, "duration": hour, "uid": place, "signal_payload": value}
                    for place, value in enumerate(values)
                ],
                "signal_name": "LOAD_DISPATCH",
                "signal_type": "setpoint",
                "signal_id": "s",
                "current_value": 0.0,
                "measurement": {
                    "name": "powerReal",
                    "description": "RealPower",
                    "unit": "W",
                    "scale": "k",
                    "power_attributes": {"hertz": 60, "voltage": 480, "ac": True},
                },
            }
        ],
        "targets": [{"ven_id": f"ven-{number}"}],
        "response_required": "always",
    }
    return Sample(
        ours=DistributeEvent(request_id=request_id, vtn_id="utility", events=(event,)),
        theirs={"request_id": request_id, "vtn_id": "utility", "events": [theirs_event]},
        plain=plain,
    )


def report_sample(number: int, *, together: bool) -> Sample:
    """With ``together`` an interval has a payload of every rID, else each has its own, as openleadr writes."""
    dice = random.Random(number)
    start = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(seconds=10 * READINGS * number)
    step = timedelta(seconds=10)
    readings = [
        (start + place * step, [(rid, round(dice.uniform(0, 500), 3)) for rid in RIDS]) for place in range(READINGS)
    ]
    flat = readings if together else [(at, [point]) for at, points in readings for point in points]
    request_id = f"request-{number}"
    quality = "Quality Good - Non Specific"

    def plain() -> bytes:
        intervals = "".join(
            f"<ei:interval><xcal:dtstart><xcal:date-time>{_z(at)}</xcal:date-time></xcal:dtstart>"
            "<xcal:duration><xcal:duration>PT10S</xcal:duration></xcal:duration>"
            + "".join(
                f"<oadr:oadrReportPayload><ei:rID>{rid}</ei:rID><ei:payloadFloat><ei:value>{value!r}</ei:value>"
                f"</ei:payloadFloat><oadr:oadrDataQuality>{quality}</oadr:oadrDataQuality></oadr:oadrReportPayload>"
                for rid, value in points
            )
            + "</ei:interval>"
            for at, points in flat
        )
        return _wrapped(
            "oadrUpdateReport",
            f"<pyld:requestID>{request_id}</pyld:requestID><oadr:oadrReport><strm:intervals>{intervals}"
            "</strm:intervals><ei:eiReportID>r</ei:eiReportID><ei:reportRequestID>rr</ei:reportRequestID>"
            "<ei:reportSpecifierID>s</ei:reportSpecifierID><ei:reportName>TELEMETRY_USAGE</ei:reportName>"
            f"<ei:createdDateTime>{_z(start)}</ei:createdDateTime></oadr:oadrReport><ei:venID>ven-{number}</ei:venID>",
        )

    report = Report(
        specifier_id="s",
        request_id="rr",
        created_at=start,
        name="TELEMETRY_USAGE",
        report_id="r",
        intervals=tuple(
            ReportInterval(
                start=at,
                duration_s=10.0,
                payloads=tuple(ReportPayload(rid, value, quality) for rid, value in points),
            )
            for at, points in flat
        ),
    )
    theirs_report = {
        "report_id": "r",
        "report_request_id": "rr",
        "report_specifier_id": "s",
        "report_name": "TELEMETRY_USAGE",
        "created_date_time": start,
        "intervals": [
            {
                "dtstart": at,
                "duration": step,
                "report_payload": {"r_id": rid, "value": value, "data_quality": quality},
            }
            for at, points in readings
            for rid, value in points
        ],
    }
    return Sample(
        ours=UpdateReport(request_id=request_id, ven_id=f"ven-{number}", reports=(report,)),
        theirs={"request_id": request_id, "ven_id": f"ven-{number}", "reports": [theirs_report]},
        plain=plain,
    )


# --- the floor of reading -----------------------------------------------------------------------------------------


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    assert found is not None
    days, hours, minutes, seconds = found.groups("0")
    return float(int(days) * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds))


def extract_poll(signed_object: Any) -> Any:
    return signed_object[0][0].text


def extract_event(signed_object: Any) -> Any:
    message = signed_object[0]
    events = []
    for offered in message.iterchildren(f"{OADR}oadrEvent"):
        descriptor, period, signals, target = offered[0]
        event_id, modification, priority, context, created, status = (
            descriptor.findtext(f"{EI}eventID"),
            int(descriptor.findtext(f"{EI}modificationNumber")),
            int(descriptor.findtext(f"{EI}priority")),
            descriptor.find(f"{EI}eiMarketContext")[0].text,
            _instant(descriptor.findtext(f"{EI}createdDateTime")),
            descriptor.findtext(f"{EI}eventStatus"),
        )
        taken = []
        for signal in signals.iterchildren(f"{EI}eiEventSignal"):
            points = tuple(
                (_seconds(interval[0][0].text), interval[1][0].text, float(interval[2][0][0].text))
                for interval in signal[0]
            )
            unit = tuple(each.text for each in signal[4][:3])
            attributes = tuple(each.text for each in signal[4][3])
            names = (signal[1].text, signal[2].text, signal[3].text)
            taken.append((points, names, unit, attributes, float(signal[5][0][0].text)))
        events.append(
            (
                (event_id, modification, priority, context, created, status),
                (_instant(period[0][0][0].text), _seconds(period[0][1][0].text)),
                tuple(taken),
                tuple((each.tag, each.text) for each in target),
                offered[1].text,
            )
        )
    return message.findtext(f"{PYLD}requestID"), message.findtext(f"{EI}vtnID"), tuple(events)


def extract_report(signed_object: Any) -> Any:
    message = signed_object[0]
    reports = []
    for report in message.iterchildren(f"{OADR}oadrReport"):
        intervals = []
        for interval in report.find(f"{STRM}intervals"):
            start, duration, *payloads = interval
            points = tuple((rid.text, float(value[0].text), quality.text) for rid, value, quality in payloads)
            intervals.append((_instant(start[0].text), _seconds(duration[0].text), points))
        texts = tuple(
            report.findtext(EI + name) for name in ("eiReportID", "reportRequestID", "reportSpecifierID", "reportName")
        )
        created = _instant(report.findtext(f"{EI}createdDateTime"))
        reports.append((tuple(intervals), texts, created))
    return message.findtext(f"{PYLD}requestID"), message.findtext(f"{EI}venID"), tuple(reports)


# --- contenders ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Signing:
    """One identity; None of these: unsigned."""

    name: str
    key: LeafKey
    key_pem: bytes
    chain: Sequence[Certificate]
    certificate_pem: bytes
    root: Certificate


def identities(folder: Path) -> list[Signing]:
    clock = SystemClock()
    authority = Authority.create(folder / "ca", name="Utility", clock=clock)
    made = []
    for key_type in KeyType:
        issued = issue(authority, role=Role.VEN, name=key_type, folder=folder, clock=clock, key_type=key_type)
        made.append(
            Signing(
                name=key_type,
                key=read_leaf_key(issued.key),
                key_pem=issued.key.read_bytes(),
                chain=read_certificates(issued.certificate),
                certificate_pem=issued.certificate.read_bytes(),
                root=authority.certificate,
            )
        )
    return made


def codec_of(signing: Signing | None) -> Codec:
    if signing is None:
        return Codec(None, None)
    return Codec(Signer(signing.key, signing.chain), Verifier(ChainTrust([signing.root]), ReplayGuard()))


Step = Callable[[], object]


def creating(kind: Kind, signing: Signing | None) -> dict[str, Step]:
    clock, codec = SystemClock(), codec_of(signing)
    for sample in kind.samples[:2]:
        assert sample.plain() == encode(sample.ours), f"the floor of {kind.name} builds other bytes"
    ours, others, plain = (itertools.cycle(kind.samples) for _ in range(3))

    def create_ours() -> object:
        return codec.write(next(ours).ours, clock.now())

    def create_theirs() -> object:
        arguments = next(others).theirs
        if signing is None:
            return theirs.create_message(kind.element, **arguments)
        return theirs.create_message(kind.element, cert=signing.certificate_pem, key=signing.key_pem, **arguments)

    def create_floor() -> object:
        content = next(plain).plain()
        if signing is None:
            return unsigned(content)
        digest = sha256(content).digest()
        if isinstance(signing.key, EllipticCurvePrivateKey):
            return unsigned(content), signing.key.sign(digest, ECDSA(SHA256()))
        return unsigned(content), signing.key.sign(digest, PKCS1v15(), SHA256())

    return {"ours": create_ours, "openleadr": create_theirs, "floor": create_floor}


def parsing(kind: Kind, signing: Signing | None, contents: Sequence[tuple[bytes, bytes]]) -> dict[str, Step]:
    """``contents``: what ours and the floor read, what openleadr reads."""
    clock, codec = SystemClock(), codec_of(signing)
    ours, others, plain = (itertools.cycle(contents) for _ in range(3))

    def parse_ours() -> object:
        return codec.read(next(ours)[0], clock.now())

    def parse_theirs() -> object:
        content = next(others)[1]
        tree = theirs.validate_xml_schema(content)
        if signing is not None:
            theirs.validate_xml_signature(tree)
        return theirs.parse_message(content)

    parser, schema = etree.XMLParser(resolve_entities=False), theirs.XML_SCHEMA
    verify = None if signing is None else _bare_verification(signing)

    def parse_floor() -> object:
        root = etree.fromstring(next(plain)[0], parser)
        assert schema.validate(root)
        if verify is not None:
            sha256(etree.tostring(root[1], method="c14n")).digest()
            verify()
        return kind.extract(root[-1])

    return {"ours": parse_ours, "openleadr": parse_theirs, "floor": parse_floor}


def _bare_verification(signing: Signing) -> Step:
    public, digest = signing.key.public_key(), sha256(b"").digest()
    if isinstance(signing.key, EllipticCurvePrivateKey):
        assert isinstance(public, EllipticCurvePublicKey)
        return partial(public.verify, signing.key.sign(digest, ECDSA(SHA256())), digest, ECDSA(SHA256()))
    assert isinstance(public, RSAPublicKey)
    return partial(public.verify, signing.key.sign(digest, PKCS1v15(), SHA256()), digest, PKCS1v15(), SHA256())


# --- measuring ----------------------------------------------------------------------------------------------------


def best_us(steps: dict[str, Step], rounds: int, seconds: float) -> dict[str, float]:
    """The best mean of a call over ``rounds`` turns of about ``seconds`` each. Unit: microseconds."""
    counts = {}
    for name, step in steps.items():
        step()
        began = time.perf_counter()
        step()
        counts[name] = max(1, min(100_000, int(seconds / (time.perf_counter() - began))))
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            gc.collect()
            began = time.perf_counter()
            for _ in range(counts[name]):
                step()
            best[name] = min(best[name], (time.perf_counter() - began) / counts[name] * 1e6)
    return best


def row(operation: str, kind: Kind, signing: Signing | None, best: dict[str, float]) -> dict[str, Any]:
    return {
        "operation": operation,
        "message": kind.name,
        "signature": "none" if signing is None else signing.name,
        "ours_us": round(best["ours"], 1),
        "openleadr_us": round(best["openleadr"], 1),
        "floor_us": round(best["floor"], 1),
        "ratio": round(best["openleadr"] / best["ours"], 2),
        "over_floor": round(best["ours"] / best["floor"], 2),
    }


def kinds() -> Iterator[Kind]:
    numbers = range(VARIANTS)
    yield Kind(name="poll", element="oadrPoll", samples=[poll_sample(n) for n in numbers], extract=extract_poll)
    yield Kind(
        name=f"event, {INTERVALS} intervals",
        element="oadrDistributeEvent",
        samples=[event_sample(n) for n in numbers],
        extract=extract_event,
    )
    for together, shape in ((True, f"{READINGS} x {len(RIDS)}"), (False, f"{READINGS * len(RIDS)} x 1")):
        yield Kind(
            name=f"report, {shape} points",
            element="oadrUpdateReport",
            samples=[report_sample(n, together=together) for n in numbers],
            extract=extract_report,
        )


def contents_of(kind: Kind, signing: Signing | None) -> list[tuple[bytes, bytes]]:
    """Messages to read; openleadr reads its own form of a report of many payloads an interval, which it cannot read."""
    codec, now = codec_of(signing), SystemClock().now()
    pairs = []
    for sample in kind.samples:
        content = codec.write(sample.ours, now)
        own = content
        if kind.name.startswith(f"report, {READINGS} x"):
            signed = {} if signing is None else {"cert": signing.certificate_pem, "key": signing.key_pem}
            own = theirs.create_message(kind.element, **signed, **sample.theirs).encode()
        pairs.append((content, own))
    return pairs


def parse_rows(kind: Kind, signing: Signing | None, rounds: int, seconds: float) -> dict[str, Any]:
    if signing is None:
        return row("parse", kind, signing, best_us(parsing(kind, None, contents_of(kind, None)), rounds, seconds))
    # A signed message can be read once, so each round has its own, and the best of single calls counts. openleadr's
    # memory of nonces is emptied, since its scan would be timed with more and more of them.
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, step in parsing(kind, signing, contents_of(kind, signing)).items():
            theirs.NONCE_CACHE.clear()
            for _ in range(len(kind.samples)):
                began = time.perf_counter()
                step()
                best[name] = min(best.get(name, float("inf")), (time.perf_counter() - began) * 1e6)
    return row("parse", kind, signing, best)


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    logging.getLogger("openleadr").setLevel(logging.CRITICAL)
    # It takes openleadr longer to sign a round's messages than it takes them to be too old for it.
    theirs.REPLAY_PROTECT_MAX_TIME_DELTA = timedelta(minutes=5)
    rows = []
    signings: list[Signing | None] = [None, *identities(folder)]
    for kind in kinds():
        for signing in signings:
            rows.append(row("create", kind, signing, best_us(creating(kind, signing), rounds, seconds)))
            rows.append(parse_rows(kind, signing, rounds, seconds))
    return {
        "openleadr": version("openleadr"),
        "lxml": version("lxml"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.codec", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one contender in one round")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        facts = measure(Path(folder), chosen.rounds, chosen.seconds)
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
