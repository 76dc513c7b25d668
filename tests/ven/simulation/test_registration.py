"""EiRegisterParty and OadrPoll."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ven.simulation.conftest import Domain, Serve, metadata, simple_event
from tests.ven.simulation.raw_ven import RawVen
from ven.simulation.registrations import DRAIN
from ven.wire.common import INVALID_DATA, INVALID_ID, NOT_ALLOWED, NOT_REGISTERED, EiResponse
from ven.wire.event import CreatedEvent, DistributeEvent, RequestEvent
from ven.wire.opt import CanceledOpt, CancelOpt
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    Poll,
    QueryRegistration,
    RequestReregistration,
    Response,
)
from ven.wire.payload import Message
from ven.wire.report import RegisteredReport, UpdatedReport, UpdateReport


async def test_a_ven_asks_registers_and_asks_again(domain: Domain, serve: Serve) -> None:
    async with serve(poll_interval_s=7, drain=True) as utility, utility.ven(domain.ven()) as ven:
        query = QueryRegistration(request_id="q")
        before = await ven.ask(query, CreatedPartyRegistration)
        assert (before.response.code, before.response.request_id) == (200, "q")
        assert (before.ven_id, before.registration_id, before.vtn_id) == (None, None, "utility")
        created = await ven.register()
        assert created.response.ok
        assert (created.poll_interval_s, [one.name for one in created.extensions]) == (7.0, [DRAIN])
        after = await ven.ask(query, CreatedPartyRegistration)
        assert (after.ven_id, after.registration_id) == (ven.ven_id, ven.registration_id)
        (row,) = await utility.get("/registrations")
        assert (row["ven_name"], row["ven_id"], row["fingerprint"]) == ("ven-a", ven.ven_id, ven.fingerprint)
        assert (row["resources"], row["reports_registered"], row["duplicates"]) == ([], False, 0)


async def test_known_identifiers_are_kept_and_others_are_452(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven, utility.ven(domain.ven("ven-b")) as other:
        first = await ven.register()
        known: dict[str, Any] = {"ven_id": first.ven_id, "registration_id": first.registration_id}
        again = await ven.register(**known)
        assert (again.ven_id, again.registration_id) == (first.ven_id, first.registration_id)
        others: tuple[dict[str, Any], ...] = (
            {**known, "registration_id": "registration-old"},
            {**known, "ven_id": "somebody"},
            {"registration_id": first.registration_id},
            {"ven_id": "my-own"},
        )
        for wrong in others:
            refused = await ven.register(**wrong)
            assert (refused.response.code, refused.registration_id) == (INVALID_ID, None)
        assert (await other.register(**known)).response.code == INVALID_ID
        anew = await ven.register()
        assert anew.ven_id == first.ven_id
        assert anew.registration_id != first.registration_id


@pytest.mark.parametrize(
    ("settings", "message", "code"),
    [
        ({"ven_fingerprints": ("00:11",)}, {}, NOT_REGISTERED),
        ({}, {"profile": "2.0a"}, NOT_ALLOWED),
        ({}, {"transport": "xmpp"}, NOT_ALLOWED),
        ({}, {"http_pull_model": False}, INVALID_DATA),
        ({"ven_id_is_fingerprint": True}, {}, INVALID_ID),
    ],
)
async def test_a_registration_is_refused(
    domain: Domain, serve: Serve, settings: dict[str, Any], message: dict[str, Any], code: int
) -> None:
    async with serve(**settings) as utility, utility.ven(domain.ven()) as ven:
        answer = await ven.register(**message)
        assert (answer.response.code, answer.registration_id) == (code, None)
        assert answer.response.request_id == "register"
        assert await utility.get("/registrations") == []


async def test_the_ven_id_may_be_the_fingerprint_or_assigned(domain: Domain, serve: Serve) -> None:
    async with serve(ven_id_is_fingerprint=True) as utility, utility.ven(domain.ven()) as ven:
        assert (await ven.register(ven_id=ven.fingerprint)).ven_id == ven.fingerprint
        assert isinstance(await ven.poll(), Response)
    assigned = {ven.fingerprint: "007"}
    async with serve(assigned_ven_ids=assigned) as utility, utility.ven(domain.ven()) as ven:
        assert (await ven.register()).ven_id == "007"


async def test_one_certificate_may_be_several_vens(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        first, second = await ven.register("one"), await ven.register("two")
        assert first.ven_id != second.ven_id
        assert len(await utility.get("/registrations")) == 2
        query = await ven.ask(QueryRegistration(request_id="q"), CreatedPartyRegistration)
        assert query.ven_id is None


async def test_a_ven_leaves(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("POST", "/events", simple_event())
        cancel = CancelPartyRegistration(request_id="c", registration_id="other", ven_id=ven.ven_id)
        assert (await ven.ask(cancel, CanceledPartyRegistration)).response.code == INVALID_ID
        cancel = CancelPartyRegistration(request_id="c", registration_id=ven.registration_id)
        left = await ven.ask(cancel, CanceledPartyRegistration)
        assert (left.response.code, left.response.request_id) == (200, "c")
        assert await utility.get("/registrations") == []
        polled = await ven.poll()
        assert isinstance(polled, Response)
        assert polled.response.code == NOT_REGISTERED
        await ven.register()
        assert isinstance(await ven.poll(), Response)


async def test_the_utility_puts_a_ven_out(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("DELETE", "/registrations/ven-a")
        cancel = await ven.poll()
        assert isinstance(cancel, CancelPartyRegistration)
        assert (cancel.registration_id, cancel.ven_id) == (ven.registration_id, ven.ven_id)
        answer = CanceledPartyRegistration(
            response=EiResponse(request_id=cancel.request_id),
            registration_id=cancel.registration_id,
            ven_id=ven.ven_id,
        )
        assert (await ven.ask(answer, Response)).response.ok
        assert await utility.get("/registrations") == []


async def test_the_utility_has_a_ven_register_again(domain: Domain, serve: Serve) -> None:
    async with serve(resend_s=1e-6) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("POST", f"/registrations/{ven.ven_id}/reregister")
        for _ in range(2):
            assert await ven.poll() == RequestReregistration(ven_id=ven.ven_id)
        await ven.register(ven_id=ven.ven_id, registration_id=ven.registration_id)
        assert isinstance(await ven.poll(), Response)


async def test_one_message_a_poll_the_oldest_first(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("POST", "/events", simple_event())
        await utility.do("POST", "/registrations/ven-a/reregister")
        assert isinstance(await ven.poll(), DistributeEvent)
        assert isinstance(await ven.poll(), RequestReregistration)
        assert isinstance(await ven.poll(), Response)


def everything(ven_id: str) -> tuple[tuple[Message, type[Any]], ...]:
    return (
        (Poll(ven_id=ven_id), Response),
        (RequestEvent(request_id="1", ven_id=ven_id), DistributeEvent),
        (CreatedEvent(ven_id=ven_id, response=EiResponse(request_id="1")), Response),
        (metadata("a", ven_id=ven_id), RegisteredReport),
        (UpdateReport(request_id="1", ven_id=ven_id), UpdatedReport),
        (CancelOpt(request_id="1", opt_id="o", ven_id=ven_id), CanceledOpt),
        (
            CancelPartyRegistration(request_id="1", registration_id="r", ven_id=ven_id),
            CanceledPartyRegistration,
        ),
    )


@pytest.mark.parametrize("place", range(7))
async def test_who_is_not_registered_is_told_so_by_every_service(domain: Domain, serve: Serve, place: int) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven, utility.ven(domain.ven("ven-b")) as thief:
        message, kind = everything("ven-unknown")[place]
        assert (await ven.ask(message, kind)).response.code == NOT_REGISTERED
        await ven.register()
        message, kind = everything(ven.ven_id)[place]
        assert (await thief.ask(message, kind)).response.code == NOT_REGISTERED


async def test_what_a_vtn_says_a_ven_may_not(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        answer = await ven.ask(RequestReregistration(ven_id=ven.ven_id), Response)
        assert answer.response.code == 459


async def test_a_ven_without_a_ven_id_in_its_message_is_known_by_its_certificate(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        assert (await ven.ask(metadata("a"), RegisteredReport)).response.ok
        await ven.register("second")
        assert (await ven.ask(metadata("a"), RegisteredReport)).response.code == INVALID_ID


async def test_without_tls_and_signatures(serve: Serve) -> None:
    async with serve(tls=False, xml_signature=False) as utility, utility.ven(None) as ven:
        assert isinstance(ven, RawVen)
        assert (await ven.register()).response.ok
        assert isinstance(await ven.poll(), Response)


async def test_over_tls_without_signatures(domain: Domain, serve: Serve) -> None:
    async with serve(xml_signature=False) as utility, utility.ven(domain.ven(), signed=False) as ven:
        await ven.register(xml_signature=False)
        (row,) = await utility.get("/registrations")
        assert row["fingerprint"] == ven.fingerprint
