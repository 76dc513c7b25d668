"""``negawatt ven``: VENs on their own, and the tools an integrator needs at a utility's VTN."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic import Field

from certs.files import read_certificates
from certs.fingerprint import openadr_fingerprint
from certs.tls import check_identity
from certs.trust import ChainTrust, FingerprintTrust
from grid.clock import SystemClock
from grid.errors import ConfigError
from grid.process.config import FilePath, Settings, load
from grid.process.health import AdminServer
from grid.process.logging import configure
from grid.process.running import run_until_stopped, write_ready_file
from ven.admin import VenAdmin, message_json
from ven.archive import RETENTION_DAYS, Archive
from ven.config import VenSettings
from ven.journal import VenJournal
from ven.jsonlines import JsonLinesSink, JsonLinesSource
from ven.member import enrol_once
from ven.metrics import MetricsObserver
from ven.records import Lane
from ven.service import VenGateway
from ven.wire.payload import decode_any
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Verifier

_ANY_AGE_S = 100 * 366 * 86400.0
"""An archived message is as good as its signature, whenever it was made."""


class VenProcessSettings(Settings):
    """The whole configuration file of ``negawatt ven run``."""

    journal: FilePath
    """SQLite file with everything that must not be forgotten."""
    events_file: FilePath
    """Where events and our answers are written, as JSON lines."""
    readings_file: FilePath
    """Where whoever measures writes readings, as JSON lines."""
    archive: FilePath | None = None
    """SQLite file with every message as it was on the wire."""
    archive_days: float = Field(default=RETENTION_DAYS, gt=0)
    admin_port: int = Field(default=0, ge=0, le=65535)
    vens: tuple[VenSettings, ...] = Field(min_length=1)


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="serve VENs: events to and readings from JSON lines")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument("--ready-file", type=Path, help="written once running: pid, admin_port")
    run.set_defaults(run=_run)

    enrol = verbs.add_parser("enrol", help="check the certificate, register with the VTN, print what it gave")
    enrol.add_argument("--config", type=Path, required=True, help="TOML file of `ven run`")
    enrol.add_argument("--enrolment", help="one of its enrolments (default: all)")
    enrol.set_defaults(run=_enrol)

    status = verbs.add_parser("status", help="what the journal knows: registrations, events, what is owed")
    status.add_argument("--config", type=Path, required=True, help="TOML file of `ven run`")
    status.set_defaults(run=_status)

    decode = verbs.add_parser("decode", help="an OpenADR 2.0b message as JSON")
    decode.add_argument("file", type=Path, help="XML file, or - for standard input")
    decode.add_argument("--no-schema", action="store_true", help="read on where the schema is broken")
    decode.set_defaults(run=_decode)

    verify = verbs.add_parser("verify", help="whether a message's signature holds, and whose it is")
    verify.add_argument("file", type=Path, help="XML file, or - for standard input")
    whose = verify.add_mutually_exclusive_group(required=True)
    whose.add_argument("--fingerprint", help="OpenADR fingerprint the signer must have")
    whose.add_argument("--roots", type=Path, help="PEM file of roots the signer must chain to")
    verify.set_defaults(run=_verify)

    messages = verbs.add_parser("messages", help="archived messages, by requestID or the newest")
    messages.add_argument("--config", type=Path, required=True, help="TOML file of `ven run`")
    messages.add_argument("--request-id", help="of the message or of what it answers")
    messages.set_defaults(run=_messages)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VenProcessSettings)
    configure("ven")
    return run_until_stopped(_serve(settings, arguments.ready_file))


async def _serve(settings: VenProcessSettings, ready_file: Path | None) -> None:
    clock = SystemClock()
    registry = CollectorRegistry()
    sink = JsonLinesSink(settings.events_file, {one.enrolment_id: one.default_opt for one in settings.vens}, clock)
    archive = None if settings.archive is None else Archive.open(settings.archive, clock, settings.archive_days)
    gateway = VenGateway(
        settings.vens,
        settings.journal,
        sink,
        JsonLinesSource(settings.readings_file, clock),
        MetricsObserver(registry, sink.announce),
        clock,
        recorder=archive,
    )

    def waiting() -> str | None:
        status = gateway.status()
        ailing = [f"{one.enrolment_id}: {one.why or 'no answer yet'}" for one in status if one.stale]
        return "; ".join(ailing) or (None if status else "starting")

    routes = VenAdmin(gateway, archive).routes()
    try:
        async with (
            AdminServer({"vtn": waiting}, registry, port=settings.admin_port, routes=routes) as admin,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(gateway.run())
            if archive is not None:
                group.create_task(archive.run())
            write_ready_file(ready_file, admin_port=admin.port)
    finally:
        if archive is not None:
            archive.close()


def _enrol(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VenProcessSettings)
    configure("ven")
    wanted = [one for one in settings.vens if arguments.enrolment in (None, one.enrolment_id)]
    if not wanted:
        raise ConfigError(f"{arguments.config} has no enrolment {arguments.enrolment}")
    journal = VenJournal.open(settings.journal)
    try:
        for one in wanted:
            check_identity(one.identity, SystemClock())
            print(f"{one.enrolment_id}: fingerprint {openadr_fingerprint(one.certificate.read_bytes())}", flush=True)
            registration = asyncio.run(enrol_once(one, journal, SystemClock()))
            _print_json(registration)
    finally:
        journal.close()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VenProcessSettings)
    journal = VenJournal.open(settings.journal)
    try:
        for one in settings.vens:
            key = one.enrolment_id
            _print_json(
                {
                    "enrolment_id": key,
                    "registration": journal.registrations.of(key),
                    "events": journal.events.all(key),
                    "opts": journal.opts.all(key),
                    "report_requests": journal.reports.active(key),
                    "answers_owed": journal.outbox.count(key, Lane.ANSWERS),
                    "reports_owed": journal.outbox.count(key, Lane.DATA),
                }
            )
    finally:
        journal.close()
    return 0


def _decode(arguments: argparse.Namespace) -> int:
    name, value = decode_any(_content(arguments.file), checked=not arguments.no_schema)
    _print_json({name: value})
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.fingerprint is not None:
        trust: ChainTrust | FingerprintTrust = FingerprintTrust(arguments.fingerprint)
    else:
        trust = ChainTrust(read_certificates(arguments.roots))
    verifier = Verifier(trust, ReplayGuard(_ANY_AGE_S))
    covered = verifier.verify(_content(arguments.file), SystemClock().now())
    name, _ = decode_any(covered.content)
    _print_json(
        {
            "message": name,
            "signed_by": covered.certificate.subject.rfc4514_string(),
            "fingerprint": covered.fingerprint,
            "signed_at": covered.signed_at,
        }
    )
    return 0


def _messages(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VenProcessSettings)
    if settings.archive is None:
        raise ConfigError(f"{arguments.config} has no archive: set one, it begins to fill with the next message")
    archive = Archive.open(settings.archive, SystemClock(), settings.archive_days)
    try:
        found = archive.latest(100) if arguments.request_id is None else archive.find(arguments.request_id)
        for message in found:
            _print_json(message_json(message))
    finally:
        archive.close()
    return 0


def _content(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error


def _print_json(value: object) -> None:
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: object) -> Any:
    """``value`` as JSON has it; a number that JSON does not know becomes a word."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
