"""What a VEN must not lose when it dies between two writes; each was found by ``tests.campaigns.ven_crash``."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from grid.events import EventStatus, OptType
from grid.intervals import Interval
from tests.ven.world import World, world
from ven.errors import VtnUnreachableError
from ven.journal import VenJournal
from ven.simulation.faults import FaultKind
from ven.transport import Transport
from ven.wire.party import CreatePartyRegistration, Response
from ven.wire.payload import Service, decode


class Dying:
    """``Transport`` to a VTN that cannot be reached by one kind of message: the VEN dies before it is out."""

    def __init__(self, inner: Transport, unsent: type[Any]) -> None:
        self._inner = inner
        self._unsent = unsent
        self.kept_back = 0

    async def post(self, service: Service, content: bytes) -> bytes:
        if isinstance(decode(content), self._unsent):
            self.kept_back += 1
            raise VtnUnreachableError("dead before it was sent")
        return await self._inner.post(service, content)


async def kept_back(one: World, unsent: type[Any], seconds: float = 30.0) -> None:
    """Let the VEN come to where it would send ``unsent``, and another take its place there."""
    through = one.transport
    dying = Dying(through, unsent)
    one.transport = dying  # type: ignore[assignment]
    await one.restart()
    await one.until(lambda: dying.kept_back > 0, seconds)
    one.transport = through
    await one.restart()


async def test_a_refused_list_of_events_is_no_empty_list(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: bool(one.vtn.journal.vens()))
        one.call(lead_s=600)
        await one.until(lambda: bool(one.vtn.events.answers("event-1")))
        with one.vtn.journal.transaction():
            (ven,) = one.vtn.journal.vens()
            one.vtn.journal.put_ven(replace(ven, registration_id=None))
        await one.restart()
        await one.until(lambda: one.vtn.journal.vens()[0].registration_id is not None)
        await one.clock.advance(30.0)
        assert [event.status for event in one.sink.accepted] == [EventStatus.FAR]


async def test_a_registration_asked_for_anew_is_made_though_the_ven_dies_before(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"resend_s": 3600.0}) as one:
        await one.until(lambda: bool(one.vtn.journal.vens()))
        with one.vtn.journal.transaction():
            one.vtn.registrations.ask_again(one.vtn.journal.vens()[0])
        await kept_back(one, CreatePartyRegistration)
        await one.until(lambda: len(one.transport.named(CreatePartyRegistration)) == 2)
        assert len(one.transport.named(Response)) == 1


class LastCommit(sqlite3.Connection):
    """Is gone after the next commit of ``deadly``'s."""

    deadly = ""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        done = super().execute(sql, parameters)
        if sql.startswith(self.deadly):
            type(self).armed = True
        if sql == "COMMIT" and self.armed:
            raise RuntimeError("dead after a commit")
        return done

    armed = False


async def test_the_vtn_hears_that_its_cancel_was_taken_though_the_ven_dies_before(tmp_path: Path) -> None:
    class Cancelling(LastCommit):
        deadly = "UPDATE registrations SET cancelled_at"

    async with world(tmp_path, vtn={"resend_s": 3600.0}) as one:
        await one.until(lambda: bool(one.vtn.journal.vens()))
        with one.vtn.journal.transaction():
            one.vtn.registrations.put_out(one.vtn.journal.vens()[0])
        await one.stop()
        journal = VenJournal.open(one.journal_path, Cancelling)
        dying = asyncio.create_task(one.gateway_on(journal).run())
        while not dying.done():
            await one.clock.advance(1.0)
        journal.close()
        assert isinstance(dying.exception(), ExceptionGroup)
        await one.restart()
        await one.until(lambda: one.vtn.journal.vens()[0].registration_id is None)


@pytest.mark.parametrize("ven_ids", ["the same venID", "another venID"])
async def test_an_opt_cancelled_before_we_were_put_out_is_cancelled_when_we_come_back(
    tmp_path: Path, ven_ids: str
) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: bool(one.vtn.journal.vens()))
        tomorrow = Interval.lasting(one.clock.now() + timedelta(days=1), 3600.0)
        opt = one.gateway.opt(one.settings.enrolment_id, OptType.OPT_OUT, [tomorrow])
        await one.until(lambda: bool(one.vtn.opts.all()))
        one.fault(FaultKind.SERVER_ERROR, Service.OPT)
        one.gateway.cancel_opt(one.settings.enrolment_id, opt.opt_id)
        with one.operator():
            one.vtn.registrations.put_out(one.ven)
        await one.until(lambda: one.vtn.journal.vens()[0].registration_id is None)
        one.vtn.faults.clear()
        await one.clock.advance(120.0)
        assert one.status.state == "cancelled"
        if ven_ids == "another venID":
            one.forget()
            one.vtn.settings = one.vtn.settings.model_copy(update={"assigned_ven_ids": {"AA:BB": "new-id"}})
            one.vtn.registrations._settings = one.vtn.settings
        one.gateway.enrol(one.settings.enrolment_id)
        await one.until(lambda: one.status.registered and one.status.answers_owed == 0)
        await one.clock.advance(60.0)
        assert len(one.transport.named(CreatePartyRegistration)) == 2
        assert all(schedule.cancelled_at is not None for schedule in one.vtn.opts.all())
