"""What a person reads when TLS or HTTP goes wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from certs.errors import CertificateError
from certs.issuance import Role, issue
from certs.tls import Identity, client_context, server_context
from tests.ven.conftest import CLOCK, Pki, free_port, ven_settings
from ven.errors import VtnError, VtnRefusedError, VtnUnreachableError
from ven.transport import HttpsTransports
from ven.wire.payload import Service


@asynccontextmanager
async def tls_server(context: ssl.SSLContext, answer: bytes) -> AsyncIterator[str]:
    """Answers every request with ``answer`` (nothing: hangs up); gives the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/OpenADR2/Simple/2.0b"


async def post(identity: Identity, url: str) -> bytes:
    transports = HttpsTransports(CLOCK)
    try:
        transport = await transports.open(ven_settings(identity, url))
        return await transport.post(Service.POLL, b"<poll/>")
    finally:
        await transports.close()


async def test_a_body_comes_back(pki: Pki) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>"
    async with tls_server(server_context(pki.vtn()), answer) as url:
        assert await post(pki.ven("ven-a"), url) == b"<a/>"


async def test_an_http_error_is_the_vtns(pki: Pki) -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 17\r\n\r\nInvalid Signature"
    async with tls_server(server_context(pki.vtn()), answer) as url:
        with pytest.raises(VtnError, match="403: Forbidden: Invalid Signature") as caught:
            await post(pki.ven("ven-a"), url)
    assert not caught.value.permanent


async def test_a_redirect_is_not_followed(pki: Pki) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"
    async with tls_server(server_context(pki.vtn()), answer) as url:
        with pytest.raises(VtnError, match="302"):
            await post(pki.ven("ven-a"), url)


async def test_a_vtn_that_refuses_our_certificate_hangs_up_and_we_say_so(pki: Pki) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.vtn().certificate, pki.vtn().key)
    context.load_verify_locations(pki.foreign_vtn().roots)
    context.verify_mode = ssl.CERT_REQUIRED
    for newest in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context.maximum_version = newest
        async with tls_server(context, b"") as url:
            with pytest.raises(
                VtnRefusedError, match=r"probably refused this certificate \(fingerprint ([0-9A-F]{2}:)"
            ):
                await post(pki.ven("ven-a"), url)


async def test_a_server_of_another_domain_is_refused(pki: Pki) -> None:
    async with tls_server(server_context(pki.foreign_vtn()), b"") as url:
        with pytest.raises(VtnRefusedError, match="check vtn_url and vtn_roots"):
            await post(pki.ven("ven-a"), url)


async def test_a_server_with_another_name_is_refused(pki: Pki, tmp_path: Path) -> None:
    elsewhere = issue(
        pki.utility, role=Role.VTN, name="elsewhere", folder=tmp_path, clock=CLOCK, hosts=("vtn.example.com",)
    )
    async with tls_server(server_context(elsewhere), b"") as url:
        with pytest.raises(VtnRefusedError, match="check vtn_url and vtn_roots"):
            await post(pki.ven("ven-a"), url)


async def test_nobody_listening_is_an_outage(pki: Pki) -> None:
    with pytest.raises(VtnUnreachableError, match="check that the VTN runs"):
        await post(pki.ven("ven-a"), f"https://127.0.0.1:{free_port()}/OpenADR2/Simple/2.0b")


async def test_a_certificate_of_the_other_domain_is_found_before_connecting(pki: Pki) -> None:
    site = pki.site("site-1")
    mixed = Identity(certificate=site.certificate, key=site.key, roots=pki.vtn().roots)
    with pytest.raises(CertificateError, match="does not chain"):
        await HttpsTransports(CLOCK).open(ven_settings(mixed, "https://127.0.0.1/OpenADR2"))


class Counting:
    """A TLS server that keeps connections and counts them."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.connections = 0
        self.requests = 0
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>")

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Counting]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        async with server:
            self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/OpenADR2/Simple/2.0b"
            yield self
            self.hang_up()


async def test_vens_of_one_identity_share_connections_and_the_others_do_not(pki: Pki) -> None:
    transports = HttpsTransports(CLOCK)
    async with Counting(server_context(pki.vtn())).serving() as vtn:
        try:
            shared = [await transports.open(ven_settings(pki.ven("ven-a"), vtn.url, name)) for name in ("a", "b", "c")]
            for transport in shared * 3:
                assert await transport.post(Service.POLL, b"<poll/>") == b"<a/>"
            assert (vtn.connections, vtn.requests) == (1, 9)
            alone = await transports.open(ven_settings(pki.ven("ven-b"), vtn.url, "d"))
            await alone.post(Service.POLL, b"<poll/>")
            await shared[0].post(Service.POLL, b"<poll/>")
            assert (vtn.connections, vtn.requests) == (2, 11)
        finally:
            await transports.close()


async def test_one_tls_context_serves_an_identity_at_every_vtn(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Identity] = []

    def counted(identity: Identity, ciphers: str) -> ssl.SSLContext:
        made.append(identity)
        return client_context(identity, ciphers)

    monkeypatch.setattr("ven.transport.client_context", counted)
    transports = HttpsTransports(CLOCK)
    try:
        for identity in (pki.ven("ven-a"), pki.ven("ven-b")):
            for port in (1, 2):
                for name in ("a", "b"):
                    await transports.open(ven_settings(identity, f"https://127.0.0.1:{port}/", name))
    finally:
        await transports.close()
    assert made == [pki.ven("ven-a"), pki.ven("ven-b")]


async def test_a_connection_that_carried_messages_and_is_lost_is_an_outage_not_a_refusal(pki: Pki) -> None:
    transports = HttpsTransports(CLOCK)
    async with Counting(server_context(pki.vtn())).serving() as vtn:
        try:
            transport = await transports.open(ven_settings(pki.ven("ven-a"), vtn.url))
            await transport.post(Service.POLL, b"<poll/>")
            vtn.hang_up()
            with suppress(VtnUnreachableError):
                await transport.post(Service.POLL, b"<poll/>")
            assert await transport.post(Service.POLL, b"<poll/>") == b"<a/>"
        finally:
            await transports.close()
