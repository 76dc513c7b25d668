"""The VTNs at the other end: ours, stock openleadr's, and one in the test's hand; alike as far as they can be."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from certs.tls import Identity, server_context
from grid.process.listen import listen
from tests.ven.conformance.marks import PeerSpec
from tests.ven.conformance.process import CLOCK, Admin, vtn_process
from tests.ven.peers.process import OpenleadrPeer, openleadr_vtn
from tests.ven.simulation.conftest import Domain
from tests.ven.simulation.raw_ven import codec_of
from ven.endpoint import CONTENT_TYPE, PREFIX, request_id_of
from ven.errors import WireError
from ven.wire.common import EiResponse
from ven.wire.event import DistributeEvent, RequestEvent, WireEvent
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    Poll,
    QueryRegistration,
    Response,
)
from ven.wire.payload import Message, decode, encode
from ven.wire.report import RegisteredReport, RegisterReport, UpdatedReport, UpdateReport

POLL_INTERVAL_S = 1


class Peer(ABC):
    """One VTN; VENs are known by name."""

    url: str

    @abstractmethod
    async def heard(self, name: str) -> list[Message]:
        """What the VEN sent since it was registered, oldest first."""

    @abstractmethod
    async def call(self, name: str, body: dict[str, Any]) -> None:
        """An event, as POST /events of our VTN takes it."""

    @abstractmethod
    async def cancel(self, name: str, event_id: str) -> None:
        """The event is cancelled."""


class OurVtn(Peer):
    """``negawatt vtn run``, asked over its admin HTTP."""

    def __init__(self, port: int, admin: Admin) -> None:
        self.url = f"https://127.0.0.1:{port}{PREFIX}"
        self.admin = admin
        self._ven_ids: dict[str, str] = {}

    async def ven_id(self, name: str) -> str | None:
        if name not in self._ven_ids:
            for one in await self.admin.get("/registrations"):
                self._ven_ids[one["ven_name"]] = one["ven_id"]
        return self._ven_ids.get(name)

    async def passed(self, name: str, *, xml: bool = False) -> list[dict[str, Any]]:
        """Messages both ways, oldest first."""
        ven_id = await self.ven_id(name)
        rows = await self.admin.get(f"/messages?ven={ven_id}&limit=1000000{'&xml=true' if xml else ''}")
        return list(reversed(rows))

    async def heard(self, name: str) -> list[Message]:
        rows = await self.passed(name, xml=True)
        return [decode(row["xml"].encode()) for row in rows if row["direction"] == "received"]

    async def call(self, name: str, body: dict[str, Any]) -> None:
        await self.admin.do("POST", "/events", {"ven_name": name, **body})

    async def cancel(self, name: str, event_id: str) -> None:
        await self.admin.do("DELETE", f"/events/{event_id}")


class OpenleadrVtn(Peer):
    """Stock openleadr in its own process."""

    def __init__(self, peer: OpenleadrPeer) -> None:
        self.url = peer.url
        self._peer = peer

    def told(self, what: str, name: str) -> list[dict[str, Any]]:
        return [one for one in self._peer.heard if one["what"] == what and one.get("ven_id") == f"ven-{name}"]

    def raw(self, name: str) -> list[bytes]:
        """What the VEN sent since it was registered, as it was on the wire."""
        messages = [one["xml"].encode() for one in self._peer.heard if one["what"] == "message"]
        return [one for one in messages if f">ven-{name}<".encode() in one]

    async def heard(self, name: str) -> list[Message]:
        return [decode(content) for content in self.raw(name)]

    async def call(self, name: str, body: dict[str, Any]) -> None:
        await self._peer.order(do="event", event=body, ven_name=name)

    async def cancel(self, name: str, event_id: str) -> None:
        await self._peer.order(do="cancel", event_id=event_id, ven_name=name)


@dataclass
class Told:
    """One VEN as the scripted VTN knows it."""

    queue: deque[bytes] = field(default_factory=deque)
    """What the next polls bring, as signed objects."""
    listed: tuple[WireEvent, ...] = ()
    """What oadrRequestEvent brings."""
    raw: list[bytes] = field(default_factory=list)
    """What it sent, as it was on the wire, readable or not."""
    heard: list[Message] = field(default_factory=list)
    answers: dict[type[Any], Callable[[Any], Message]] = field(default_factory=dict)
    """In place of the usual answer to a message of that type."""
    registrations: int = 0


class ScriptedVtn(Peer):
    """Says what the test puts in, and keeps what it heard as it was on the wire. Its venID of a VEN is the name."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._codec = codec_of(identity)
        self._vens: dict[str, Told] = {}
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post(f"{PREFIX}/{{service}}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=75.0)
        port = await listen(runner, "127.0.0.1", 0, server_context(self._identity))
        self.url = f"https://127.0.0.1:{port}{PREFIX}"
        try:
            yield
        finally:
            await runner.cleanup()

    def of(self, name: str) -> Told:
        """Known before it ever came, so that answers can be laid ready."""
        return self._vens.setdefault(name, Told())

    def raw(self, name: str) -> list[bytes]:
        """What the VEN sent, as it was on the wire, readable or not."""
        return self.of(name).raw

    def say(self, name: str, message: Message | bytes) -> None:
        """The next poll that finds nothing before it brings this."""
        self.of(name).queue.append(message if isinstance(message, bytes) else encode(message))

    def tell(self, name: str, *events: WireEvent, request_id: str = "distribute") -> None:
        """These are all the events of the VEN now, and a poll brings them."""
        self.of(name).listed = events
        self.say(name, DistributeEvent(request_id=request_id, vtn_id="utility", events=events))

    async def heard(self, name: str) -> list[Message]:
        return list(self.of(name).heard)

    async def call(self, name: str, body: dict[str, Any]) -> None:
        raise NotImplementedError("say what you mean with tell()")

    async def cancel(self, name: str, event_id: str) -> None:
        raise NotImplementedError("say what you mean with tell()")

    async def _serve(self, request: web.Request) -> web.Response:
        content = await request.read()
        # A VEN's certificate has its name.
        name = _common_name(request)
        told = self.of(name)
        told.raw.append(content)
        try:
            message = self._codec.read(content, CLOCK.now())
        except WireError as error:
            return web.Response(status=400, text=str(error))
        told.heard.append(message)
        usual = told.answers.get(type(message))
        answer = self._answer(message, name, told) if usual is None else usual(message)
        sealed = self._codec.seal(answer if isinstance(answer, bytes) else encode(answer), CLOCK.now())
        return web.Response(body=sealed, content_type=CONTENT_TYPE)

    def _answer(self, message: Message, name: str, told: Told) -> Message | bytes:
        response = EiResponse(request_id=request_id_of(message))
        match message:
            case Poll():
                return told.queue.popleft() if told.queue else Response(response=response, ven_id=name)
            case QueryRegistration():
                return CreatedPartyRegistration(response=response, vtn_id="utility")
            case CreatePartyRegistration():
                told.registrations += 1
                return CreatedPartyRegistration(
                    response=response,
                    vtn_id="utility",
                    ven_id=name,
                    registration_id=message.registration_id or f"registration-{name}-{told.registrations}",
                    poll_interval_s=POLL_INTERVAL_S,
                )
            case CancelPartyRegistration():
                return CanceledPartyRegistration(response=response, ven_id=name)
            case RequestEvent():
                return DistributeEvent(request_id="again", vtn_id="utility", events=told.listed, response=response)
            case RegisterReport():
                return RegisteredReport(response=response, ven_id=name)
            case UpdateReport():
                return UpdatedReport(response=response, ven_id=name)
            case CreateOpt():
                return CreatedOpt(response=response, opt_id=message.opt_id)
            case CancelOpt():
                return CanceledOpt(response=response, opt_id=message.opt_id)
        return Response(response=response, ven_id=name)


def _common_name(request: web.Request) -> str:
    assert request.transport is not None
    subject = dict(part[0] for part in request.transport.get_extra_info("peercert")["subject"])
    return str(subject["commonName"])


@asynccontextmanager
async def serving(spec: PeerSpec, domain: Domain, folder: Path) -> AsyncIterator[Peer]:
    """The VTN of a description, in mutual TLS at any rate."""
    identity = domain.vtn(spec.key_type)
    if spec.kind == "scripted":
        scripted = ScriptedVtn(domain.both_ways("pushing-utility"))
        async with scripted.serving():
            yield scripted
    elif spec.kind == "openleadr":
        log = folder / f"{spec.name}.log"
        async with openleadr_vtn(log, identity=identity, sign=spec.signed, report_interval_s=1.0) as peer:
            listening = asyncio.create_task(peer.listen())
            yield OpenleadrVtn(peer)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    else:
        # The certificate serves VENs that poll, and calls those that are pushed to.
        serves = domain.both_ways("pushing-utility") if spec.signed and spec.key_type.value == "ec" else identity
        config = {
            "vtn_id": "utility",
            "certificate": str(serves.certificate),
            "key_file": str(serves.key),
            "roots": str(serves.roots),
            "xml_signature": spec.signed,
            "poll_interval_s": POLL_INTERVAL_S,
            "request_reports": False,
            "completed_kept_s": 60.0,
            "messages_kept": 100_000,
        }
        async with vtn_process(folder / spec.name, **config) as ready:
            yield OurVtn(ready["port"], Admin(ready["admin_port"]))
