"""EiRegisterParty between our VEN and our VTN, in virtual time: query, create, both cancels, enrol again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from grid.events import Decision, OptType
from tests.ven.world import World, world
from ven.errors import VenError
from ven.journal import VenJournal
from ven.simulation.faults import FaultKind
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatePartyRegistration,
    Poll,
    QueryRegistration,
    Response,
)
from ven.wire.payload import Service
from ven.wire.report import RegisterReport


async def serving(one: World) -> None:
    await one.until(lambda: one.status.state == "serving")


async def registrations(one: World, count: int) -> None:
    await one.until(lambda: len(one.transport.named(CreatePartyRegistration)) == count)


async def test_it_queries_and_then_registers_as_a_pull_ven(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        kinds = [type(message) for _, message in one.transport.sent[:2]]
        assert kinds == [QueryRegistration, CreatePartyRegistration]
        (created,) = one.transport.named(CreatePartyRegistration)
        assert (created.ven_name, created.ven_id, created.registration_id) == ("ven-a", None, None)
        assert (created.http_pull_model, created.transport_address, created.xml_signature) == (True, None, False)
        assert (one.status.ven_id, one.status.vtn_id, one.status.registered) == (one.ven_id, "utility", True)


async def test_a_vtn_that_does_not_answer_queries_registers_us_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.stop()
        one.fault(FaultKind.SERVER_ERROR, Service.REGISTER_PARTY, times=1)
        one.transport.sent.clear()
        await one.restart()
        await serving(one)
        assert one.watcher.failures == []


async def test_the_vtn_cancels_and_nobody_registers_again_before_a_person_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            one.vtn.registrations.put_out(one.ven)
        one.transport.sent.clear()
        await one.until(lambda: one.status.state == "cancelled")
        (reply,) = one.transport.named(CanceledPartyRegistration)
        assert reply.response.ok
        assert not one.status.registered
        assert "run `negawatt ven enrol` to register again" in one.watcher.failures[-1]
        (ven,) = one.vtn.journal.vens()
        assert ven.registration_id is None

        one.transport.sent.clear()
        await one.clock.advance(3600)
        await one.restart()
        await one.clock.advance(3600)
        assert one.transport.sent == []

        one.gateway.enrol("ven-a")
        await serving(one)
        assert one.status.registered
        assert len(one.transport.named(CreatePartyRegistration)) == 1
        assert len(one.transport.named(RegisterReport)) == 1


async def test_the_reply_to_a_cancel_is_sent_until_it_arrives(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            one.vtn.registrations.put_out(one.ven)
        one.fault(FaultKind.SERVER_ERROR, Service.REGISTER_PARTY, times=3)
        await one.until(lambda: one.status.state == "cancelled", 120)
        await one.until(lambda: one.vtn.journal.vens()[0].registration_id is None, 300)
        assert len(one.transport.named(CanceledPartyRegistration)) == 4


async def test_a_cancel_under_other_identifiers_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            wrong = CancelPartyRegistration(request_id="c", registration_id="other", ven_id=one.ven_id)
            one.vtn.mailbox.put(one.ven_id, wrong)
        await one.until(lambda: bool(one.transport.named(CanceledPartyRegistration)))
        (reply,) = one.transport.named(CanceledPartyRegistration)
        assert (reply.response.code, reply.response.request_id) == (452, "c")
        assert (one.status.state, one.status.registered) == ("serving", True)


async def test_we_leave_and_come_back(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        before = one.ven_id
        await one.gateway.cancel_registration("ven-a")
        assert not one.status.registered
        (ven,) = one.vtn.journal.vens()
        assert ven.registration_id is None
        await one.until(lambda: one.status.state == "cancelled")
        polls = len(one.transport.named(Poll))
        await one.clock.advance(600)
        assert len(one.transport.named(Poll)) == polls
        await one.gateway.cancel_registration("ven-a")
        assert len(one.transport.named(CancelPartyRegistration)) == 1
        one.gateway.enrol("ven-a")
        await serving(one)
        assert one.status.ven_id == before


async def test_leaving_a_vtn_that_cannot_be_reached_fails_and_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.transport.down = True
        with pytest.raises(VenError, match="no VTN here"):
            await one.gateway.cancel_registration("ven-a")
        assert one.status.registered


async def test_leaving_a_vtn_that_forgot_us_is_leaving(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            one.vtn.journal.put_ven(replace(one.ven, registration_id=None))
        await one.gateway.cancel_registration("ven-a")
        await one.clock.advance(600)
        assert one.status.state == "cancelled"
        assert len(one.transport.named(CreatePartyRegistration)) == 1


async def test_leaving_under_a_registration_that_is_not_the_newest_leaves_the_newest(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            one.vtn.journal.put_ven(replace(one.ven, registration_id="registration-whose-answer-was-lost"))
        await one.gateway.cancel_registration("ven-a")
        (ven,) = one.vtn.journal.vens()
        assert (ven.registration_id, one.status.registered) == (None, False)
        await one.clock.advance(600)
        assert one.status.state == "cancelled"


async def test_asked_to_register_again_it_shows_what_it_has_and_offers_its_reports_again(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        held = one.ven
        with one.operator():
            one.vtn.registrations.ask_again(held)
        await one.until(lambda: len(one.transport.named(CreatePartyRegistration)) == 2)
        again = one.transport.named(CreatePartyRegistration)[1]
        assert (again.ven_id, again.registration_id) == (held.ven_id, held.registration_id)
        await serving(one)
        assert len(one.transport.named(RegisterReport)) == 2
        assert [type(one) for one in one.transport.named(Response)] == [Response]
        assert one.watcher.failures == []


async def test_a_vtn_that_asks_again_and_again_gets_one_registration_each_and_no_more_polls(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        for count in (2, 3, 4):
            with one.operator():
                one.vtn.registrations.ask_again(one.ven)
            await registrations(one, count)
        at = [when for when, message in one.transport.sent if isinstance(message, Poll)]
        assert min(after - before for before, after in pairwise(at)) >= timedelta(seconds=10)


async def test_a_vtn_that_wants_the_fingerprint_as_ven_id(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"ven_id_is_fingerprint": True}, ven_id="AA:BB") as one:
        await serving(one)
        assert one.status.ven_id == "AA:BB"
        assert {poll.ven_id for poll in one.transport.named(Poll)} == {"AA:BB"}


async def test_while_cancelled_a_changed_decision_owes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.call(lead_s=3600)
        await one.until(lambda: bool(one.answers()))
        await one.gateway.cancel_registration("ven-a")
        derated = Decision(opt=OptType.OPT_OUT, reason="derated", decided_at=one.clock.now())
        one.gateway.redecide(("ven-a", "event-1"), derated)
        await one.clock.advance(120)
        assert (one.status.state, one.status.answers_owed) == ("cancelled", 0)


async def test_enrolling_from_another_process_is_noticed(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        await one.gateway.cancel_registration("ven-a")
        await one.until(lambda: one.status.state == "cancelled")
        other = VenJournal.open(one.journal_path)
        other.registrations.allow("ven-a")
        other.close()
        await one.until(lambda: one.status.state == "serving", 120)
