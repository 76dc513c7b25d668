"""Every fault, as a VEN sees it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.ven.simulation.conftest import Domain, Serve, metadata, simple_event
from tests.ven.simulation.raw_ven import CLOCK, RawVen, Utility
from ven.simulation.faults import Fault, FaultKind, Faults
from ven.wire.event import DistributeEvent, RequestEvent
from ven.wire.party import Poll, Response
from ven.wire.payload import Service, decode
from ven.wire.report import RegisteredReport


async def set_fault(utility: Utility, kind: FaultKind, **more: Any) -> str:
    return str((await utility.do("POST", "/faults", {"kind": kind.value, **more}))["fault_id"])


async def raw_poll(ven: RawVen) -> tuple[int, bytes]:
    return await ven.post("OadrPoll", ven.codec.write(Poll(ven_id=ven.ven_id), CLOCK.now()))


@pytest.mark.parametrize(
    ("kind", "status"), [(FaultKind.SERVER_ERROR, 503), (FaultKind.REFUSE, 403), (FaultKind.EMPTY, 200)]
)
async def test_a_message_is_not_taken(domain: Domain, serve: Serve, kind: FaultKind, status: int) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("POST", "/events", simple_event())
        await set_fault(utility, kind, count=2)
        for _ in range(2):
            found, body = await raw_poll(ven)
            assert found == status
            assert (body == b"") == (kind is FaultKind.EMPTY)
        assert isinstance(await ven.poll(), DistributeEvent), "nothing was lost"
        (fault,) = await utility.get("/faults")
        assert (fault["hits"], fault["left"]) == (2, 0)


async def test_a_reply_is_lost_after_the_message_was_taken(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await set_fault(utility, FaultKind.LOSE_REPLY, service="EiReport")
        with pytest.raises(aiohttp.ClientError):
            await ven.send(metadata("a", ven_id=ven.ven_id))
        assert len((await utility.get("/offers"))["ven-a"]) == 1
        assert (await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)).response.ok


async def test_an_answer_comes_late(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await set_fault(utility, FaultKind.DELAY, delay_s=0.3)
        started = CLOCK.monotonic()
        await ven.poll()
        assert CLOCK.monotonic() - started >= 0.3


async def test_another_vtn_id(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await set_fault(utility, FaultKind.WRONG_VTN_ID)
        assert isinstance(await ven.poll(), Response), "the fault waits for an oadrDistributeEvent"
        await utility.do("POST", "/events", simple_event())
        offered = await ven.poll()
        assert isinstance(offered, DistributeEvent)
        assert offered.vtn_id == "utility-wrong"
        offered = await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
        assert offered.vtn_id == "utility"


async def test_a_stale_modification_number(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await set_fault(utility, FaultKind.STALE_MODIFICATION)
        event = await utility.do("POST", "/events", simple_event())
        numbers = []
        for _ in range(3):
            offered = await ven.poll()
            assert isinstance(offered, DistributeEvent)
            numbers.append(offered.events[0].modification_number)
            await utility.do("PATCH", f"/events/{event['event_id']}", {"priority": 1})
        assert numbers == [0, 0, 2], "there is nothing before the first, and the fault comes once"


async def test_an_unsigned_answer(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await set_fault(utility, FaultKind.UNSIGNED)
        status, body = await raw_poll(ven)
        assert status == 200
        assert b"Signature" not in body
        assert isinstance(decode(body), Response)


async def test_a_wrong_request_id(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await set_fault(utility, FaultKind.WRONG_REQUEST_ID)
        answer = await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        assert answer.response.request_id not in ("", "offer")


async def test_a_fault_concerns_a_service_and_a_ven(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven, utility.ven(domain.ven("ven-b")) as other:
        await ven.register()
        await other.register("ven-b")
        await set_fault(utility, FaultKind.SERVER_ERROR, service="OadrPoll", ven_name="ven-b", probability=1.0)
        assert isinstance(await ven.poll(), Response)
        await other.ask(RequestEvent(request_id="1", ven_id=other.ven_id), DistributeEvent)
        for _ in range(3):
            assert (await raw_poll(other))[0] == 503


async def test_faults_are_cleared_one_or_all(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        first = await set_fault(utility, FaultKind.REFUSE)
        await set_fault(utility, FaultKind.EMPTY)
        assert len(await utility.do("DELETE", f"/faults/{first}")) == 1
        assert (await utility.ask("DELETE", f"/faults/{first}"))[0] == 404
        assert await utility.do("DELETE", "/faults") == []
        assert isinstance(await ven.poll(), Response)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "earthquake"},
        {"kind": "delay"},
        {"kind": "empty", "delay_s": 1},
        {"kind": "empty", "count": 0},
        {"kind": "empty", "probability": 1.5},
        {"kind": "empty", "service": "EiNothing"},
    ],
)
async def test_a_fault_that_makes_no_sense(serve: Serve, body: dict[str, Any]) -> None:
    async with serve() as utility:
        status, answer = await utility.ask("POST", "/faults", body)
        assert status == 400
        assert "\n" not in answer["error"]


def test_the_same_seed_throws_the_same_dice() -> None:
    def hits(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.set(Fault(fault_id="f", kind=FaultKind.EMPTY, left=None, probability=0.5))
        return [faults.draw((FaultKind.EMPTY,), Service.POLL, None) is not None for _ in range(64)]

    assert hits(1) == hits(1)
    assert hits(1) != hits(2)
    assert 16 < sum(hits(1)) < 48
