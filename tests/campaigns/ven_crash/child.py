"""One life of the VEN under test: a process that runs until it is killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from certs.tls import Identity
from grid.events import Decision, OptType
from grid.intervals import Interval
from grid.process.logging import configure
from tests.campaigns.ven_crash.evidence import Evidence
from tests.campaigns.ven_crash.fast import FastClock
from tests.campaigns.ven_crash.host import RESOURCES, Observer, Sink, Source
from tests.campaigns.ven_crash.points import AFTER, BEFORE, Order, connection, message_name
from ven.config import VenSettings
from ven.errors import VenError
from ven.http.connection import ReadBuffer
from ven.journal import VenJournal
from ven.service import VenGateway
from ven.transport import HttpsTransport, Transport, pool
from ven.wire.payload import Service

ENROLMENT = "ven-a"
_ACCEPTED = b"<ei:responseCode>200</ei:responseCode>"


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a life needs to know."""

    number: int
    folder: Path
    url: str
    identity: Identity
    clock: FastClock
    settings: Mapping[str, Any]
    order: Order = field(default_factory=Order)
    removed: str | None = None
    """The journal write that is taken out."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What the operator wants; a life that carried it out says so with the key."""

    key: str
    verb: str
    """opt, cancel_opt, redecide, leave, enrol."""
    subject: str = ""
    """optID or eventID."""
    periods: tuple[Interval, ...] = ()
    opt: OptType = OptType.OPT_OUT


@dataclass(frozen=True, kw_only=True)
class Done:
    """The answer to a command."""

    key: str
    opt_id: str = ""
    problem: str = ""


def live(life: Life, operator: Connection) -> None:
    """The process."""
    log = os.open(life.folder / "ven.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    configure("ven", level="WARNING", life=str(life.number))
    asyncio.run(_Living(life, operator).run())


class DeadlyTransport:
    """``Transport`` that writes down what goes through it, and may end the process on either side of it."""

    def __init__(self, inner: Transport, evidence: Evidence, order: Order) -> None:
        self._inner = inner
        self._evidence = evidence
        self._order = order

    async def post(self, service: Service, content: bytes) -> bytes:
        name = message_name(content)
        self._evidence.message("sent", content)
        self._order.reached(f"{BEFORE} {name}")
        answer = await self._inner.post(service, content)
        self._order.reached(f"{AFTER} {name}")
        if _ACCEPTED in answer:
            self._evidence.message("acknowledged", content)
        return answer


class _Living:
    def __init__(self, life: Life, operator: Connection) -> None:
        self._life = life
        self._operator = operator
        self._commands: asyncio.Queue[Command] = asyncio.Queue()

    async def run(self) -> None:
        life = self._life
        evidence = Evidence(life.folder / "evidence.jsonl", life.number, life.clock)
        journal = VenJournal.open(life.folder / "ven.sqlite", connection(life.order, life.removed))
        way = HttpsTransport(life.url, "", pool(life.url, None, ReadBuffer(), life.clock), life.clock)

        async def connect(_: VenSettings) -> Transport:
            return DeadlyTransport(way, evidence, life.order)

        gateway = VenGateway(
            [settings(life)], journal, Sink(evidence), Source(), Observer(evidence), life.clock, connect=connect
        )
        asyncio.get_running_loop().add_reader(self._operator.fileno(), self._hear)
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.run())
            while not gateway.status():
                await life.clock.sleep(0)
            while True:
                command = await self._commands.get()
                self._operator.send(await _carry_out(gateway, command, life.clock.now()))

    def _hear(self) -> None:
        self._commands.put_nowait(self._operator.recv())


async def _carry_out(gateway: VenGateway, command: Command, decided_at: datetime) -> Done:
    opt_id = ""
    try:
        match command.verb:
            case "opt":
                opt_id = gateway.opt(ENROLMENT, command.opt, command.periods).opt_id
            case "cancel_opt":
                gateway.cancel_opt(ENROLMENT, command.subject)
            case "redecide":
                decision = Decision(opt=command.opt, reason="operator", decided_at=decided_at)
                gateway.redecide((ENROLMENT, command.subject), decision)
            case "leave":
                await gateway.cancel_registration(ENROLMENT)
            case "enrol":
                gateway.enrol(ENROLMENT)
            case _:
                raise ValueError(command.verb)
    except VenError as error:
        return Done(key=command.key, problem=str(error))
    return Done(key=command.key, opt_id=opt_id)


def settings(life: Life) -> VenSettings:
    """Reports down to a second, and no waiting for readings that are there at once."""
    values: dict[str, Any] = {
        "enrolment_id": ENROLMENT,
        "ven_name": ENROLMENT,
        "vtn_url": "https://127.0.0.1/OpenADR2/Simple/2.0b",
        "certificate": life.identity.certificate,
        "key_file": life.identity.key,
        "vtn_roots": life.identity.roots,
        "resources": [{"rid": rid, "resource_id": resource_id} for rid, resource_id in RESOURCES.items()],
        "reports": ("TELEMETRY_USAGE",),
        "report_granularity_min_s": 1,
        "report_lateness_s": 0,
        "decision_timeout_s": 20.0,
    }
    return VenSettings.model_validate(values | dict(life.settings))
