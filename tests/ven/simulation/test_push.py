"""Push mode: in order, until it is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from certs.tls import server_context
from tests.ven.simulation.conftest import Domain, Serve, metadata, simple_event
from tests.ven.simulation.raw_ven import CLOCK, RawVen, Signal, Utility, codec_of
from ven.endpoint import PREFIX, Answer, Call, Endpoint
from ven.wire.common import EiResponse
from ven.wire.event import DistributeEvent
from ven.wire.party import CanceledPartyRegistration, CancelPartyRegistration, RequestReregistration, Response
from ven.wire.payload import Message, name_of
from ven.wire.report import CreatedReport, CreateReport, RegisteredReport


class PushVen:
    """Serves, remembers what was posted, and answers as a VEN would."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.came = Signal()
        self.failures = 0
        """How many messages are answered with an HTTP 500 first."""

    async def __call__(self, call: Call) -> Answer:
        if self.failures:
            self.failures -= 1
            return web.Response(status=500, text="not now")
        self.got.append(call.message)
        await self.came.up()
        match call.message:
            case CreateReport():
                pending = tuple(request.request_id for request in call.message.requests)
                return CreatedReport(response=EiResponse(request_id=call.message.request_id), pending=pending)
            case CancelPartyRegistration():
                return CanceledPartyRegistration(response=EiResponse(request_id=call.message.request_id))
        return Response(response=EiResponse())

    @property
    def names(self) -> list[str]:
        return [name_of(message) for message in self.got]


@asynccontextmanager
async def joined(
    domain: Domain, serve: Serve, handler: PushVen, **settings: Any
) -> AsyncIterator[tuple[Utility, RawVen, int]]:
    """A VTN and a VEN that serves, at that port; each may connect to the other."""
    identity = domain.both_ways()
    endpoint = Endpoint(handler, codec_of(identity), CLOCK, tls=server_context(identity))
    async with (
        serve(identity=domain.both_ways("pushing-utility"), **settings) as utility,
        endpoint.serving() as port,
        utility.ven(identity) as ven,
    ):
        yield utility, ven, port


async def test_messages_are_pushed_in_order_and_their_answers_taken(domain: Domain, serve: Serve) -> None:
    handler = PushVen()
    async with joined(domain, serve, handler, request_reports=False) as (utility, ven, port):
        await ven.register(http_pull_model=False, transport_address=f"https://127.0.0.1:{port}{PREFIX}/")
        await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        await utility.do("POST", "/events", simple_event())
        await utility.do("POST", "/reports/requests", {"ven_name": "ven-a", "specifier_id": "usage"})
        await utility.do("POST", "/registrations/ven-a/reregister")
        await handler.came.reach(3)
        assert handler.names == ["oadrDistributeEvent", "oadrCreateReport", "oadrRequestReregistration"]
        assert handler.got[2] == RequestReregistration(ven_id=ven.ven_id)
        offered = handler.got[0]
        assert isinstance(offered, DistributeEvent)
        assert isinstance(await ven.opt(offered), Response)
        assert (await utility.get("/events"))[0]["status"] == "far"
        await utility.do("DELETE", "/registrations/ven-a")
        await handler.came.reach(4)
        async with CLOCK.timeout(10.0):
            while await utility.get("/registrations"):
                await CLOCK.sleep(0.01)
        (row,) = await utility.get("/reports/requests")
        assert row["state"] == "ended"


async def test_a_push_is_repeated_until_it_is_taken(domain: Domain, serve: Serve) -> None:
    handler = PushVen()
    handler.failures = 3
    async with joined(domain, serve, handler, push_retry_s=0.02) as (utility, ven, port):
        await ven.register(http_pull_model=False, transport_address=f"127.0.0.1:{port}")
        await utility.do("POST", "/events", simple_event(response_required=False))
        await handler.came.reach(1)
        await utility.do("POST", "/events", simple_event(response_required=False))
        await handler.came.reach(2)
        assert handler.failures == 0
        assert handler.names == ["oadrDistributeEvent"] * 2
        polled = await ven.poll()
        assert isinstance(polled, Response), "what was pushed does not wait for a poll"


async def test_what_a_push_ven_does_not_answer_is_pushed_again(domain: Domain, serve: Serve) -> None:
    handler = PushVen()
    async with joined(domain, serve, handler, resend_s=0.05) as (utility, ven, port):
        await ven.register(http_pull_model=False, transport_address=f"https://127.0.0.1:{port}")
        await utility.do("POST", "/events", simple_event())
        await handler.came.reach(3)
        first = handler.got[0]
        assert isinstance(first, DistributeEvent)
        await ven.opt(first)
        again = await ven.poll()
        assert isinstance(again, Response)


async def test_a_fault_of_content_is_pushed_too(domain: Domain, serve: Serve) -> None:
    handler = PushVen()
    async with joined(domain, serve, handler) as (utility, ven, port):
        await ven.register(http_pull_model=False, transport_address=f"https://127.0.0.1:{port}")
        await utility.do("POST", "/faults", {"kind": "wrong_vtn_id"})
        await utility.do("POST", "/events", simple_event())
        await handler.came.reach(1)
        (offered,) = handler.got
        assert isinstance(offered, DistributeEvent)
        assert offered.vtn_id == "utility-wrong"


async def test_an_answer_of_another_certificate_is_not_taken(domain: Domain, serve: Serve) -> None:
    handler = PushVen()
    impostor = domain.both_ways("impostor")
    endpoint = Endpoint(handler, codec_of(impostor), CLOCK, tls=server_context(impostor))
    async with (
        serve(identity=domain.both_ways("pushing-utility"), push_retry_s=0.02, request_reports=False) as utility,
        endpoint.serving() as port,
        utility.ven(domain.both_ways()) as ven,
    ):
        await ven.register(http_pull_model=False, transport_address=f"https://127.0.0.1:{port}")
        await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        await utility.do("POST", "/reports/requests", {"ven_name": "ven-a", "specifier_id": "usage"})
        await handler.came.reach(2)
        (row,) = await utility.get("/reports/requests")
        assert row["state"] == "asked"
