"""EiOpt, in virtual time: in force at once, sent until the VTN has it, respected by what comes later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from grid.events import Decision, OptType
from grid.intervals import Interval
from tests.ven.world import START, World, world
from ven.config import LateOpt
from ven.errors import VenError
from ven.records import OptState, StoredOpt
from ven.simulation.faults import FaultKind
from ven.wire.common import Period, Target
from ven.wire.event import CreatedEvent
from ven.wire.opt import CancelOpt, CreateOpt
from ven.wire.payload import Service

HOUR = Interval.lasting(START, 3600)
LATER = Interval.lasting(START + timedelta(hours=2), 3600)
DERATED = Decision(opt=OptType.OPT_OUT, reason="derated", decided_at=START)


async def serving(one: World) -> None:
    await one.until(lambda: one.status.state == "serving")


def out(one: World, *periods: Interval, resource_ids: tuple[str, ...] = ()) -> StoredOpt:
    return one.gateway.opt("ven-a", OptType.OPT_OUT, periods or (HOUR,), resource_ids=resource_ids)


def state(one: World, place: int = -1) -> OptState:
    return one.gateway.opts("ven-a")[place].state


def in_force(one: World) -> list[tuple[str, ...]]:
    """The resources of each event in force."""
    return [event.resource_ids for event in one.watcher.told[-1][1]]


async def test_an_opt_out_goes_to_the_vtn_at_once_and_whole(tmp_path: Path) -> None:
    async with world(tmp_path, market_contexts=("urn:programme:test",)) as one:
        await serving(one)
        made = out(one, HOUR, LATER, resource_ids=("site-1",))
        assert made.state is OptState.OWED
        await one.clock.advance(0)
        (schedule,) = one.vtn.opts.all()
        message = schedule.message
        assert (message.opt_id, message.opt, message.reason) == (made.opt_id, OptType.OPT_OUT, "x-schedule")
        assert message.availability == tuple(Period(start=one.start, duration_s=3600) for one in (HOUR, LATER))
        assert (message.event, message.target) == (None, Target(resource_ids=("site-1",)))
        assert (message.market_context, message.ven_id) == ("urn:programme:test", one.ven_id)
        assert (state(one), one.status.answers_owed) == (OptState.HELD, 0)


async def test_what_cannot_be_opted_out_is_said(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.stop()
        (tmp_path / "ven.sqlite").unlink()
        one.transport.down = True
        await one.restart()
        with pytest.raises(VenError, match="is not registered"):
            out(one)
        one.transport.down = False
        await serving(one)
        with pytest.raises(VenError, match="no resource nobody"):
            out(one, resource_ids=("site-1", "nobody"))
        with pytest.raises(VenError, match="at least one stretch"):
            one.gateway.opt("ven-a", OptType.OPT_OUT, ())
        with pytest.raises(VenError, match="no VEN nobody"):
            one.gateway.opt("nobody", OptType.OPT_OUT, (HOUR,))
        with pytest.raises(VenError, match="no opt o in force"):
            one.gateway.cancel_opt("ven-a", "o")
        await one.gateway.cancel_registration("ven-a")
        with pytest.raises(VenError, match="is not registered"):
            out(one)


async def test_an_opt_is_sent_until_the_vtn_has_it_over_restarts(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.fault(FaultKind.SERVER_ERROR, Service.OPT)
        made = out(one)
        await one.clock.advance(60)
        assert state(one) is OptState.OWED
        assert (one.status.state, one.status.answers_owed) == ("serving", 1)
        await one.restart()
        await one.clock.advance(60)
        one.vtn.faults.clear()
        await one.until(lambda: state(one) is OptState.HELD)
        sent = one.transport.named(CreateOpt)
        assert len(sent) > 5
        assert {message.request_id for message in sent} == {sent[0].request_id}
        assert [schedule.message.opt_id for schedule in one.vtn.opts.all()] == [made.opt_id]


async def test_later_events_respect_it_before_the_vtn_has_it_and_after_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.fault(FaultKind.SERVER_ERROR, Service.OPT)
        out(one, HOUR)
        out(one, LATER, resource_ids=("site-1",))
        await one.restart()
        one.call("within", lead_s=600)
        one.call("partly", start=LATER.start.isoformat())
        one.call("after", start=LATER.end.isoformat())
        await one.until(lambda: all(one.answers(event_id) for event_id in ("within", "partly", "after")))
        assert one.answers("within") == [(0, "optOut", 200)]
        assert one.answers("partly") == one.answers("after") == [(0, "optIn", 200)]
        assert {event.event_id: event.resource_ids for event in one.sink.accepted} == {
            "partly": ("site-2",),
            "after": (),
        }


async def test_an_event_that_ends_where_the_opt_begins_is_not_touched(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        out(one, LATER)
        one.call("before", start=(LATER.start - timedelta(seconds=600)).isoformat())
        one.call("open", lead_s=3600, duration_s=0.0)
        await one.until(lambda: bool(one.answers("before")) and bool(one.answers("open")))
        assert one.answers("before") == [(0, "optIn", 200)]
        assert one.answers("open") == [(0, "optOut", 200)]


async def test_an_opt_in_takes_nothing_away(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.gateway.opt("ven-a", OptType.OPT_IN, (HOUR,))
        one.call()
        await one.until(lambda: bool(one.answers()))
        assert one.answers() == [(0, "optIn", 200)]


async def test_a_cancelled_opt_counts_no_more(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        made = out(one)
        await one.clock.advance(0)
        one.gateway.cancel_opt("ven-a", made.opt_id)
        assert state(one) is OptState.CANCELLED
        with pytest.raises(VenError, match="in force"):
            one.gateway.cancel_opt("ven-a", made.opt_id)
        await one.clock.advance(0)
        (schedule,) = one.vtn.opts.all()
        assert schedule.cancelled_at is not None
        one.call()
        await one.until(lambda: bool(one.answers()))
        assert one.answers() == [(0, "optIn", 200)]
        assert state(one) is OptState.CANCELLED


async def test_an_opt_cancelled_before_the_vtn_had_it_is_cancelled_there_too(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.fault(FaultKind.LOSE_REPLY, Service.OPT, times=1)
        made = out(one)
        await one.clock.advance(0.1)
        one.gateway.cancel_opt("ven-a", made.opt_id)
        await one.until(lambda: one.status.answers_owed == 0)
        (schedule,) = one.vtn.opts.all()
        assert schedule.cancelled_at is not None
        one.fault(FaultKind.SERVER_ERROR, Service.OPT, times=1)
        never_there = out(one)
        await one.clock.advance(0.1)
        one.gateway.cancel_opt("ven-a", never_there.opt_id)
        await one.until(lambda: one.status.answers_owed == 0)
        assert len(one.vtn.opts.all()) == 1
        assert len(one.transport.named(CancelOpt)) == 2
        assert state(one) is OptState.CANCELLED


async def test_an_opt_that_the_vtn_refuses_holds_for_us_and_is_not_repeated(tmp_path: Path) -> None:
    contexts = ("urn:programme:test",)
    async with world(tmp_path, vtn={"market_contexts": ("urn:other",)}, market_contexts=contexts) as one:
        await serving(one)
        out(one)
        await one.clock.advance(120)
        assert (state(one), len(one.transport.named(CreateOpt))) == (OptState.REFUSED, 1)
        one.call()
        await one.until(lambda: bool(one.answers()))
        assert one.answers() == [(0, "optOut", 200)]


async def test_an_opt_out_ends_what_runs_and_a_cancel_takes_it_up_again(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.call(lead_s=60)
        await one.until(lambda: bool(one.answers()))
        await one.clock.advance(120)
        assert in_force(one) == [("site-1", "site-2")]
        now = one.clock.now()
        first = out(one, resource_ids=("site-2",))
        await one.clock.advance(0)
        assert (one.watcher.told[-1][0], in_force(one)) == (
            now,
            [("site-1",)],
        )
        second = out(one)
        await one.clock.advance(0)
        assert (one.watcher.told[-1][0], in_force(one)) == (now, [])
        one.gateway.cancel_opt("ven-a", second.opt_id)
        one.gateway.cancel_opt("ven-a", first.opt_id)
        await one.clock.advance(0)
        assert in_force(one) == [("site-1", "site-2")]


async def test_opts_that_a_vtn_with_no_memory_lost_are_made_there_again(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        made = out(one)
        gone = out(one, Interval.lasting(START, 30))
        await one.clock.advance(60)
        assert state(one) is OptState.HELD
        one.forget()
        await one.until(lambda: bool(one.vtn.journal.vens()) and one.status.state == "serving", 200)
        await one.until(lambda: bool(one.vtn.opts.all()), 30)
        assert [schedule.message.opt_id for schedule in one.vtn.opts.all()] == [made.opt_id]
        assert gone.opt_id != made.opt_id
        assert state(one, 0) is OptState.HELD


async def test_opts_made_before_we_left_are_made_again_when_we_come_back(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.fault(FaultKind.SERVER_ERROR, Service.OPT)
        made = out(one)
        await one.clock.advance(5)
        await one.gateway.cancel_registration("ven-a")
        await one.until(lambda: one.status.state == "cancelled")
        one.vtn.faults.clear()
        one.gateway.enrol("ven-a")
        await one.until(lambda: bool(one.vtn.opts.all()), 30)
        assert [schedule.message.opt_id for schedule in one.vtn.opts.all()] == [made.opt_id]
        assert state(one) is OptState.HELD


# --- an opt that changed after its event was answered


async def test_a_late_opt_goes_out_as_create_opt_where_the_vtn_wants_that(tmp_path: Path) -> None:
    async with world(tmp_path, late_opt=LateOpt.CREATE_OPT) as one:
        await serving(one)
        one.call()
        await one.until(lambda: bool(one.answers()))
        one.gateway.redecide(("ven-a", "event-1"), DERATED)
        await one.clock.advance(0)
        (schedule,) = one.vtn.opts.all()
        message = schedule.message
        assert message.event is not None
        assert (message.event.event_id, message.event.modification_number) == ("event-1", 0)
        assert (message.opt, message.reason, message.availability) == (OptType.OPT_OUT, "overrideStatus", None)
        assert one.answers() == [(0, "optIn", 200)]
        one.gateway.redecide(("ven-a", "event-1"), DERATED)
        await one.clock.advance(30)
        assert len(one.transport.named(CreateOpt)) == 1
        one.call("other")
        await one.until(lambda: bool(one.answers("other")))
        assert one.answers("other") == [(0, "optIn", 200)]


async def test_before_the_first_answer_arrived_a_changed_opt_takes_its_place(tmp_path: Path) -> None:
    async with world(tmp_path, late_opt=LateOpt.CREATE_OPT) as one:
        await serving(one)
        one.fault(FaultKind.SERVER_ERROR, Service.EVENT)
        one.call()
        await one.until(lambda: bool(one.transport.named(CreatedEvent)))
        one.gateway.redecide(("ven-a", "event-1"), DERATED)
        one.vtn.faults.clear()
        await one.until(lambda: bool(one.answers()))
        assert (one.answers(), one.vtn.opts.all()) == ([(0, "optOut", 200)], [])


async def test_a_late_opt_outlives_the_process(tmp_path: Path) -> None:
    async with world(tmp_path, late_opt=LateOpt.CREATE_OPT) as one:
        await serving(one)
        one.call()
        await one.until(lambda: bool(one.answers()))
        one.fault(FaultKind.SERVER_ERROR, Service.OPT)
        one.gateway.redecide(("ven-a", "event-1"), DERATED)
        await one.clock.advance(5)
        await one.restart()
        one.vtn.faults.clear()
        await one.until(lambda: bool(one.vtn.opts.all()))
        assert len({message.request_id for message in one.transport.named(CreateOpt)}) == 1
