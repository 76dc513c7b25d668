"""The server end of OpenADR 2.0b simple HTTP: who called, with what message, and the answer's bytes.

A VTN serves it, and so does a VEN in push mode (section on simple HTTP, exchange model PUSH). It knows TLS, paths and
the codec; what a message means is its handler's business. The certificate of the TLS connection and the one that
signed the message must be the same, so that nobody sends in another's name. Without TLS and signatures (tests,
benchmarks) there is no fingerprint to hand on.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import structlog
from aiohttp import web

from grid.clock import Clock
from grid.process.listen import listen
from ven.errors import SignatureError, WireError
from ven.wire.codec import Codec
from ven.wire.common import COMPLIANCE, EiResponse
from ven.wire.party import Response
from ven.wire.payload import Message, Service, name_of, service_of
from ven.wire.schema import MAX_BYTES

PREFIX = "/OpenADR2/Simple/2.0b"
KEEP_ALIVE_S = 75.0
BODY_WITHIN_S = 30.0
"""How long a message may take to arrive."""
CONTENT_TYPE = "application/xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One message that arrived."""

    service: Service
    message: Message
    peer: str | None
    """OpenADR fingerprint of the caller's TLS certificate; None without TLS."""
    signer: str | None
    """OpenADR fingerprint of the certificate that signed; None where nothing has to be signed."""

    @property
    def fingerprint(self) -> str | None:
        """Whose certificate this is, by the connection or else by the signature."""
        return self.peer or self.signer


Answer = Message | web.StreamResponse | None
"""A message, nothing to say (an empty 200), or an HTTP response as it stands."""

Handler = Callable[[Call], Awaitable[Answer]]


class Endpoint:
    """The five services under one prefix."""

    def __init__(
        self,
        handler: Handler,
        codec: Codec,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None,
        host: str = "127.0.0.1",
        port: int = 0,
        prefix: str = PREFIX,
        keep_alive_s: float = KEEP_ALIVE_S,
        body_within_s: float = BODY_WITHIN_S,
    ) -> None:
        """``tls``: None serves plain HTTP. ``port`` 0: any free one."""
        self._handler = handler
        self._codec = codec
        self._clock = clock
        self._tls = tls
        self._host = host
        self._port = port
        self._prefix = prefix.rstrip("/")
        self._keep_alive_s = keep_alive_s
        self._body_within_s = body_within_s
        self._log = structlog.get_logger()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve; gives the port. Raises AddressInUseError."""
        app = web.Application(client_max_size=MAX_BYTES)
        for service in Service:
            app.router.add_post(f"{self._prefix}/{service.value}", self._route(service))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=self._keep_alive_s)
        port = await listen(runner, self._host, self._port, self._tls)
        try:
            yield port
        finally:
            await runner.cleanup()

    def _route(self, service: Service) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(service, request)

        return serve

    async def _serve(self, service: Service, request: web.Request) -> web.StreamResponse:
        try:
            async with self._clock.timeout(self._body_within_s):
                content = await request.read()
        except TimeoutError:
            return self._refused(408, service, request, f"no whole message within {self._body_within_s:g} s")
        try:
            message, signer = self._codec.open(content, self._clock.now())
        except SignatureError as error:
            return self._refused(403, service, request, str(error))
        except WireError as error:
            return self._refused(400, service, request, str(error))
        peer = _peer(request)
        if peer is not None and signer is not None and peer != signer:
            return self._refused(
                403, service, request, f"the connection is {peer}'s and the signature {signer}'s: use one certificate"
            )
        if not isinstance(message, Response) and service_of(message) is not service:
            answer: Answer = _wrong_service(service, message)
        else:
            answer = await self._handler(Call(service=service, message=message, peer=peer, signer=signer))
        if isinstance(answer, web.StreamResponse):
            return answer
        body = b"" if answer is None else self._codec.write(answer, self._clock.now())
        return web.Response(body=body, content_type=CONTENT_TYPE)

    def _refused(self, status: int, service: Service, request: web.Request, why: str) -> web.Response:
        self._log.warning("message refused", service=service.value, remote=request.remote, why=why)
        return web.Response(status=status, text=why)


def _wrong_service(service: Service, message: Message) -> Response:
    return Response(
        response=EiResponse(
            code=COMPLIANCE,
            description=f"{name_of(message)} belongs to {service_of(message).value}, not to {service.value}",
            request_id=request_id_of(message),
        )
    )


def request_id_of(message: Message) -> str:
    """What an answer echoes; empty where a message has no requestID."""
    own: str | None = getattr(message, "request_id", None)
    if own is not None:
        return own
    response: EiResponse | None = getattr(message, "response", None)
    return "" if response is None else response.request_id


def _peer(request: web.Request) -> str | None:
    transport = request.transport
    connection: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    certificate = None if connection is None else connection.getpeercert(binary_form=True)
    return None if certificate is None else _fingerprint(certificate)


@lru_cache(maxsize=4096)
def _fingerprint(certificate: bytes) -> str:
    # As certs.fingerprint has it, of DER that TLS parsed already.
    return sha256(certificate).digest()[-10:].hex(":").upper()
