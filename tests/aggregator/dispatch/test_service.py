"""Answers, commitments and budgets in one durable step, and their revisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from aggregator.board import NowBoard
from aggregator.dispatch.service import DispatchService
from aggregator.portfolio.commitment import Commitment, State
from aggregator.service import fill_board
from aggregator.storage import audit, dispatches
from aggregator.storage.budgets import IssuedBudget, budgets_of, newest_budget, unacknowledged
from aggregator.storage.sites import keep_capability
from aggregator.storage.store import Store
from aggregator.storage.telemetry import mark_of, store_rows
from grid.audit import AuditEntry
from grid.clock import VirtualClock
from grid.errors import NegawattError
from grid.events import EventStatus, OptType, SignalUnit
from tests.aggregator.conftest import SITES, T0
from tests.aggregator.dispatch.factory import enrolment, event
from tests.aggregator.site_client import capability, meter_frame

START = T0 + timedelta(seconds=20)


class Desk:
    """A dispatch service over a real database."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store, self.clock = store, clock
        self.sent: list[str] = []
        self.board = NowBoard(clock, SITES)
        enrolments = {e.enrolment_id: e for e in (enrolment(), enrolment(("c", "b"), name="q"))}
        self.service = DispatchService(
            enrolments, store, self.board, clock, send=self.sent.append, committed=lambda: None
        )

    async def offers(self, sites: Sequence[str] = ("a", "b", "c")) -> None:
        async with self.store.transaction() as tx:
            for site_id in sites:
                offered = capability(site_id, self.clock.now(), 100.0, (10, 0.1), (20, 0.2))
                await keep_capability(tx.connection, offered, self.clock.now())

    async def meters(self, site_id: str, start: datetime, values: Sequence[float]) -> None:
        async with self.store.transaction() as tx:
            mark = await mark_of(tx.connection, site_id, "spool-1", "meter_1s")
            frame = meter_frame(site_id, 0 if mark is None else mark + 1, start, [*values])
            await store_rows(tx.connection, frame, after=mark)

    async def commitments(self, enrolment_id: str = "p") -> list[Commitment]:
        async with self.store.reading() as connection:
            return await dispatches.commitments_of(connection, enrolment_id, "e1")

    async def budgets(self) -> list[IssuedBudget]:
        async with self.store.reading() as connection:
            return await budgets_of(connection, await dispatches.commitments_of(connection, "p", "e1"))

    async def newest(self, site_id: str) -> IssuedBudget:
        async with self.store.reading() as connection:
            issued = await newest_budget(connection, site_id)
        assert issued is not None
        return issued

    async def actions(self) -> list[str]:
        async with self.store.reading() as connection:
            return [i.action for i in await audit.page(connection, after=-1, until=1000) if isinstance(i, AuditEntry)]


@pytest.fixture
async def desk(store: Store, clock: VirtualClock) -> Desk:
    made = Desk(store, clock)
    await made.offers()
    return made


async def test_an_award_is_one_step_and_the_same_question_has_the_same_answer(desk: Desk) -> None:
    await desk.meters("a", T0 - timedelta(seconds=60), [120.0] * 30 + [122.0] * 30)
    decision = await desk.service.accept(event(START))
    assert (decision.opt, decision.committed_kw, decision.reason) == (OptType.OPT_IN, 30.0, "awarded to 2 sites")
    (commitment,) = await desk.commitments()
    assert [(a.site_id, a.owed_kw, a.baseline_kw) for a in commitment.awards] == [
        ("a", 15.0, 121.0),
        ("b", 15.0, 100.0),
    ]
    a, b = await desk.budgets()
    assert (a.budget.revision, a.purpose, a.baseline_kw - a.owed_kw) == (1, "award", 106.0)
    assert a.budget.intervals[1].limit_kw == 106.0
    async with desk.store.reading() as connection:
        assert await unacknowledged(connection, "b") == b.budget
        assert await unacknowledged(connection, "c") is None
    assert desk.sent == ["a", "b"]
    assert await desk.actions() == [
        "event.received", "commitment.made", "budget.issued", "budget.issued", "event.answered",
    ]  # fmt: skip
    shown = desk.board.snapshot()["event"]
    assert (shown["event_id"], shown["phase"], shown["committed_kw"]) == ("e1", "notice", 30.0)
    assert (shown["requested_kw"], shown["baseline_kw"], shown["baseline_settled"]) == (30.0, 221.0, False)

    await desk.clock.advance(1)
    assert await desk.service.accept(event(START)) == decision
    assert (
        await DispatchService(
            {"p": enrolment()}, desk.store, desk.board, desk.clock, send=desk.sent.append, committed=lambda: None
        ).accept(event(START))
        == decision
    )
    assert len(await desk.commitments()) == 1
    assert len(await desk.budgets()) == 2
    assert len(await desk.actions()) == 5


async def test_what_the_sites_cannot_deliver_is_opted_out_of(desk: Desk) -> None:
    decision = await desk.service.accept(event(START, -60.5))
    assert (decision.opt, decision.committed_kw) == (OptType.OPT_OUT, None)
    assert decision.reason == "60.5 kW asked, 60 kW deliverable"
    assert await desk.commitments() == []
    shown = desk.board.snapshot()["event"]
    assert (shown["requested_kw"], shown["committed_kw"], shown["baseline_kw"]) == (60.5, None, None)
    assert desk.sent == []
    assert await desk.actions() == ["event.received", "event.answered"]


async def test_a_stale_capability_counts_for_nothing_and_is_named(desk: Desk) -> None:
    await desk.clock.advance(31)
    await desk.offers(["a"])
    start = desk.clock.now() + timedelta(seconds=15)
    decision = await desk.service.accept(event(start, -40.0))
    assert decision.reason == "40 kW asked, 30 kW deliverable; no fresh capability from b"
    decision = await desk.service.accept(event(start, -20.0, event_id="e2"))
    assert decision.opt is OptType.OPT_IN
    async with desk.store.reading() as connection:
        (commitment,) = await dispatches.commitments_of(connection, "p", "e2")
    assert [a.site_id for a in commitment.awards] == ["a"]


async def test_a_site_committed_to_another_event_at_that_time_is_not_sold_again(desk: Desk) -> None:
    await desk.service.accept(event(START))
    clash = await desk.service.accept(event(START + timedelta(seconds=120), enrolment_id="q", event_id="f"))
    assert clash.reason == "site b serves dispatch p/e1 at that time"
    after = await desk.service.accept(event(START + timedelta(seconds=130), enrolment_id="q", event_id="later"))
    assert after.opt is OptType.OPT_IN
    plan = (await desk.newest("b")).budget
    assert [i.dispatch_ids[0] for i in plan.intervals] == ["p/e1"] * 3 + ["q/later"] * 3


async def test_a_modification_before_the_start_replaces_the_commitment(desk: Desk) -> None:
    await desk.service.accept(event(START))
    decision = await desk.service.accept(event(START, -20.0, modification_number=1, resource_ids=("res-a",)))
    assert decision.committed_kw == 20.0
    first, second = await desk.commitments()
    assert (first.state, second.state, second.modification_number) == (State.RELEASED, State.AWARDED, 1)
    a, b = await desk.newest("a"), await desk.newest("b")
    assert (a.budget.revision, a.purpose, a.owed_kw) == (2, "modification", 20.0)
    assert (b.budget.revision, b.purpose, b.budget.intervals) == (2, "release", ())
    assert (await desk.service.accept(event(START))).committed_kw == 30.0
    assert len(await desk.commitments()) == 2


async def test_a_modification_of_a_running_event_goes_on_from_where_the_ceiling_is(desk: Desk) -> None:
    await desk.service.accept(event(START))
    await desk.clock.advance(65)
    await desk.offers()
    await desk.service.accept(event(START, -10.0, modification_number=1))
    first, second = await desk.commitments()
    now = desk.clock.now()
    assert (first.state, first.timeline.hold_end) == (State.AWARDED, now)
    assert (second.timeline.start, second.timeline.hold_start) == (START, now + timedelta(seconds=20))
    ramp, hold, _ = (await desk.newest("a")).budget.intervals
    assert (ramp.start, ramp.ramp_from_kw, ramp.limit_kw, hold.limit_kw) == (now, 85.0, 95.0, 95.0)
    moved = await desk.service.accept(event(now + timedelta(seconds=60), -10.0, modification_number=2))
    assert (moved.opt, moved.reason) == (OptType.OPT_OUT, "a running event cannot be moved to later")


async def test_a_cancellation_releases_on_the_ramp_from_now(desk: Desk) -> None:
    await desk.service.accept(event(START))
    await desk.clock.advance(65)
    cancelled = event(START, modification_number=1, status=EventStatus.CANCELLED)
    decision = await desk.service.accept(cancelled)
    assert (decision.opt, decision.reason) == (OptType.OPT_IN, "cancelled, sites are released")
    (commitment,) = await desk.commitments()
    now = desk.clock.now()
    assert (commitment.state, commitment.timeline.hold_end) == (State.AWARDED, now)
    for site_id in ("a", "b"):
        newest = await desk.newest(site_id)
        (back,) = newest.budget.intervals
        assert (newest.purpose, newest.owed_kw) == ("release", 0.0)
        assert (back.start, back.ramp_from_kw, back.limit_kw) == (now, 85.0, 100.0)
        assert (back.end - back.start).total_seconds() == 20
    assert desk.board.snapshot()["event"]["phase"] == "release"
    assert await desk.service.accept(cancelled) == decision
    assert (await desk.newest("a")).budget.revision == 2


async def test_the_release_of_an_event_cancelled_in_its_ramp_is_not_planned_over(desk: Desk) -> None:
    await desk.service.accept(event(START))
    await desk.clock.advance(25)
    await desk.service.accept(event(START, status=EventStatus.CANCELLED))
    released = desk.clock.now() + timedelta(seconds=20)
    assert desk.board.snapshot()["event"]["phase"] == "release"
    assert desk.board.snapshot()["event"]["release_end"] == released.isoformat()
    early = await desk.service.accept(event(released - timedelta(seconds=1), event_id="e2"))
    assert (early.opt, early.reason) == (OptType.OPT_OUT, "site a serves dispatch p/e1 at that time")
    after = await desk.service.accept(event(released, event_id="e3"))
    assert after.opt is OptType.OPT_IN
    plan = (await desk.newest("a")).budget
    assert [i.dispatch_ids[0] for i in plan.intervals] == ["p/e1"] + ["p/e3"] * 3


async def test_the_release_of_a_site_that_a_modification_leaves_out_is_not_planned_over(desk: Desk) -> None:
    await desk.service.accept(event(START))
    await desk.clock.advance(25)
    await desk.service.accept(event(START, -20.0, modification_number=1, resource_ids=("res-a",)))
    now = desk.clock.now()
    early = await desk.service.accept(event(now + timedelta(seconds=10), enrolment_id="q", event_id="f"))
    assert (early.opt, early.reason) == (OptType.OPT_OUT, "site b serves dispatch p/e1 at that time")
    after = await desk.service.accept(event(now + timedelta(seconds=20), enrolment_id="q", event_id="g"))
    assert after.opt is OptType.OPT_IN


async def test_a_cancellation_under_the_same_number_before_the_start_leaves_nothing_owed(desk: Desk) -> None:
    await desk.service.accept(event(START))
    await desk.service.accept(event(START, status=EventStatus.CANCELLED))
    (commitment,) = await desk.commitments()
    assert commitment.state is State.RELEASED
    assert (await desk.newest("a")).budget.intervals == ()
    assert desk.board.snapshot()["event"]["phase"] == "done"
    unheard = await desk.service.accept(event(START, event_id="e9", status=EventStatus.CANCELLED))
    assert unheard.reason == "cancelled, nothing was owed"


async def test_opting_out_of_a_modification_releases_what_was_committed(desk: Desk) -> None:
    await desk.service.accept(event(START))
    decision = await desk.service.accept(event(START, -500.0, modification_number=1))
    assert decision.opt is OptType.OPT_OUT
    (commitment,) = await desk.commitments()
    assert commitment.state is State.RELEASED
    assert (await desk.newest("a")).budget.intervals == ()


async def test_an_event_without_a_request_that_can_be_read_asks_for_nothing_known(desk: Desk) -> None:
    await desk.service.accept(event(START, unit=SignalUnit.LEVEL))
    assert desk.board.snapshot()["event"]["requested_kw"] is None


async def test_a_restart_shows_the_same_event_again(desk: Desk) -> None:
    await desk.service.accept(event(START))
    board = NowBoard(desk.clock, SITES)
    await fill_board(board, desk.store, SITES, {"p": enrolment()})
    assert board.snapshot()["event"] == desk.board.snapshot()["event"]
    await desk.service.accept(event(START, -500.0, event_id="e0"))
    board = NowBoard(desk.clock, SITES)
    await fill_board(board, desk.store, SITES, {})  # the enrolment has left the configuration
    assert board.snapshot()["event"]["requested_kw"] == 30.0


async def test_an_event_of_an_unknown_enrolment_says_what_to_do(desk: Desk) -> None:
    with pytest.raises(NegawattError, match="add it to"):
        await desk.service.accept(event(START, enrolment_id="nobody"))
