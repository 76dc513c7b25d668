"""What reaches a handler, and what never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import aiohttp
import pytest

from certs.authority import Authority
from certs.issuance import Role, issue
from certs.tls import server_context
from tests.ven.simulation.conftest import Domain
from tests.ven.simulation.raw_ven import CLOCK, RawVen, codec_of, raw_ven
from ven.endpoint import PREFIX, Answer, Call, Endpoint
from ven.wire.codec import Codec
from ven.wire.common import COMPLIANCE, EiResponse
from ven.wire.event import RequestEvent
from ven.wire.party import Poll, QueryRegistration, Response
from ven.wire.payload import Service
from ven.wire.schema import MAX_BYTES

POLL = Poll(ven_id="v")


class Echo:
    """Accepts everything and remembers who called."""

    def __init__(self, answer: Answer = None) -> None:
        self.calls: list[Call] = []
        self.answer = answer

    async def __call__(self, call: Call) -> Answer:
        self.calls.append(call)
        return self.answer


@asynccontextmanager
async def over_tls(domain: Domain, handler: Echo, name: str = "ven-a") -> AsyncIterator[RawVen]:
    vtn = domain.vtn()
    endpoint = Endpoint(handler, codec_of(vtn), CLOCK, tls=server_context(vtn))
    async with endpoint.serving() as port, raw_ven(f"https://127.0.0.1:{port}{PREFIX}", domain.ven(name)) as ven:
        yield ven


@asynccontextmanager
async def plain(handler: Echo, **more: object) -> AsyncIterator[RawVen]:
    endpoint = Endpoint(handler, Codec(None, None), CLOCK, tls=None, **more)  # type: ignore[arg-type]
    prefix = more.get("prefix", PREFIX)
    async with endpoint.serving() as port, raw_ven(f"http://127.0.0.1:{port}{prefix}", None) as ven:
        yield ven


async def test_the_handler_hears_who_called_and_the_answer_goes_back_signed(domain: Domain) -> None:
    echo = Echo(Response(response=EiResponse(request_id="1")))
    async with over_tls(domain, echo) as ven:
        assert await ven.send(POLL) == echo.answer
    (call,) = echo.calls
    assert (call.service, call.message) == (Service.POLL, POLL)
    assert call.peer == call.signer == call.fingerprint == ven.fingerprint


async def test_nothing_to_say_is_an_empty_200(domain: Domain) -> None:
    async with over_tls(domain, Echo()) as ven:
        assert await ven.send(POLL) is None


async def test_without_tls_and_signatures_nobody_is_known() -> None:
    echo = Echo()
    async with plain(echo, prefix="/other") as ven:
        assert await ven.send(POLL) is None
    assert (echo.calls[0].peer, echo.calls[0].signer, echo.calls[0].fingerprint) == (None, None, None)


@pytest.mark.parametrize(("keep_alive_s", "connections"), [(60.0, 1), (0.001, 2)])
async def test_a_connection_is_kept_alive_for_as_long_as_configured(keep_alive_s: float, connections: int) -> None:
    opened: list[object] = []

    async def count(*_: object) -> None:
        opened.append(None)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    async with plain(Echo(), keep_alive_s=keep_alive_s) as ven, aiohttp.ClientSession(trace_configs=[trace]) as session:
        for _ in range(2):
            async with session.post(f"{ven.base}/OadrPoll", data=ven.codec.write(POLL, CLOCK.now())) as answer:
                assert answer.headers["Content-Type"].startswith("application/xml")
            await CLOCK.sleep(0.2)
    assert len(opened) == connections


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not XML",
        b"<a/>",
        b'<oadrPoll xmlns="http://openadr.org/oadr-2.0b/2012/07"/>',
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    ],
)
async def test_what_is_no_message_is_a_400_with_the_reason(body: bytes) -> None:
    echo = Echo()
    async with plain(echo) as ven:
        status, why = await ven.post("OadrPoll", body)
    assert status == 400
    assert why
    assert b"Traceback" not in why
    assert not echo.calls


async def test_too_large_a_message_is_not_read() -> None:
    async with plain(Echo()) as ven:
        body = BytesIO(b" " * (MAX_BYTES + 1))
        async with ven.session.post(f"{ven.base}/OadrPoll", data=body) as answer:
            assert answer.status == 413


async def test_half_a_message_is_not_waited_for_for_ever() -> None:
    endpoint = Endpoint(Echo(), Codec(None, None), CLOCK, tls=None, body_within_s=0.1)
    async with endpoint.serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {PREFIX}/OadrPoll HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf".encode())
        async with CLOCK.timeout(10.0):
            assert b" 408 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_other_paths_and_methods_are_not_there() -> None:
    async with plain(Echo()) as ven:
        assert (await ven.post("EiNothing", b""))[0] == 404
        async with ven.session.get(f"{ven.base}/OadrPoll") as answer:
            assert answer.status == 405


async def test_a_message_of_another_service_is_459() -> None:
    echo = Echo()
    async with plain(echo) as ven:
        answer = await ven.send(RequestEvent(request_id="7", ven_id="v"), Service.OPT)
        assert isinstance(answer, Response)
        assert (answer.response.code, answer.response.request_id) == (COMPLIANCE, "7")
        assert await ven.send(Response(response=EiResponse()), Service.POLL) is None
    assert len(echo.calls) == 1


async def test_an_unsigned_or_replayed_message_is_403(domain: Domain) -> None:
    echo = Echo()
    async with over_tls(domain, echo) as ven:
        status, why = await ven.post("OadrPoll", Codec(None, None).write(POLL, CLOCK.now()))
        assert (status, b"not signed" in why) == (403, True)
        body = ven.codec.write(POLL, CLOCK.now())
        assert (await ven.post("OadrPoll", body))[0] == 200
        assert (await ven.post("OadrPoll", body))[0] == 403
    assert len(echo.calls) == 1


async def test_nobody_signs_for_another(domain: Domain) -> None:
    echo = Echo()
    other = codec_of(domain.ven("ven-b"))
    async with over_tls(domain, echo) as ven:
        status, why = await ven.post("OadrPoll", other.write(POLL, CLOCK.now()))
    assert (status, b"use one certificate" in why, echo.calls) == (403, True, [])


async def test_a_certificate_of_another_domain_does_not_connect(
    domain: Domain, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("elsewhere")
    elsewhere = Authority.create(folder / "ca", name="Elsewhere", clock=CLOCK)
    stranger = issue(elsewhere, role=Role.VEN, name="stranger", folder=folder, clock=CLOCK)
    vtn = domain.vtn()
    mixed = type(stranger)(certificate=stranger.certificate, key=stranger.key, roots=vtn.roots)
    endpoint = Endpoint(Echo(), codec_of(vtn), CLOCK, tls=server_context(vtn))
    async with endpoint.serving() as port, raw_ven(f"https://127.0.0.1:{port}{PREFIX}", mixed) as ven:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await ven.send(QueryRegistration(request_id="1"))
