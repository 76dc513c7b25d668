"""A VEN's end of the wire and nothing more: what it is told goes out over mutual TLS, and what comes back is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from certs.files import read_certificates, read_leaf_key
from certs.fingerprint import openadr_fingerprint
from certs.tls import Identity, client_context
from certs.trust import ChainTrust
from grid.clock import SystemClock
from grid.events import OptType
from ven.endpoint import CONTENT_TYPE, PREFIX
from ven.wire.codec import Codec
from ven.wire.event import CreatedEvent, DistributeEvent, EventResponse
from ven.wire.party import CreatedPartyRegistration, CreatePartyRegistration, Poll
from ven.wire.payload import Message, Service, service_of
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier

CLOCK = SystemClock()
M = TypeVar("M")


def codec_of(identity: Identity | None) -> Codec:
    """Signs and verifies as this identity; neither without one."""
    if identity is None:
        return Codec(None, None)
    return Codec(
        Signer(read_leaf_key(identity.key), read_certificates(identity.certificate)),
        Verifier(ChainTrust(read_certificates(identity.roots)), ReplayGuard()),
    )


@dataclass
class RawVen:
    """One VEN."""

    base: str
    """http(s)://host:port/prefix."""
    session: aiohttp.ClientSession
    codec: Codec
    fingerprint: str | None
    ven_id: str = ""
    registration_id: str = ""
    emitted: list[bytes] = field(default_factory=list)
    """Every body that the VTN answered."""

    async def post(self, service: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        async with self.session.post(
            f"{self.base}/{service}", data=body, headers=headers or {"Content-Type": CONTENT_TYPE}
        ) as response:
            return response.status, await response.read()

    async def send(self, message: Message, service: Service | None = None) -> Message | None:
        """The answer to a message that is taken with HTTP 200."""
        status, body = await self.post((service or service_of(message)).value, self.codec.write(message, CLOCK.now()))
        assert status == 200, (status, body)
        if not body:
            return None
        self.emitted.append(body)
        return self.codec.read(body, CLOCK.now())

    async def ask(self, message: Message, kind: type[M]) -> M:
        """The answer, which is of that kind."""
        answer = await self.send(message)
        assert isinstance(answer, kind), answer
        return answer

    async def poll(self) -> Message:
        answer = await self.send(Poll(ven_id=self.ven_id))
        assert answer is not None
        return answer

    async def register(self, name: str = "ven-a", **more: Any) -> CreatedPartyRegistration:
        answer = await self.ask(
            CreatePartyRegistration(request_id="register", ven_name=name, **more), CreatedPartyRegistration
        )
        self.ven_id, self.registration_id = answer.ven_id or "", answer.registration_id or ""
        return answer

    async def opt(self, offered: DistributeEvent, opt: OptType = OptType.OPT_IN) -> Message | None:
        """Answer every event of a message alike."""
        responses = tuple(
            EventResponse(
                request_id=offered.request_id,
                event_id=event.event_id,
                modification_number=event.modification_number,
                opt=opt,
            )
            for event in offered.events
        )
        return await self.send(CreatedEvent(ven_id=self.ven_id, responses=responses))


@asynccontextmanager
async def raw_ven(base: str, identity: Identity | None, *, signed: bool = True) -> AsyncIterator[RawVen]:
    """A VEN that may connect; without an identity over plain HTTP."""
    tls = None if identity is None else client_context(identity)
    connector = aiohttp.TCPConnector() if tls is None else aiohttp.TCPConnector(ssl=tls)
    fingerprint = None if identity is None else openadr_fingerprint(identity.certificate.read_bytes())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield RawVen(base, session, codec_of(identity if signed else None), fingerprint)


@dataclass
class Utility:
    """A VTN that serves, seen from outside."""

    port: int
    admin_port: int
    tls: bool = True

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{PREFIX}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def ven(self, identity: Identity | None, *, signed: bool = True) -> AbstractAsyncContextManager[RawVen]:
        return raw_ven(self.base, identity, signed=signed)

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.admin}{path}", json=body) as response,
        ):
            return response.status, await response.json()

    async def get(self, path: str) -> Any:
        status, answer = await self.ask("GET", path)
        assert status == 200, answer
        return answer

    async def do(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        status, answer = await self.ask(method, path, body)
        assert status in (200, 201, 202), answer
        return answer


class Signal:
    """Counts up, and wakes whoever waits for a count."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Condition()

    async def up(self) -> None:
        async with self._changed:
            self.count += 1
            self._changed.notify_all()

    async def reach(self, count: int, within_s: float = 10.0) -> None:
        async with CLOCK.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: self.count >= count)
