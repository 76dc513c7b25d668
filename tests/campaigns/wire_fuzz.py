"""Random harm to OpenADR messages, signed and not: ``python -m tests.campaigns.wire_fuzz --rounds N --seed S``.

What must hold, whatever the bytes:

- nothing but WireError leaves ``decode``, ``decode_any`` and ``Verifier.verify``;
- a signed message is accepted with the content, signer and time it was signed with, or not at all;
- a message that is read can be written again and is read as the same; only unreadable events cannot be written;
- no message takes more than CPU_LIMIT_S of CPU time.

``--guided`` lets atheris choose the harm by the code that it reaches (``tests.campaigns.wire_guided``); what it runs is
the same check.
"""

from __future__ import annotations

import argparse
import base64
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from types import FrameType

from certs.authority import CERTIFICATE_FILE, Authority
from certs.files import KeyType, read_certificates, read_leaf_key
from certs.issuance import Role, issue
from certs.trust import ChainTrust
from grid.clock import SystemClock
from tests.campaigns.campaign import CampaignResult, campaign_parser, run_campaign
from tests.campaigns.mutation import mutate
from tests.ven.wire.strategies import green_button
from tests.ven.wire.test_openleadr import DATA, TEMPLATES
from ven.errors import WireError
from ven.wire.common import Area, Target
from ven.wire.event import DistributeEvent, UnreadableEvent
from ven.wire.opt import CreateOpt
from ven.wire.payload import Message, decode, decode_any, encode
from ven.wire.replay import ReplayGuard
from ven.wire.report import LoadControlValue, Report, ReportInterval, ReportPayload, ResourceStatus, UpdateReport
from ven.wire.signature import Signer, Verifier, unsigned

CPU_LIMIT_S = 20.0
FAILURES_MOST = 20
NOW_FILE = "now"
CORPUS = "corpus"


def messages() -> list[Message]:
    """One of every kind, and those parts that openleadr's templates lack."""
    made = [message for _, message in TEMPLATES.values()]
    status = ResourceStatus(online=True, manual_override=False, capacity=LoadControlValue(current=1.5, max=9.0))
    intervals = (
        ReportInterval(payloads=(ReportPayload("a", status),)),
        ReportInterval(green_button=green_button(5, "a & b")),
    )
    report = Report(specifier_id="s", request_id="r", created_at=DATA.created_at, intervals=intervals)
    target = Target(
        group_names=("g & h",), service_areas=(Area(id="a", polygon_id="p", positions=(1.0, 2.0, 3.0, 4.0)),)
    )
    opt = TEMPLATES["oadrCreateOpt"][1]
    assert isinstance(opt, CreateOpt)
    return [*made, UpdateReport(request_id="q", reports=(report,)), _aimed(opt, target)]


def _aimed(opt: CreateOpt, target: Target) -> CreateOpt:
    return CreateOpt(
        request_id=opt.request_id,
        opt_id=opt.opt_id,
        opt=opt.opt,
        reason=opt.reason,
        ven_id=opt.ven_id,
        created_at=opt.created_at,
        target=target,
    )


class Overtime(BaseException):
    """A message took too much CPU time."""


@dataclass(kw_only=True)
class WireCheck:
    """What must hold of any bytes; a failure is an AssertionError or whatever else gets out."""

    trust: ChainTrust
    now: datetime
    signed: frozenset[bytes]
    """Every oadrSignedObject that was signed."""
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, content: bytes) -> None:
        with limited():
            self._verify(content)
            self._decode(content)

    def _verify(self, content: bytes) -> None:
        try:
            covered = Verifier(self.trust, ReplayGuard()).verify(content, self.now)
        except WireError:
            self.counts["refused by the verifier"] += 1
            return
        self.counts["accepted by the verifier"] += 1
        assert covered.content in self.signed, "accepted with content that nobody signed"
        assert covered.signed_at == self.now, "accepted with a time that nobody signed"

    def _decode(self, content: bytes) -> None:
        for checked in (True, False):
            try:
                decode_any(content, checked=checked)
            except WireError:
                continue
        try:
            message = decode(content)
        except WireError:
            self.counts["not decoded"] += 1
            return
        self.counts["decoded"] += 1
        if isinstance(message, DistributeEvent) and any(isinstance(event, UnreadableEvent) for event in message.events):
            self.counts["with unreadable events"] += 1
            return
        written = encode(message)
        assert encode(decode(written)) == written, f"read again as something else than {message!r}"


@contextmanager
def limited() -> Iterator[None]:
    """Raises Overtime. Not in a thread: signals reach the main one."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Overtime(f"more than {CPU_LIMIT_S:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def prepare(folder: Path) -> Sequence[bytes]:
    """Make a PKI and the messages to harm, in files so that another process can go on with them."""
    clock = SystemClock()
    authority = Authority.create(folder, name="Utility", clock=clock)
    made: list[bytes] = []
    now = clock.now()
    for key_type in KeyType:
        issued = issue(authority, role=Role.VEN, name=key_type, folder=folder, clock=clock, key_type=key_type)
        signer = Signer(read_leaf_key(issued.key), read_certificates(issued.certificate))
        made += (signer.sign(encode(message), now) for message in messages())
    made += (unsigned(encode(message)) for message in messages())
    (folder / NOW_FILE).write_text(now.isoformat())
    (folder / CORPUS).mkdir()
    for number, content in enumerate(made):
        (folder / CORPUS / f"{number:03d}.xml").write_bytes(content)
    return made


def check_of(folder: Path) -> WireCheck:
    """The check of what ``prepare`` made."""
    return WireCheck(
        trust=ChainTrust(read_certificates(folder / CERTIFICATE_FILE)),
        now=datetime.fromisoformat((folder / NOW_FILE).read_text()),
        signed=frozenset(map(encode, messages())),
    )


def fuzz(rounds: int, seed: int) -> CampaignResult:
    """``rounds`` messages, each chosen and harmed by a dice of its own that ``seed`` and the round's number make."""
    failures = []
    with tempfile.TemporaryDirectory() as name:
        contents = prepare(Path(name))
        check = check_of(Path(name))
        for content in contents:
            check(content)
        assert check.counts["decoded"] == len(contents)
        assert check.counts["accepted by the verifier"] == len(contents) // 3 * 2
        check.counts.clear()
        for number in range(rounds):
            dice = Random(f"{seed}/{number}")
            content = mutate(dice.choice(contents), dice)
            try:
                check(content)
            except (Exception, Overtime):
                failures.append(failure(number, content))
                if len(failures) == FAILURES_MOST:
                    break
    return CampaignResult(rounds=rounds, seed=seed, failures=failures, counts=dict(check.counts))


def failure(number: int, content: bytes) -> str:
    return f"round {number}: {traceback.format_exc(limit=-3)}message: {base64.b64encode(content).decode()}"


def guided(rounds: int, seed: int) -> CampaignResult:
    """The same check, on what atheris chooses, in a process that it may end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        done = subprocess.run(
            [sys.executable, "-m", "tests.campaigns.wire_guided", name, str(rounds), str(seed)],
            capture_output=True,
            text=True,
            check=False,
        )
        failures = [
            f"{path.name}: {done.stderr[-3000:]} message: {base64.b64encode(path.read_bytes()).decode()}"
            for pattern in ("crash-*", "timeout-*", "oom-*", "leak-*")
            for path in sorted(folder.glob(pattern))
        ]
        if done.returncode and not failures:
            failures = [f"exit code {done.returncode}: {done.stderr[-3000:]}"]
        if not (ran := re.findall(r"Done (\d+) runs", done.stderr)) and not failures:
            failures = [f"nothing was run: {done.stderr[-3000:]}"]
        covered = re.findall(r"cov: (\d+)", done.stderr)
    counts = {"runs": int(ran[-1]) if ran else 0, "covered branches": int(covered[-1]) if covered else 0}
    return CampaignResult(rounds=rounds, seed=seed, failures=failures, counts=counts)


def campaign(chosen: argparse.Namespace) -> CampaignResult:
    run = guided if chosen.guided else fuzz
    return run(chosen.rounds, chosen.seed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = campaign_parser("wire_fuzz", __doc__, rounds=2000)
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris (Linux on x86-64)")
    return run_campaign(parser, campaign, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
