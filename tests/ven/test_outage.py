"""A VTN that is gone for a day, in virtual time: nothing is lost, nothing comes twice, and what was agreed runs on."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from grid.events import EventStatus, OptType
from grid.intervals import Interval, floor_to
from tests.ven.world import World, world
from ven.journal import VenJournal
from ven.records import Lane, OptState
from ven.simulation.records import RequestState
from ven.wire.report import UpdateReport

STEP_S = 60
HOUR_S = 3600.0
DAY_H = 24


async def hours(one: World, count: int) -> None:
    """Let hours pass."""
    for _ in range(count):
        await one.clock.advance(HOUR_S)


def running(one: World, event_id: str) -> list[datetime]:
    """When an event came into force and went out of it, as the host was told."""
    edges, before = [], False
    for at, events in one.watcher.told:
        now = any(event.event_id == event_id for event in events)
        if now is not before:
            edges.append(at)
        before = now
    return edges


async def test_a_day_without_the_vtn_ends_with_every_interval_delivered_once_and_both_sides_agreed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, vtn={"report_interval_s": STEP_S}, report_granularity_min_s=STEP_S) as one:
        await one.until(lambda: bool(one.vtn.reports.all_requests()))
        one.call("early", lead_s=2 * HOUR_S, duration_s=HOUR_S)
        one.call("across", lead_s=23 * HOUR_S, duration_s=3 * HOUR_S)
        one.call("cancelled", lead_s=30 * HOUR_S)
        one.call("long cancelled", lead_s=30 * HOUR_S)
        await one.until(lambda: len(one.sink.accepted) == 4)
        await one.until(lambda: bool(one.transport.named(UpdateReport)), 3 * STEP_S)
        gone_at = one.clock.now()
        starts = {event.event_id: event.start for event in one.sink.accepted}

        one.transport.down = True
        await hours(one, 10)
        tomorrow = Interval.lasting(one.clock.now() + timedelta(days=2), HOUR_S)
        opt = one.gateway.opt(one.settings.enrolment_id, OptType.OPT_OUT, [tomorrow])
        one.modify("across", priority=1)
        one.cancel("long cancelled")
        one.call("unheard", lead_s=40 * HOUR_S)
        await hours(one, 9)
        await one.restart()
        await hours(one, 5)
        one.cancel("cancelled")
        await one.clock.advance(HOUR_S / 2)
        assert running(one, "early") == [starts["early"], starts["early"] + timedelta(hours=1)]
        assert running(one, "across") == [starts["across"]]
        assert {one_event.event_id for one_event in one.sink.accepted} == set(starts)

        one.transport.down = False
        back_at = one.clock.now()
        await one.until(lambda: bool(one.answers("unheard")) and one.status.reports_owed == 0, 300.0)
        await one.until(lambda: bool(one.vtn.opts.all()))
        await hours(one, 3)

        _each_interval_once(one, back_at)
        _both_agree(one, opt.opt_id)
        assert running(one, "across") == [starts["across"], starts["across"] + timedelta(hours=3)]
        asked = [
            (event.event_id, event.modification_number, event.status is EventStatus.CANCELLED)
            for event in one.sink.accepted
        ]
        assert len(asked) == len(set(asked))
        assert gone_at < one.vtn.opts.all()[0].received_at


def _each_interval_once(one: World, until: datetime) -> None:
    (record,) = one.vtn.reports.all_requests()
    assert record.state is RequestState.PENDING
    held = one.vtn.journal.intervals(one.ven_id)
    assert sum(interval.duplicates + interval.conflicts for interval in held) == 0
    for rid in record.request.rids:
        starts = [interval.start for interval in held if interval.rid == rid]
        assert starts == [starts[0] + timedelta(seconds=STEP_S * k) for k in range(len(starts))]
        assert len(starts) > DAY_H * HOUR_S / STEP_S
        assert starts[-1] >= floor_to(until, STEP_S)
    sent = [report.start for message in one.transport.named(UpdateReport) for report in message.reports]
    assert sent == sorted(sent)
    assert len(sent) == len(set(sent))


def _both_agree(one: World, opt_id: str) -> None:
    key = one.settings.enrolment_id
    journal = VenJournal.open(one.journal_path)
    try:
        ours = {held.event.event_id: held for held in journal.events.all(key)}
        assert journal.outbox.count(key, Lane.ANSWERS) == 0
        assert [(held.opt_id, held.state) for held in journal.opts.all(key)] == [(opt_id, OptState.HELD)]
        assert journal.registrations.of(key) is not None
    finally:
        journal.close()
    assert [schedule.message.opt_id for schedule in one.vtn.opts.all()] == [opt_id]
    # The VTN tells of a cancelled event for an hour only; the other is cancelled by omission (rule 61).
    cancelled = {event_id for event_id, held in ours.items() if held.event.status is EventStatus.CANCELLED}
    assert cancelled == {"cancelled", "long cancelled"}
    for called in one.vtn.events.all():
        event_id, number = called.event.event_id, called.event.modification_number
        if event_id == "long cancelled":
            continue
        held = ours[event_id]
        assert held.event.modification_number == number
        assert held.decision is not None
        assert one.answers(event_id)[-1] == (number, held.decision.opt.value, 200)
        assert held.answered is held.decision.opt
