"""One VTN process: the endpoint, pushes, and the operator's admin port around ``UtilityVtn``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from prometheus_client import CollectorRegistry

from certs.files import read_certificates, read_leaf_key
from certs.tls import check_identity, client_context, server_context
from certs.trust import ChainTrust
from grid.clock import Clock
from grid.process.health import AdminServer
from grid.process.running import write_ready_file
from ven.endpoint import CONTENT_TYPE, Answer, Call, Endpoint
from ven.simulation.admin import Admin
from ven.simulation.config import VtnSettings
from ven.simulation.faults import FaultError, FaultKind
from ven.simulation.push import Push
from ven.simulation.vtn import UtilityVtn
from ven.wire.codec import Codec
from ven.wire.payload import encode
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier, unsigned


def codec(settings: VtnSettings) -> Codec:
    """How this VTN writes and reads. Raises CertificateError."""
    if not settings.xml_signature:
        return Codec(None, None)
    identity = settings.identity
    signer = Signer(read_leaf_key(identity.key), read_certificates(identity.certificate))
    trust = ChainTrust(read_certificates(identity.roots))
    return Codec(signer, Verifier(trust, ReplayGuard(settings.replay_window_s)))


async def run(settings: VtnSettings, clock: Clock, ready_file: Path | None) -> None:
    """Serve until cancelled. Raises CertificateError, JournalError, AddressInUseError."""
    async with serving(settings, clock) as (port, admin_port):
        write_ready_file(ready_file, port=port, admin_port=admin_port)
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(settings: VtnSettings, clock: Clock) -> AsyncIterator[tuple[int, int]]:
    """Serve; gives the endpoint's port and the admin port."""
    tls: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    if settings.tls or settings.xml_signature:
        check_identity(settings.identity, clock)
    if settings.tls:
        tls, client = server_context(settings.identity), client_context(settings.identity)
    wire = codec(settings)
    vtn = UtilityVtn(settings, clock)
    endpoint = Endpoint(
        _Carrier(vtn).carry,
        wire,
        clock,
        tls=tls,
        host=settings.host,
        port=settings.port,
        prefix=settings.prefix,
        keep_alive_s=settings.keep_alive_s,
    )
    admin = AdminServer({}, CollectorRegistry(), port=settings.admin_port, routes=Admin(vtn).routes())
    try:
        async with endpoint.serving() as port, admin, asyncio.TaskGroup() as group:
            pushing = group.create_task(Push(vtn, wire, client).run())
            try:
                yield port, admin.port
            finally:
                pushing.cancel()
    finally:
        vtn.close()


class _Carrier:
    """From the endpoint to the VTN and back, with what faults do to HTTP."""

    def __init__(self, vtn: UtilityVtn) -> None:
        self._vtn = vtn

    async def carry(self, call: Call) -> Answer:
        try:
            return await self._vtn.handle(call.service, call.message, call.fingerprint)
        except FaultError as fault:
            return _as_http(fault)


def _as_http(fault: FaultError) -> web.StreamResponse:
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return web.Response(status=503, text=str(fault))
        case FaultKind.REFUSE:
            return web.Response(status=403, text=str(fault))
        case FaultKind.LOSE_REPLY:
            return _LostReply()
        case FaultKind.UNSIGNED if fault.answer is not None:
            return web.Response(body=unsigned(encode(fault.answer)), content_type=CONTENT_TYPE)
    return web.Response(content_type=CONTENT_TYPE)


class _LostReply(web.Response):
    """Closes the connection in the place of an answer."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reply is lost on purpose")
