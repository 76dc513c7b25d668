"""Which connection a message goes over, and when it is sent again: against a server that answers as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from certs.tls import server_context
from grid.clock import Clock, SystemClock, VirtualClock
from tests.ven.conftest import Pki, ven_settings
from tests.ven.transport.scripted_server import HANG_UP, SILENCE, ScriptedServer, answer, chunked, scripted_server
from ven.errors import VtnError, VtnRefusedError, VtnUnreachableError, WireError
from ven.http.connection import ReadBuffer
from ven.transport import CONNECTIONS, KEEP_ALIVE_S, REQUEST_TIMEOUT_S, HttpsTransport, HttpsTransports, pool
from ven.wire.payload import Service
from ven.wire.schema import MAX_BYTES

OK = answer(b"<a/>")
START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def transport_to(server: ScriptedServer, clock: Clock | None = None) -> HttpsTransport:
    """Plain HTTP: what is tested here lies above TLS."""
    url = f"http://127.0.0.1:{server.port}/OpenADR2/Simple/2.0b"
    clock = clock or SystemClock()
    return HttpsTransport(url, "AA:BB", pool(url, None, ReadBuffer(), clock), clock)


async def until(condition: Callable[[], bool]) -> None:
    async with SystemClock().timeout(10.0):
        while not condition():
            await SystemClock().sleep(0.005)


async def test_messages_follow_each_other_over_one_connection() -> None:
    async with scripted_server([OK, chunked(b"<b", b"/>"), answer(b"")]) as server:
        transport = transport_to(server)
        assert await transport.post(Service.POLL, b"<1/>") == b"<a/>"
        assert await transport.post(Service.EVENT, b"<2/>") == b"<b/>"
        assert await transport.post(Service.POLL, b"<3/>") == b""
        assert server.requests == [(0, b"<1/>"), (0, b"<2/>"), (0, b"<3/>")]
        assert server.heads[1].startswith(b"POST /OpenADR2/Simple/2.0b/EiEvent HTTP/1.1\r\n")
        assert b"Content-Type: application/xml\r\n" in server.heads[1]
        assert b"Host: 127.0.0.1:%d\r\n" % server.port in server.heads[1]


async def test_messages_at_once_have_a_connection_each_up_to_a_limit() -> None:
    async with scripted_server([OK] * 20) as server:
        transport = transport_to(server)
        await asyncio.gather(*(transport.post(Service.POLL, b"<p/>") for _ in range(20)))
        assert len(server.requests) == 20
        assert 1 < len(server.writers) <= CONNECTIONS


@pytest.mark.parametrize("last", [answer(b"<a/>", "200 OK", "Connection: close"), OK + OK])
async def test_a_connection_that_came_to_its_end_is_not_used_again(last: bytes) -> None:
    async with scripted_server([last, OK]) as server:
        transport = transport_to(server)
        for _ in range(2):
            assert await transport.post(Service.POLL, b"<p/>") == b"<a/>"
        assert [number for number, _ in server.requests] == [0, 1]


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_a_connection_the_server_closed_meanwhile_is_replaced_before_anything_is_sent(farewell: bytes) -> None:
    async with scripted_server([OK, OK]) as server:
        transport = transport_to(server)
        await transport.post(Service.POLL, b"<1/>")
        kept = transport._connections._kept[0][0]
        server.writers[0].write(farewell)
        server.writers[0].close()
        await until(lambda: kept.closed)
        await transport.post(Service.POLL, b"<2/>")
        assert server.requests == [(0, b"<1/>"), (1, b"<2/>")]


async def test_a_connection_that_idled_for_long_is_replaced() -> None:
    clock = VirtualClock(START)
    async with scripted_server([OK, OK, OK]) as server:
        transport = transport_to(server, clock)
        await transport.post(Service.POLL, b"<1/>")
        await clock.advance(KEEP_ALIVE_S)
        await transport.post(Service.POLL, b"<2/>")
        await clock.advance(KEEP_ALIVE_S + 1.0)
        await transport.post(Service.POLL, b"<3/>")
        assert [number for number, _ in server.requests] == [0, 0, 1]


async def test_a_message_known_by_its_request_id_is_repeated_once_when_nothing_came_back() -> None:
    async with scripted_server([OK, HANG_UP, OK]) as server:
        transport = transport_to(server)
        await transport.post(Service.POLL, b"<1/>")
        assert await transport.post(Service.REPORT, b"<data/>") == b"<a/>"
        assert server.requests == [(0, b"<1/>"), (0, b"<data/>"), (1, b"<data/>")]
    async with scripted_server([OK, HANG_UP, HANG_UP, OK]) as server:
        transport = transport_to(server)
        await transport.post(Service.POLL, b"<1/>")
        with pytest.raises(VtnRefusedError):
            await transport.post(Service.REPORT, b"<data/>")
        assert len(server.requests) == 3


async def test_a_poll_is_never_repeated_since_its_answer_may_be_lost() -> None:
    async with scripted_server([OK, HANG_UP, OK]) as server:
        transport = transport_to(server)
        await transport.post(Service.POLL, b"<1/>")
        with pytest.raises(VtnUnreachableError, match="closed the connection"):
            await transport.post(Service.POLL, b"<2/>")
        assert server.requests == [(0, b"<1/>"), (0, b"<2/>")]


@pytest.mark.parametrize("kept", [True, False])
async def test_a_message_that_was_half_answered_is_not_repeated(kept: bool) -> None:
    script = [OK] * kept + [answer(b"<a/>", "200 OK", "Connection: close")[:-2], OK]
    async with scripted_server(script) as server:
        transport = transport_to(server)
        if kept:
            await transport.post(Service.POLL, b"<1/>")
        asking = asyncio.create_task(transport.post(Service.REPORT, b"<data/>"))
        await until(lambda: len(server.requests) == kept + 1)
        server.writers[0].close()
        with pytest.raises(VtnUnreachableError, match="closed the connection"):
            await asking
        assert len(server.requests) == kept + 1


async def test_who_does_not_answer_in_time_is_left() -> None:
    clock = VirtualClock(START)
    async with scripted_server([SILENCE, OK]) as server:
        transport = transport_to(server, clock)
        asking = asyncio.create_task(transport.post(Service.POLL, b"<1/>"))
        await until(lambda: len(server.requests) == 1)
        await clock.advance(REQUEST_TIMEOUT_S)
        with pytest.raises(VtnUnreachableError, match="did not answer within 15 s"):
            await asking
        assert await transport.post(Service.POLL, b"<2/>") == b"<a/>"
        assert [number for number, _ in server.requests] == [0, 1]


async def test_who_gives_up_waiting_leaves_no_answer_to_the_next() -> None:
    async with scripted_server([SILENCE, OK]) as server:
        transport = transport_to(server)
        asking = asyncio.create_task(transport.post(Service.POLL, b"<1/>"))
        await until(lambda: len(server.requests) == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await transport.post(Service.POLL, b"<2/>") == b"<a/>"
        assert [number for number, _ in server.requests] == [0, 1]


async def test_a_response_past_the_bound_is_refused() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * (MAX_BYTES + 100_000)
    async with scripted_server([endless, OK]) as server:
        transport = transport_to(server)
        with pytest.raises(WireError, match="not read"):
            await transport.post(Service.POLL, b"<1/>")
        assert await transport.post(Service.POLL, b"<2/>") == b"<a/>"


async def test_what_is_not_http_is_told() -> None:
    async with scripted_server([b"220 mail.example ESMTP\r\n\r\n"]) as server:
        with pytest.raises(VtnUnreachableError, match=r"does not speak HTTP.*check vtn_url"):
            await transport_to(server).post(Service.POLL, b"<1/>")


async def test_an_error_keeps_the_connection() -> None:
    async with scripted_server([answer(b"busy\nlater", "503 Service Unavailable"), OK]) as server:
        transport = transport_to(server)
        with pytest.raises(VtnError, match=r"503: Service Unavailable: busy$"):
            await transport.post(Service.POLL, b"<1/>")
        await transport.post(Service.POLL, b"<2/>")
        assert [number for number, _ in server.requests] == [0, 0]


# --- over TLS


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_large_messages_pass_both_ways_over_tls(pki: Pki, newest: ssl.TLSVersion) -> None:
    context = server_context(pki.vtn())
    context.maximum_version = newest
    large = bytes(range(256)) * 12_000
    async with scripted_server(
        [answer(large), chunked(*(large[at : at + 1000] for at in range(0, len(large), 1000)))], context
    ) as server:
        transports = HttpsTransports(SystemClock())
        url = f"https://127.0.0.1:{server.port}/OpenADR2/Simple/2.0b"
        transport = await transports.open(ven_settings(pki.ven("ven-a"), url))
        for _ in range(2):
            assert await transport.post(Service.REPORT, large) == large
        assert server.requests == [(0, large), (0, large)]
        await transports.close()


async def test_vens_of_one_identity_share_connections_and_others_do_not(pki: Pki) -> None:
    async with scripted_server([OK] * 4, server_context(pki.vtn())) as server:
        transports = HttpsTransports(SystemClock())
        url = f"https://127.0.0.1:{server.port}/OpenADR2/Simple/2.0b"
        for identity, name in (("ven-a", "one"), ("ven-a", "two"), ("ven-b", "three"), ("ven-a", "four")):
            transport = await transports.open(ven_settings(pki.ven(identity), url, name))
            await transport.post(Service.POLL, b"<p/>")
        assert [number for number, _ in server.requests] == [0, 0, 1, 0]
        await transports.close()
        await until(lambda: all(writer.is_closing() for writer in server.writers))


async def test_a_reset_over_tls_is_an_outage_once_messages_passed(pki: Pki) -> None:
    async with scripted_server([OK, SILENCE], server_context(pki.vtn())) as server:
        transports = HttpsTransports(SystemClock())
        url = f"https://127.0.0.1:{server.port}/OpenADR2/Simple/2.0b"
        transport = await transports.open(ven_settings(pki.ven("ven-a"), url))
        await transport.post(Service.POLL, b"<1/>")
        asking = asyncio.create_task(transport.post(Service.POLL, b"<2/>"))
        await until(lambda: len(server.requests) == 2)
        server.writers[0].transport.abort()
        with pytest.raises(VtnUnreachableError, match="closed the connection"):
            await asking
        await transports.close()
