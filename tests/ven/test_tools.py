"""``negawatt ven decode|verify|enrol|status|messages`` as an integrator types them, with input that is wrong too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certs.files import read_certificates, read_leaf_key
from certs.fingerprint import openadr_fingerprint
from certs.tls import Identity
from tests.ven.conftest import CLOCK, Pki, VtnFactory, VtnProcess
from tests.ven.scripted import distributing, wire_event
from tests.ven.test_process import ven_config
from ven.wire.party import Poll
from ven.wire.payload import Message, encode
from ven.wire.signature import Signer, unsigned

TIMEOUT_S = 60.0
STARTED = CLOCK.now()


def negawatt(*words: str | Path, content: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, standard output, and the lines on standard error that are no log."""
    ended = subprocess.run(
        [sys.executable, "-m", "grid.process.cli", "ven", *words], input=content, capture_output=True, timeout=TIMEOUT_S
    )
    said = [line for line in ended.stderr.decode().splitlines() if not line.startswith("{")]
    return ended.returncode, ended.stdout.decode(), "\n".join(said)


def start(*words: str | Path) -> subprocess.Popen[bytes]:
    """One that runs on."""
    return subprocess.Popen(
        [sys.executable, "-m", "grid.process.cli", "ven", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def refused(*words: str | Path, content: bytes | None = None) -> tuple[int, str]:
    """Exit code and the one line of something that fails."""
    code, out, said = negawatt(*words, content=content)
    assert out == ""
    assert said.startswith("negawatt: ")
    assert "\n" not in said
    return code, said


def signed(identity: Identity, message: Message) -> bytes:
    signer = Signer(read_leaf_key(identity.key), read_certificates(identity.certificate))
    return signer.sign(encode(message), STARTED - timedelta(days=3))


def an_event() -> Message:
    message = distributing(wire_event("event-1", STARTED, vtn_comment="Größe < 3 & mehr"))(None)
    assert message is not None
    return message


# --- decode


@pytest.mark.parametrize("from_file", [False, True])
def test_decode_prints_json(tmp_path: Path, from_file: bool) -> None:
    content = unsigned(encode(an_event()))
    file = tmp_path / "event.xml"
    file.write_bytes(content)
    code, out, said = negawatt("decode", file if from_file else "-", content=None if from_file else content)
    assert (code, said) == (0, "")
    (event,) = json.loads(out)["oadrDistributeEvent"]["events"]
    assert (event["event_id"], event["start"], event["vtn_comment"]) == (
        "event-1",
        STARTED.isoformat(),
        "Größe < 3 & mehr",
    )
    assert event["signals"][0]["intervals"] == [{"duration_s": 110.0, "value": -30.0, "uid": "0"}]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not XML"),
        (b"<oadr:oadrPoll", "not XML"),
        (b"\xff\xfe\x00", "null byte"),
        (b"<html><body/></html>", "html is nothing of OpenADR 2.0b"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (encode(Poll(ven_id="v")).replace(b"ei:venID", b"ei:vanID"), "is not OpenADR 2.0b"),
        (encode(Poll(ven_id="v")).replace(b"oadrPoll", b"oadrPull"), "oadrPull is nothing of OpenADR 2.0b"),
    ],
)
def test_decode_says_what_is_wrong(content: bytes, why: str) -> None:
    code, said = refused("decode", "-", content=content)
    assert (code, why in said) == (1, True), said


def test_decode_reads_on_without_the_schema(tmp_path: Path) -> None:
    once = b"<ei:venID>v</ei:venID>"
    content = encode(Poll(ven_id="v")).replace(once, once + b"<ei:venID>w</ei:venID>")
    assert refused("decode", "-", content=content)[0] == 1
    code, out, _ = negawatt("decode", "--no-schema", "-", content=content)
    assert code == 0
    assert json.loads(out)["oadrPoll"]["ven_id"] in ("v", "w")
    code, said = refused("decode", tmp_path / "nowhere.xml")
    assert (code, "cannot read" in said) == (2, True)


def test_decode_prints_json_whatever_the_numbers(tmp_path: Path) -> None:
    content = encode(an_event()).replace(b"<ei:value>-30", b"<ei:value>INF").replace(b"INF.0", b"INF")
    code, out, said = negawatt("decode", "-", content=content)
    assert (code, said) == (0, "")
    (event,) = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))["oadrDistributeEvent"][
        "events"
    ]
    assert event["signals"][0]["intervals"][0]["value"] == "inf"


# --- verify


def test_verify_tells_who_signed_an_old_message(pki: Pki) -> None:
    content = signed(pki.vtn(), an_event())
    fingerprint = openadr_fingerprint(pki.vtn().certificate.read_bytes())
    for whose in (("--fingerprint", fingerprint), ("--fingerprint", fingerprint.lower()), ("--roots", pki.vtn().roots)):
        code, out, said = negawatt("verify", "-", *whose, content=content)
        assert (code, said) == (0, "")
        told = json.loads(out)
        assert (told["message"], told["fingerprint"]) == ("oadrDistributeEvent", fingerprint)
        assert told["signed_by"] == "CN=utility"
        assert told["signed_at"] == (STARTED - timedelta(days=3)).isoformat()


def test_verify_refuses_what_does_not_hold(pki: Pki) -> None:
    content = signed(pki.vtn(), an_event())
    fingerprint = openadr_fingerprint(pki.vtn().certificate.read_bytes())
    other = openadr_fingerprint(pki.ven("ven-a").certificate.read_bytes())
    for changed, whose, why in (
        (content, ("--fingerprint", other), f"signed by the certificate {fingerprint}, not {other}"),
        (content, ("--fingerprint", "AA:BB"), "not AA:BB"),
        (content, ("--roots", pki.site("site-1").roots), "does not chain"),
        (content, ("--roots", Path("nowhere.pem")), "cannot read certificates"),
        (content.replace(b"-30", b"-90"), ("--fingerprint", fingerprint), ""),
        (unsigned(encode(an_event())), ("--fingerprint", fingerprint), "sign"),
        (content[: len(content) // 2], ("--fingerprint", fingerprint), "not XML"),
        (b"", ("--fingerprint", fingerprint), "not XML"),
    ):
        code, said = refused("verify", "-", *whose, content=changed)
        assert (code in (1, 4), why in said) == (True, True), said


def test_verify_wants_to_know_whose(tmp_path: Path) -> None:
    code, _, said = negawatt("verify", tmp_path / "x.xml")
    assert (code, "--fingerprint" in said) == (2, True)


# --- enrol, status, messages


def config_of(folder: Path, identity: Identity, url: str, **more: object) -> Path:
    """With an archive."""
    path = ven_config(folder, identity, url, **more)
    path.write_text('archive = "archive.sqlite"\n' + path.read_text())
    return path


async def test_enrol_registers_and_status_tells_it(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    config = config_of(tmp_path, pki.ven("ven-a"), vtn.url)
    code, out, said = negawatt("enrol", "--config", config)
    assert (code, said) == (0, "")
    first, _, rest = out.partition("\n")
    assert first == f"ven-a: fingerprint {openadr_fingerprint(pki.ven('ven-a').certificate.read_bytes())}"
    given = json.loads(rest)
    (registration,) = await vtn.get("/registrations")
    assert given["registration_id"] == registration["registration_id"]
    code, out, _ = negawatt("status", "--config", config)
    told = json.loads(out)
    assert (code, told["registration"]) == (0, given)
    assert (told["events"], told["opts"], told["report_requests"], told["answers_owed"]) == ([], [], [], 0)

    vtn.stop()
    code, said = refused_after_fingerprint("enrol", "--config", config, "--enrolment", "ven-a")
    assert (code, "check that the VTN runs" in said) == (1, True), said


def refused_after_fingerprint(*words: str | Path) -> tuple[int, str]:
    """Enrolling prints the fingerprint before it asks the VTN."""
    code, out, said = negawatt(*words)
    assert out.count("\n") == 1
    assert "\n" not in said
    return code, said


def test_enrol_refuses_what_is_not_configured(pki: Pki, tmp_path: Path) -> None:
    config = config_of(tmp_path, pki.ven("ven-a"), "https://127.0.0.1:9/OpenADR2/Simple/2.0b")
    code, said = refused("enrol", "--config", config, "--enrolment", "nobody")
    assert (code, f"{config} has no enrolment nobody" in said) == (2, True)
    code, said = refused("enrol", "--config", tmp_path / "nowhere.toml")
    assert (code, "nowhere.toml" in said) == (2, True)


def test_enrol_refuses_a_certificate_that_cannot_stand(pki: Pki, tmp_path: Path) -> None:
    site = pki.site("site-1")
    mixed = Identity(certificate=site.certificate, key=site.key, roots=pki.vtn().roots)
    code, said = refused("enrol", "--config", config_of(tmp_path, mixed, "https://127.0.0.1:9/"))
    assert (code, "does not chain to the roots" in said) == (4, True)


async def test_enrol_tells_what_to_do_when_the_vtn_refuses(make_vtn: VtnFactory, pki: Pki, tmp_path: Path) -> None:
    vtn = make_vtn(ven_fingerprints=["00:11:22:33:44:55:66:77:88:99"])
    await vtn.start()
    code, said = refused_after_fingerprint("enrol", "--config", config_of(tmp_path, pki.ven("ven-a"), vtn.url))
    assert (code, "have the utility accept the certificate with fingerprint" in said) == (5, True)


async def test_enrol_undoes_a_cancel(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    config = config_of(tmp_path, pki.ven("ven-a"), vtn.url)
    ready = tmp_path / "ready.json"
    process = start("run", "--config", config, "--ready-file", ready)
    try:
        async with CLOCK.timeout(TIMEOUT_S):
            while not await vtn.get("/registrations"):
                await CLOCK.sleep(0.05)
            await cancel(json.loads(ready.read_text())["admin_port"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert await vtn.get("/registrations") == []
    _, out, _ = negawatt("status", "--config", config)
    assert json.loads(out)["registration"]["cancelled_at"] is not None
    code, _, _ = negawatt("enrol", "--config", config)
    assert (code, len(await vtn.get("/registrations"))) == (0, 1)
    _, out, _ = negawatt("status", "--config", config)
    assert json.loads(out)["registration"]["cancelled_at"] is None

    code, out, _ = negawatt("messages", "--config", config)
    assert code == 0
    kept = messages(out)
    asked = next(one for one in kept if one["name"] == "oadrCancelPartyRegistration")
    request_id = asked["content"].partition("requestID>")[2].partition("<")[0]
    _, out, _ = negawatt("messages", "--config", config, "--request-id", request_id)
    assert [one["name"] for one in messages(out)] == ["oadrCancelPartyRegistration", "oadrCanceledPartyRegistration"]
    assert negawatt("messages", "--config", config, "--request-id", "other") == (0, "", "")
    file = tmp_path / "archived.xml"
    file.write_text(asked["content"])
    fingerprint = openadr_fingerprint(pki.ven("ven-a").certificate.read_bytes())
    assert negawatt("verify", file, "--fingerprint", fingerprint)[0] == 0


async def cancel(admin_port: int) -> None:
    url = f"http://127.0.0.1:{admin_port}/vens/ven-a/cancel"
    async with aiohttp.ClientSession() as http, http.post(url) as answer:
        assert answer.status == 200, await answer.text()


def messages(out: str) -> list[dict[str, Any]]:
    """Several JSON objects, one after the other."""
    found, decoder = [], json.JSONDecoder()
    while out := out.strip():
        message, end = decoder.raw_decode(out)
        found.append(message)
        out = out[end:]
    return found


def test_messages_without_an_archive_are_refused(pki: Pki, tmp_path: Path) -> None:
    config = ven_config(tmp_path, pki.ven("ven-a"), "https://127.0.0.1:9/")
    code, said = refused("messages", "--config", config)
    assert (code, "has no archive" in said) == (2, True)
    config = config_of(tmp_path, pki.ven("ven-a"), "https://127.0.0.1:9/")
    assert negawatt("messages", "--config", config) == (0, "", "")


def test_a_file_that_is_no_journal_is_refused(pki: Pki, tmp_path: Path) -> None:
    config = config_of(tmp_path, pki.ven("ven-a"), "https://127.0.0.1:9/")
    (tmp_path / "ven.sqlite").write_text("hello, I am no database" * 100)
    (tmp_path / "archive.sqlite").write_text("hello, I am no database" * 100)
    for verb in ("status", "messages"):
        code, said = refused(verb, "--config", config)
        assert (code, "cannot open" in said) == (1, True), said
