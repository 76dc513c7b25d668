"""The gateway in virtual time against a scripted VTN: outages, refusals, slow sinks, odd requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from grid.clock import VirtualClock
from grid.events import Decision, EventStatus, GridEvent, OptType
from grid.intervals import Interval, ceil_to
from tests.ven.conftest import CLOCK, DecidingSink, Pki, RecordingObserver, SteadySource, ven_settings
from tests.ven.scripted import (
    REGISTERED,
    VEN_ID,
    Answer,
    Received,
    ScriptedVtn,
    asking,
    distributing,
    fine,
    in_turn,
    ok,
    registered,
    report_request,
    wire_event,
)
from ven.config import VenSettings
from ven.errors import VenError, VtnError, VtnRefusedError, VtnUnreachableError
from ven.ports import EventSink
from ven.service import VenGateway
from ven.wire.common import EiResponse, Period, Target
from ven.wire.event import CreatedEvent, RequestEvent
from ven.wire.party import CreatePartyRegistration, Poll, QueryRegistration, RequestReregistration, Response
from ven.wire.payload import Message
from ven.wire.report import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    ReportRequest,
    UpdatedReport,
    UpdateReport,
)

KEY = "ven-a"


class Stage:
    """One VEN, its scripted VTN, and time that moves when told to."""

    def __init__(self, pki: Pki, journal: Path) -> None:
        self.clock = VirtualClock(ceil_to(CLOCK.now(), 10))
        self.vtn = ScriptedVtn(pki.vtn(), self.clock)
        self.sink: EventSink = DecidingSink()
        self.source = SteadySource({"site-1": 100.0, "site-2": 50.0})
        self.observer = RecordingObserver()
        self.settings = ven_settings(pki.ven(KEY), "https://127.0.0.1/OpenADR2/Simple/2.0b", report_lateness_s=30.0)
        self.journal = journal
        self.task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self, *others: VenSettings) -> AsyncIterator[VenGateway]:
        """A gateway of this process; leaving it is the process's death."""
        settings: Sequence[VenSettings] = [self.settings, *others]
        gateway = VenGateway(
            settings, self.journal, self.sink, self.source, self.observer, self.clock, connect=self.vtn.connect
        )
        self.task = asyncio.create_task(gateway.run())
        try:
            await self.clock.advance(0)
            yield gateway
        finally:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def poll_with(self, *answers: Answer) -> None:
        """Answer the next polls so; then nothing more."""
        self.vtn.answers[Poll] = in_turn(answers)

    def opts(self) -> list[tuple[str, int, str, int, str]]:
        """What was answered: event, modification, opt, code, requestID."""
        return [
            (one.event_id, one.modification_number, one.opt.value, one.code, one.request_id)
            for message in self.vtn.named(CreatedEvent)
            for one in message.responses
        ]


@pytest.fixture
def stage(pki: Pki, tmp_path: Path) -> Stage:
    return Stage(pki, tmp_path / "ven.sqlite")


def unreachable(_: object) -> Message:
    raise VtnUnreachableError("gone")


def failing(code: int) -> Answer:
    def answer(_: object) -> Message:
        raise VtnError(code, "scripted")

    return answer


def answering(code: int) -> Answer:
    return lambda _: Response(response=EiResponse(code=code, description="scripted", request_id="r"), ven_id=VEN_ID)


# --- the session


async def test_it_registers_offers_asks_for_events_and_polls_no_faster_than_told(stage: Stage) -> None:
    async with stage.running() as gateway:
        await stage.clock.advance(5.5)
        (status,) = gateway.status()
    kinds = stage.vtn.kinds()
    assert kinds[:5] == [QueryRegistration, CreatePartyRegistration, RegisterReport, RequestEvent, Poll]
    assert kinds[5:] == [Poll] * 5
    assert (status.registered, status.ven_id, status.vtn_id, status.stale) == (True, "ven-1", "utility", False)
    assert status.last_poll == stage.observer.polls[-1]


async def test_a_restart_uses_the_registration_it_has(stage: Stage) -> None:
    async with stage.running():
        await stage.clock.advance(1)
    stage.vtn.received.clear()
    async with stage.running():
        await stage.clock.advance(1)
    assert set(stage.vtn.kinds()) == {RequestEvent, Poll}
    assert stage.observer.registrations == ["ven-1"]


async def test_an_outage_is_waited_out_and_every_event_asked_for_again(stage: Stage) -> None:
    async with stage.running() as gateway:
        await stage.clock.advance(2)
        stage.vtn.answers[Poll] = unreachable
        await stage.clock.advance(600)
        (status,) = gateway.status()
        assert (status.registered, status.stale, status.why) == (True, True, "gone")
        tries = len(stage.vtn.named(Poll))
        assert 10 < tries < 40
        stage.vtn.answers.clear()
        stage.vtn.received.clear()
        await stage.clock.advance(61)
        (status,) = gateway.status()
    assert not status.stale
    assert stage.vtn.kinds()[0] is RequestEvent
    assert stage.observer.failures == ["gone"]


async def test_a_vtn_that_is_down_at_the_start_is_waited_for(stage: Stage) -> None:
    stage.vtn.answers[CreatePartyRegistration] = unreachable
    async with stage.running() as gateway:
        await stage.clock.advance(300)
        assert not gateway.status()[0].registered
        stage.vtn.answers.clear()
        await stage.clock.advance(61)
        assert gateway.status()[0].registered


async def test_asked_to_register_again_it_tries_what_it_has_and_then_anew(stage: Stage) -> None:
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(lambda _: RequestReregistration(ven_id=VEN_ID))
        stage.vtn.answers[CreatePartyRegistration] = lambda message: (
            answering(452)(message) if message.registration_id else registered(message)
        )
        stage.vtn.received.clear()
        await stage.clock.advance(5)
    first, second = stage.vtn.named(CreatePartyRegistration)
    assert (first.ven_id, first.registration_id) == ("ven-1", "registration-1")
    assert (second.ven_id, second.registration_id) == (None, None)
    assert stage.vtn.kinds()[:3] == [Poll, Response, CreatePartyRegistration]
    assert len(stage.vtn.named(RegisterReport)) == 1


@pytest.mark.parametrize(
    "refusing",
    [
        lambda _: replace(REGISTERED, registration_id=None, ven_id=None),
        answering(463),
        answering(451),
    ],
)
async def test_a_vtn_that_never_takes_us_ends_the_gateway_with_what_to_do(stage: Stage, refusing: Answer) -> None:
    stage.vtn.answers[CreatePartyRegistration] = refusing
    async with stage.running():
        await stage.clock.advance(10)
        assert stage.task is not None
        assert stage.task.done()
        with pytest.raises(BaseExceptionGroup) as caught:
            await stage.task
    assert caught.group_contains(VtnRefusedError, match="have the utility accept the certificate with fingerprint")


async def test_a_refused_ven_does_not_stop_the_others(stage: Stage, pki: Pki) -> None:
    other = stage.settings.model_copy(update={"enrolment_id": "ven-b", "ven_name": "ven-b"})
    refuse = answering(463)
    stage.vtn.answers[CreatePartyRegistration] = lambda message: (
        refuse(message) if message.ven_name == "ven-b" else registered(message)
    )
    async with stage.running(other) as gateway:
        await stage.clock.advance(60)
        first, second = gateway.status()
    assert (first.registered, first.stale) == (True, False)
    assert (second.registered, second.stale) == (False, True)


async def test_the_wrong_vtn_is_refused(stage: Stage) -> None:
    stage.settings = stage.settings.model_copy(update={"vtn_id": "another"})
    async with stage.running():
        await stage.clock.advance(10)
        assert stage.task is not None
        with pytest.raises(BaseExceptionGroup) as caught:
            await stage.task
    assert caught.group_contains(VtnRefusedError, match="calls itself utility, not another")


# --- events


def start_of(stage: Stage) -> datetime:
    return ceil_to(stage.clock.now() + timedelta(seconds=15), 10)


async def test_an_event_is_decided_and_answered_before_the_next_poll(stage: Stage) -> None:
    async with stage.running():
        await stage.clock.advance(1)
        stage.vtn.received.clear()
        stage.poll_with(distributing(wire_event("e", start_of(stage)), request_id="q-7"))
        await stage.clock.advance(1)
    assert stage.vtn.kinds() == [Poll, CreatedEvent]
    assert stage.opts() == [("e", 0, "optIn", 200, "q-7")]
    assert stage.observer.opts == [("e", 0, OptType.OPT_IN)]


async def test_each_event_of_a_message_has_its_own_code(stage: Stage) -> None:
    start = start_of(stage)
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(
            distributing(
                wire_event("good", start),
                wire_event("elsewhere", start, target=Target(ven_ids=("ven-2",))),
                wire_event("garbled", start, signals=()),
                wire_event("quiet", start, response_required=False),
                wire_event("over", start, status=EventStatus.CANCELLED),
            )
        )
        await stage.clock.advance(2)
    assert isinstance(stage.sink, DecidingSink)
    assert [event.event_id for event in stage.sink.accepted] == ["good", "quiet"]
    assert sorted(stage.opts()) == [
        ("elsewhere", 0, "optOut", 462, "q-1"),
        ("garbled", 0, "optOut", 454, "q-1"),
        ("good", 0, "optIn", 200, "q-1"),
        ("over", 0, "optOut", 200, "q-1"),
    ]


async def test_modifications_higher_same_and_stale(stage: Stage) -> None:
    start = start_of(stage)
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(
            distributing(wire_event("e", start, modification_number=1), request_id="q-1"),
            distributing(wire_event("e", start, modification_number=1), request_id="q-2"),
            distributing(wire_event("e", start, modification_number=0), request_id="q-3"),
            distributing(wire_event("e", start, modification_number=2, status=EventStatus.CANCELLED), request_id="q-4"),
        )
        await stage.clock.advance(5)
    assert isinstance(stage.sink, DecidingSink)
    assert [(e.modification_number, e.status) for e in stage.sink.accepted] == [(1, "far"), (2, "cancelled")]
    assert stage.opts() == [
        ("e", 1, "optIn", 200, "q-1"),
        ("e", 1, "optIn", 200, "q-2"),
        ("e", 0, "optOut", 450, "q-3"),
        ("e", 2, "optIn", 200, "q-4"),
    ]


async def test_an_answer_the_vtn_did_not_take_is_sent_again_and_holds_up_nothing(stage: Stage) -> None:
    async with stage.running() as gateway:
        await stage.clock.advance(1)
        stage.vtn.answers[CreatedEvent] = failing(500)
        stage.poll_with(distributing(wire_event("e", start_of(stage))))
        polls = len(stage.observer.polls)
        await stage.clock.advance(10)
        assert len(stage.observer.polls) >= polls + 9
        assert gateway.status()[0].answers_owed == 1
        stage.vtn.answers[CreatedEvent] = fine
        await stage.clock.advance(20)
        assert gateway.status()[0].answers_owed == 0
    assert stage.observer.opts == [("e", 0, OptType.OPT_IN)]


async def test_an_answer_the_vtn_refuses_for_good_is_not_repeated(stage: Stage) -> None:
    async with stage.running() as gateway:
        await stage.clock.advance(1)
        stage.vtn.answers[CreatedEvent] = answering(452)
        stage.poll_with(distributing(wire_event("e", start_of(stage))))
        await stage.clock.advance(60)
        assert gateway.status()[0].answers_owed == 0
    assert len(stage.opts()) == 1
    assert stage.observer.opts == []


class SlowSink:
    """Takes its time, or fails."""

    def __init__(self, clock: VirtualClock, seconds: float, *, fails: bool = False) -> None:
        self._clock = clock
        self._seconds = seconds
        self._fails = fails
        self.asked = 0

    async def accept(self, event: GridEvent) -> Decision:
        self.asked += 1
        await self._clock.sleep(self._seconds)
        if self._fails:
            raise RuntimeError("no idea")
        return Decision(opt=OptType.OPT_IN, reason="late", decided_at=self._clock.now())


async def test_without_a_decision_in_time_the_default_goes_out_and_the_decision_follows(stage: Stage) -> None:
    stage.sink = SlowSink(stage.clock, 5)
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(distributing(wire_event("e", start_of(stage)), request_id="q-7"))
        await stage.clock.advance(3.5)
        assert stage.opts() == [("e", 0, "optOut", 200, "q-7")]
        await stage.clock.advance(3)
    assert stage.opts() == [("e", 0, "optOut", 200, "q-7"), ("e", 0, "optIn", 200, "q-7")]


async def test_a_sink_that_fails_gets_the_default_opt_and_is_asked_again_after_a_restart(stage: Stage) -> None:
    failing_sink = SlowSink(stage.clock, 0, fails=True)
    stage.sink = failing_sink
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(distributing(wire_event("e", start_of(stage))))
        await stage.clock.advance(2)
        assert [opt for _, _, opt, _, _ in stage.opts()] == ["optOut"]
    stage.sink = DecidingSink()
    async with stage.running():
        await stage.clock.advance(2)
    assert len(stage.sink.accepted) == 1
    assert [opt for _, _, opt, _, _ in stage.opts()] == ["optOut", "optIn"]


async def test_a_changed_decision_goes_out_at_once(stage: Stage) -> None:
    async with stage.running() as gateway:
        await stage.clock.advance(1)
        stage.poll_with(distributing(wire_event("e", start_of(stage))))
        await stage.clock.advance(1.1)
        assert len(stage.opts()) == 1
        changed = Decision(opt=OptType.OPT_OUT, reason="derated", decided_at=stage.clock.now())
        gateway.redecide((KEY, "e"), changed)
        await stage.clock.advance(0.01)
        assert [opt for _, _, opt, _, _ in stage.opts()] == ["optIn", "optOut"]
        gateway.redecide((KEY, "e"), replace(changed, reason="still"))
        await stage.clock.advance(5)
        assert len(stage.opts()) == 2
        for key in ((KEY, "unknown"), ("nobody", "e")):
            with pytest.raises(VenError):
                gateway.redecide(key, changed)


class DyingSink(DecidingSink):
    """The process dies while this one decides: before it could, or after it did."""

    def __init__(self, *, decided: bool) -> None:
        super().__init__()
        self._decided = decided

    async def accept(self, event: GridEvent) -> Decision:
        if self._decided:
            self.accepted.append(event)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize("offered_again", [False, True])
async def test_killed_before_the_decision_is_journalled(stage: Stage, decided: bool, offered_again: bool) -> None:
    stage.sink = DyingSink(decided=decided)
    offer = distributing(wire_event("e", start_of(stage)))
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(offer)
        await stage.clock.advance(1.5)
    assert stage.opts() == []
    if offered_again:
        stage.vtn.answers[RequestEvent] = offer
    stage.sink = DecidingSink()
    async with stage.running():
        await stage.clock.advance(5)
    assert len(stage.sink.accepted) == 1
    assert stage.opts() == [("e", 0, "optIn", 200, "q-1")]


@pytest.mark.parametrize("offered_again", [False, True])
async def test_killed_between_journal_and_answer(stage: Stage, offered_again: bool) -> None:
    offer = distributing(wire_event("e", start_of(stage)))
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(offer)
        stage.vtn.answers[CreatedEvent] = unreachable
        await stage.clock.advance(1.2)
    assert len(stage.opts()) == 1
    stage.vtn.received.clear()
    del stage.vtn.answers[CreatedEvent]
    if offered_again:
        stage.vtn.answers[RequestEvent] = offer
    stage.sink = DecidingSink()
    async with stage.running():
        await stage.clock.advance(5)
    assert stage.sink.accepted == []
    assert stage.opts() == [("e", 0, "optIn", 200, "q-1")]


# --- reports


def points(message: UpdateReport) -> list[tuple[str, datetime, float]]:
    """(rID, start, kW)."""
    found = []
    for interval in message.reports[0].intervals:
        assert interval.start is not None
        for payload in interval.payloads:
            assert isinstance(payload.value, float)
            found.append((payload.rid, interval.start, payload.value))
    return found


def updates(stage: Stage) -> list[tuple[Received, list[tuple[str, datetime, float]]]]:
    """Every update with its points."""
    return [(one, points(one.message)) for one in stage.vtn.received if isinstance(one.message, UpdateReport)]


async def test_reports_lie_on_whole_boundaries_from_the_first_on(stage: Stage) -> None:
    begin = stage.clock.now()
    await stage.clock.advance(3.7)
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    async with stage.running():
        await stage.clock.advance(40)
    (created,) = stage.vtn.named(CreatedReport)
    assert created.pending == ("q",)
    assert [found for _, found in updates(stage)] == [
        [("site-1-kw", start, 100.0), ("site-2-kw", start, 50.0)]
        for start in (begin + timedelta(seconds=s) for s in (10, 20, 30))
    ]
    assert [interval for interval, _ in stage.observer.reports] == [
        Interval.lasting(begin + timedelta(seconds=s), 10) for s in (10, 20, 30)
    ]


async def test_a_reading_that_never_comes_is_absent_and_not_waited_for(stage: Stage) -> None:
    begin = stage.clock.now()
    first, second = begin, begin + timedelta(seconds=10)
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    stage.source.missing |= {("site-1", first), ("site-1", second), ("site-2", second)}
    async with stage.running():
        await stage.clock.advance(31)
    assert [found for _, found in updates(stage)] == [
        [("site-2-kw", first, 50.0)],
        [("site-1-kw", begin + timedelta(seconds=20), 100.0), ("site-2-kw", begin + timedelta(seconds=20), 50.0)],
    ]


async def test_a_pending_reading_is_waited_for_and_then_absent(stage: Stage) -> None:
    begin = stage.clock.now()
    first, second, third = (begin + timedelta(seconds=s) for s in (0, 10, 20))
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    stage.source.pending |= {("site-1", first), ("site-1", second), ("site-2", second), ("site-1", third)}
    async with stage.running():
        await stage.clock.advance(39)
        assert updates(stage) == []
        await stage.clock.advance(2)
        assert [found for _, found in updates(stage)] == [[("site-2-kw", first, 50.0)]]
        await stage.clock.advance(10)
        assert len(updates(stage)) == 1
        stage.source.pending.clear()
        await stage.clock.advance(1)
    _, *later = [found for _, found in updates(stage)]
    assert later[0] == [("site-1-kw", third, 100.0), ("site-2-kw", third, 50.0)]


async def test_an_update_is_repeated_byte_for_byte_across_a_restart(stage: Stage) -> None:
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    stage.vtn.answers[UpdateReport] = unreachable
    async with stage.running() as gateway:
        await stage.clock.advance(35)
        assert gateway.status()[0].reports_owed == 3
    stage.source.from_then_on["site-1"] = (stage.clock.now() - timedelta(hours=1), 1.0)
    del stage.vtn.answers[UpdateReport]
    async with stage.running() as gateway:
        await stage.clock.advance(1)
        assert gateway.status()[0].reports_owed == 0
    sent = [message.signed_object for message, _ in updates(stage)]
    assert len(set(sent)) == 3
    assert len(sent) > 3
    *tries, second, third = sent
    assert set(tries) == {tries[0]}
    starts = [found[0][1] for _, found in updates(stage)]
    assert starts == sorted(starts)
    assert len({second, third, tries[0]}) == 3


async def test_data_of_an_outage_is_delivered_later_oldest_first(stage: Stage) -> None:
    begin = stage.clock.now()
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    async with stage.running():
        await stage.clock.advance(15)
    await stage.clock.advance(300)
    async with stage.running():
        await stage.clock.advance(1)
    assert [found[0][1] for _, found in updates(stage)] == [begin + timedelta(seconds=10 * k) for k in range(31)]


async def test_data_the_vtn_refuses_does_not_block_what_follows(stage: Stage) -> None:
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    stage.vtn.answers[UpdateReport] = answering(452)
    async with stage.running() as gateway:
        await stage.clock.advance(25)
        assert gateway.status()[0].reports_owed == 0
    assert len(updates(stage)) == 2
    assert stage.observer.reports == []


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (report_request("q", rids=("site-1-kw", "nobody")), "no rID nobody"),
        (report_request("q", specifier_id="other"), "no report other"),
        (report_request("q", granularity_s=7200), "granularity"),
    ],
)
async def test_what_cannot_be_served_is_refused(stage: Stage, asked: ReportRequest, why: str) -> None:
    stage.vtn.answers[RegisterReport] = asking(asked, report_request("fine"))
    async with stage.running():
        await stage.clock.advance(11)
    (created,) = stage.vtn.named(CreatedReport)
    assert created.response.code == 461
    assert why in created.response.description
    assert created.pending == ("fine",)
    assert len(updates(stage)) == 1


async def test_a_request_by_poll_is_served_beside_the_first_and_cancelled_alone(stage: Stage) -> None:
    stage.vtn.answers[RegisterReport] = asking(report_request("ten"))
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(
            lambda _: CreateReport(
                request_id="q-1", requests=(report_request("five", granularity_s=5, rids=("site-2-kw",)),)
            )
        )
        await stage.clock.advance(19.5)
        _, second = stage.vtn.named(CreatedReport)
        assert second.response.request_id == "q-1"
        assert len(second.pending) == 2
        by_request = [one.message.reports[0].request_id for one, _ in updates(stage)]
        assert sorted(by_request) == ["five", "five", "five", "ten", "ten"]
        stage.poll_with(lambda _: CancelReport(request_id="c", report_request_ids=("ten",)))
        await stage.clock.advance(2)
        (cancelled,) = stage.vtn.named(CanceledReport)
        assert (cancelled.pending, cancelled.response.request_id) == (("five",), "c")
        stage.vtn.received.clear()
        await stage.clock.advance(10)
    assert {one.message.reports[0].request_id for one, _ in updates(stage)} == {"five"}


async def test_a_cancel_that_rides_on_an_acknowledgement_counts(stage: Stage) -> None:
    cancel = CancelReport(request_id="c", report_request_ids=("q",), ven_id=VEN_ID)
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    stage.vtn.answers[UpdateReport] = lambda _: UpdatedReport(response=ok(), cancel=cancel)
    async with stage.running():
        await stage.clock.advance(60)
    assert len(updates(stage)) == 1
    assert len(stage.vtn.named(CanceledReport)) == 1


async def test_a_request_for_a_period_ends_with_it(stage: Stage) -> None:
    begin = stage.clock.now()
    period = Period(start=begin + timedelta(seconds=20), duration_s=20)
    stage.vtn.answers[RegisterReport] = asking(report_request("q", period=period))
    async with stage.running():
        await stage.clock.advance(90)
    assert [found[0][1] for _, found in updates(stage)] == [begin + timedelta(seconds=s) for s in (20, 30)]


async def test_a_confirmation_the_vtn_refuses_for_good_is_not_repeated_and_data_flows(stage: Stage) -> None:
    stage.vtn.answers[RegisterReport] = asking(report_request("q"))
    stage.vtn.answers[CreatedReport] = answering(452)
    async with stage.running():
        await stage.clock.advance(60)
    assert len(stage.vtn.named(CreatedReport)) == 1
    assert len(stage.vtn.named(CreatePartyRegistration)) == 1
    assert len(updates(stage)) == 6


# --- what a VTN may say unasked


async def test_reports_that_the_vtn_offers_or_sends_are_answered(stage: Stage) -> None:
    stage.poll_with(
        lambda _: RegisterReport(request_id="theirs"),
        lambda _: UpdateReport(request_id="unasked"),
        lambda _: UpdatedReport(response=ok()),
    )
    async with stage.running() as gateway:
        await stage.clock.advance(2.5)
        (registered_report,) = stage.vtn.named(RegisteredReport)
        (updated,) = stage.vtn.named(UpdatedReport)
        assert (registered_report.response.code, registered_report.response.request_id) == (200, "theirs")
        assert (updated.response.code, updated.response.request_id) == (461, "unasked")
        await stage.clock.advance(1)
        assert "oadrUpdatedReport where nobody asked for it" in stage.observer.failures[0]
        await stage.clock.advance(10)
        assert not gateway.status()[0].stale


async def test_events_of_another_vtn_are_refused_each(stage: Stage) -> None:
    start = start_of(stage)
    async with stage.running():
        await stage.clock.advance(1)
        stage.poll_with(distributing(wire_event("a", start), wire_event("b", start), vtn_id="another"))
        await stage.clock.advance(2)
    assert isinstance(stage.sink, DecidingSink)
    assert stage.sink.accepted == []
    assert sorted(stage.opts()) == [("a", 0, "optOut", 452, "q-1"), ("b", 0, "optOut", 452, "q-1")]
