"""Hostile XML is refused with WireError, within a bounded amount of CPU and memory.

Each message is read in a process of its own, whose CPU time and address space the kernel limits: a message that would
take longer, or more, ends the process. The limits are many times what a message needs.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.files import KeyType
from tests.ven.wire.conftest import Pki
from ven.errors import WireError
from ven.wire.party import Poll
from ven.wire.payload import decode, decode_any, encode
from ven.wire.report import Report, ReportInterval, ReportPayload, UpdateReport
from ven.wire.schema import MAX_ATTRIBUTES, MAX_BYTES, MAX_NAMESPACES, MAX_TAGS, parse
from ven.wire.signature import unsigned
from ven.wire.xml import NAMESPACES

POLL = encode(Poll(ven_id="ven"))
CPU_S, MEMORY = 20, 2_000_000_000

READ = f"""
import resource, sys
from datetime import datetime, UTC
from pathlib import Path
from certs.files import read_certificates
from certs.trust import ChainTrust
from ven.errors import WireError
from ven.wire.payload import decode, encode
from ven.wire.party import Poll
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Verifier
decode(encode(Poll(ven_id="warm")))
verifier = Verifier(ChainTrust(read_certificates(Path(sys.argv[1]))), ReplayGuard())
now = datetime.fromisoformat(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_S}, {CPU_S}))
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
content = sys.stdin.buffer.read()
for read in (decode, lambda content: verifier.verify(content, now)):
    try:
        read(content)
    except WireError as error:
        print("refused:", str(error)[:300])
"""


def refused(content: bytes, utility: Pki) -> list[str]:
    """What reading and verifying said, in a process with limits. Both must have refused."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(utility.root_file), utility.now.isoformat()],
        input=content,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr.decode()[-2000:])
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith("refused:")]
    assert len(lines) == 2, lines
    return lines


def laughs(levels: int) -> bytes:
    entities = "".join(
        f'<!ENTITY l{level} "{f"&l{level - 1};" * 10 if level else "ha" * 10}">' for level in range(levels)
    )
    return f"<!DOCTYPE a [{entities}]>".encode()


def quadratic() -> bytes:
    return f'<!DOCTYPE a [<!ENTITY l "{"ha" * 20_000}">]>'.encode()


def with_doctype(doctype: bytes, entity: bytes) -> bytes:
    return doctype + unsigned(POLL).partition(b"\n")[2].replace(b">ven<", b">" + entity + b"<")


def with_attribute(doctype: bytes, entity: bytes) -> bytes:
    changed = unsigned(POLL).partition(b"\n")[2].replace(b'"oadrSignedObject"', b'"' + entity + b'"')
    return doctype + changed


@pytest.mark.parametrize(
    "content",
    [
        with_doctype(b"<!DOCTYPE a>", b"ven"),
        with_doctype(b'<!DOCTYPE a [<!ENTITY e "ven">]>', b"&e;"),
        with_doctype(b"<!DOCTYPE a [<!ENTITY % p \"<!ENTITY e 'ven'>\"> %p;]>", b"&e;"),
        with_doctype(laughs(10), b"&l9;"),
        with_attribute(laughs(10), b"&l9;"),
        with_doctype(quadratic(), b"&l;" * 50_000),
        with_attribute(quadratic(), b"&l;" * 50_000),
        with_doctype(b'<!DOCTYPE a [<!ATTLIST oadr:oadrPoll ei:schemaVersion CDATA "2.0a">]>', b"ven"),
        with_doctype(b'<!DOCTYPE a PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:9/a.dtd">', b"ven"),
    ],
    ids=["doctype", "entity", "parameter", "laughs", "laughs-in-id", "quadratic", "quadratic-in-id", "attlist", "dtd"],
)
def test_a_document_type_is_refused(content: bytes, utility: Pki) -> None:
    for line in refused(content, utility):
        assert "document type" in line or "not XML" in line


@pytest.mark.parametrize("scheme", ["file://{}", "{}"])
@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a [<!ENTITY e SYSTEM "{}">]>',
        '<!DOCTYPE a SYSTEM "{}">',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "{}"> %p;]>',
    ],
)
def test_a_local_file_is_not_read(doctype: str, scheme: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('<!ENTITY e "TOP-SECRET">')
    content = with_doctype(doctype.format(scheme.format(secret)).encode(), b"&e;")
    for read in (decode, decode_any, parse):
        with pytest.raises(WireError) as raised:
            read(content)
        assert "TOP-SECRET" not in str(raised.value)


NO_FILES = """
import resource, sys
from ven.errors import WireError
from ven.wire.payload import decode, encode
from ven.wire.party import Poll
decode(encode(Poll(ven_id="warm")))
content = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    decode(content)
except WireError as error:
    print(error)
"""


def test_no_file_is_opened(tmp_path: Path) -> None:
    """In a process that cannot open one."""
    secret = tmp_path / "secret"
    secret.write_text("TOP-SECRET")
    content = with_doctype(f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret}">]>'.encode(), b"&e;")
    done = subprocess.run([sys.executable, "-c", NO_FILES], input=content, capture_output=True, check=True)
    assert b"document type" in done.stdout
    assert b"TOP-SECRET" not in done.stdout


def deep(levels: int) -> bytes:
    return b"<a>" * levels + b"</a>" * levels


def crowded(attributes: int, mark: bytes = b"<oadr:oadrPoll") -> bytes:
    return unsigned(POLL).replace(mark, mark + b"".join(b" a%d=''" % number for number in range(attributes)))


def namespaced(levels: int, each: int) -> bytes:
    opened = b"".join(
        b"<z" + b"".join(b' xmlns:n%dx%d="urn:%d"' % (level, number, number) for number in range(each)) + b">"
        for level in range(levels)
    )
    return unsigned(POLL).replace(b"</ei:venID>", b"</ei:venID>" + opened + b"</z>" * levels)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b" " * 10_000_000, "10,000,000 bytes"),
        (lambda: unsigned(POLL).replace(b">ven<", b">" + b"x" * 10_000_000 + b"<"), "bytes"),
        (lambda: deep(300), "depth"),
        (lambda: deep(800_000), "bytes"),
        (lambda: deep(500_000), "tags"),
        (lambda: deep(140_000), "depth"),
        (lambda: b"<a>" * 200_000, "depth|not XML"),
        (lambda: b"<a>" + b"<b/>" * (MAX_TAGS + 1) + b"</a>", "tags"),
        (lambda: crowded(400_000), "attributes"),
        (lambda: crowded(MAX_ATTRIBUTES + 1), "attributes"),
        (lambda: crowded(100_000).replace(b"''", b"'>'"), "attributes"),
        (lambda: crowded(100_000).replace(b"''", b'"\'"'), "attributes"),
        (lambda: namespaced(240, 40), "namespaces in scope"),
        (lambda: namespaced(240, 64), "attributes"),
        (lambda: unsigned(POLL).replace(b">ven<", b">ven\0<"), "null byte"),
        (lambda: unsigned(POLL) + b"\0", "null byte"),
        (lambda: unsigned(POLL).decode().replace("UTF-8", "UTF-16").encode("utf-16"), "null byte"),
        (lambda: unsigned(POLL).decode().replace("UTF-8", "UTF-32").encode("utf-32"), "null byte"),
        (lambda: unsigned(POLL).decode().replace("UTF-8", "UTF-7").encode("utf-7"), "UTF-7"),
        (lambda: unsigned(POLL).decode().replace("UTF-8", "ISO-8859-1").encode("latin-1"), "ISO-8859-1"),
        (lambda: unsigned(POLL).replace(b">ven<", b">\xff\xfe<"), "not XML"),
        (lambda: unsigned(POLL).replace(b">ven<", b">\xc0\x80<"), "not XML"),
        (lambda: unsigned(POLL).replace(b">ven<", b">&#0;<"), "not XML"),
        (lambda: unsigned(POLL).replace(b">ven<", b">&undefined;<"), "not XML"),
        (lambda: unsigned(POLL).replace(b"UTF-8", b"nonsense"), "not XML"),
        (lambda: unsigned(POLL)[:-3], "not XML"),
        (lambda: unsigned(POLL) * 2, "not XML"),
        (lambda: b"", "not XML"),
        (lambda: b"\xef\xbb\xbf", "not XML"),
        (lambda: b"<?xml version='1.0'?>", "not XML"),
    ],
)
def test_what_is_too_much_or_no_utf_8_is_refused(make: Callable[[], bytes], reason: str, utility: Pki) -> None:
    for line in refused(make(), utility):
        assert any(part in line for part in reason.split("|")), line


def test_the_heaviest_message_that_is_parsed_is_verified_in_bounded_work(utility: Pki) -> None:
    """As many tags, as deep and with as many namespaces as are let through, put into a signature that was good."""
    depth = 150
    declared = "".join(f' xmlns:n{number}="urn:{number}"' for number in range(MAX_NAMESPACES - 14))
    inner = "<z>" * depth + "<z/>" * 100_000 + "</z>" * depth
    signed = utility.parties[KeyType.EC].signer.sign(POLL, utility.now)
    heavy = signed.replace(b"</ds:SignatureProperties>", f"</ds:SignatureProperties><z{declared}>{inner}</z>".encode())
    assert parse(heavy) is not None
    assert "not the one that was signed" in refused_by_verifier(heavy, utility)


def refused_by_verifier(content: bytes, utility: Pki) -> str:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(utility.root_file), utility.now.isoformat()],
        input=content,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr.decode()[-2000:])
    return done.stdout.decode().splitlines()[-1]


def enclosed(content: bytes) -> bytes:
    before = f"<oadr:oadrDistributeEvent{NAMESPACES}><pyld:requestID>q</pyld:requestID><ei:vtnID>v</ei:vtnID>".encode()
    return before + content + b"</oadr:oadrDistributeEvent>"


@pytest.mark.parametrize(
    "content",
    [
        # Each in the same place of its own event, then all in the one event that there is.
        b"<oadr:oadrEvent><ei:eiEvent></ei:eiEvent></oadr:oadrEvent>" * 70_000,
        b"<oadr:oadrEvent><ei:eiEvent><ei:eiTarget>"
        + b"<ei:venID><a/></ei:venID>" * 95_000
        + b"</ei:eiTarget></ei:eiEvent></oadr:oadrEvent>",
    ],
    ids=["events", "targets"],
)
def test_many_faults_are_found_in_bounded_work(content: bytes, utility: Pki) -> None:
    assert len(enclosed(content)) < MAX_BYTES
    script = READ.replace("verifier.verify(content, now)", "decode(content)")
    done = subprocess.run(
        [sys.executable, "-c", script, str(utility.root_file), utility.now.isoformat()],
        input=enclosed(content),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr.decode()[-2000:])


def day(intervals: int, *, value: float = 1.5) -> UpdateReport:
    start = datetime(2026, 7, 1, tzinfo=UTC)
    points = tuple(
        ReportInterval(
            start=start + timedelta(seconds=10 * place), duration_s=10.0, payloads=(ReportPayload("a-kw", value),)
        )
        for place in range(intervals)
    )
    report = Report(specifier_id="s", request_id="r", created_at=start, intervals=points)
    return UpdateReport(request_id="q", reports=(report,))


def test_a_day_of_ten_second_readings_is_read_and_its_faults_found() -> None:
    content = encode(day(8640))
    assert decode(content) == day(8640)
    with pytest.raises(WireError, match=r"2.0b: .*never.*float"):
        decode(content.replace(b">1.5<", b">never<", 1))


@pytest.mark.parametrize(
    "content",
    [
        with_doctype(laughs(10), b"&l9;"),
        with_attribute(laughs(10), b"&l9;"),
        crowded(100_000),
        namespaced(240, 40),
        deep(140_000),
    ],
    ids=["laughs", "laughs-in-id", "attributes", "namespaces", "deep"],
)
def test_a_refused_message_leaves_nothing_behind(content: bytes) -> None:
    with pytest.raises(WireError):
        decode(content)
    tracemalloc.start()
    try:
        for _ in range(5):
            with pytest.raises(WireError):
                decode(content)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
    assert left < 2_000_000


def test_a_message_with_as_many_attributes_and_namespaces_as_are_let_through_is_read() -> None:
    # The signed object and the payload have eleven of them themselves.
    more = b"".join(b' xmlns:p%d="urn:%d"' % (number, number) for number in range(MAX_NAMESPACES - 12))
    content = unsigned(POLL).replace(b"<oadr:oadrPayload", b"<oadr:oadrPayload" + more)
    assert decode(content) == Poll(ven_id="ven")
    assert decode(content.replace(b"<oadr:oadrPayload", b"<oadr:oadrPayload ")) == Poll(ven_id="ven")
