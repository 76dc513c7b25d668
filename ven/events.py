"""EiEvent, the receiving half: each event is checked, journalled, put to the sink, its answer owed.

The order is what makes a death at any instruction harmless: journal, decide, journal the decision together with the
owed oadrCreatedEvent, and only then (``ven.outbox``) send. One event's trouble is answered with its own response code
and touches no other (rules 19, 48, 56-58); decisions are made side by side and each is answered when it is there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from grid.clock import Clock, sleep_until
from grid.events import Decision, EventStatus, GridEvent, OptType
from grid.intervals import Interval
from ven.availability import OptDesk
from ven.config import LateOpt, VenSettings
from ven.errors import EventError, UnknownError
from ven.journal import VenJournal
from ven.ports import EventSink, VenObserver
from ven.records import JournalledEvent, Registration
from ven.signals import grid_event
from ven.timeline import FOR_EVER, active, end_of
from ven.wire.common import INVALID_DATA, INVALID_ID, OK, OUT_OF_SEQUENCE
from ven.wire.event import CreatedEvent, DistributeEvent, EventResponse, UnreadableEvent, WireEvent
from ven.wire.payload import encode

Offered = WireEvent | UnreadableEvent

CLOCK_SLACK_S = 10.0
"""A VTN may leave an event out of its list as over this long before it is, by our clock."""

_RANDOM = secrets.SystemRandom()


class EventDesk:
    """The events of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        sink: EventSink,
        opts: OptDesk,
        observer: VenObserver,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        changed: Callable[[], None],
    ) -> None:
        """``tasks`` owns calls to the sink that outlive a message; ``changed`` is called at every decision."""
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._sink = sink
        self._opts = opts
        self._observer = observer
        self._clock = clock
        self._tasks = tasks
        self._changed = changed
        self._deciding = 0
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    @property
    def deciding(self) -> bool:
        """Whether an event waits for its decision, or for the decision timeout to pass."""
        return self._deciding > 0

    def resume(self) -> None:
        """Put to the sink again what a former process left without its word."""
        for journalled in self._journal.events.unsettled(self._key):
            self._begin(journalled.event)

    def receive(self, message: DistributeEvent, registration: Registration) -> list[GridEvent]:
        """Journal the events and begin to decide on the new ones.

        Returns the events that the VTN left out of its list: cancelled, unless it forgot them (``end``, rule 61).
        """
        if message.vtn_id != registration.vtn_id:
            self._refuse_all(message, registration)
            return []
        listed = {offered.event_id for offered in message.events}
        for offered in message.events:
            self._take(offered, message.request_id, registration.ven_id)
        if "" in listed:
            # One of them could not even be named: nobody knows which it is, so none is missing for sure.
            return []
        return [
            journalled.event
            for journalled in self._journal.events.all(self._key)
            if journalled.event.event_id not in listed and self._owed_to_be_listed(journalled)
        ]

    async def end(self, omitted: Sequence[GridEvent]) -> None:
        """These are not on the VTN's list any more: cancelled, by omission (rule 61)."""
        for event in omitted:
            now = self._clock.now()
            what = f"event {event.event_id} is gone from the VTN's list: taken as cancelled"
            if active(event, now):
                self._log.error("an active event is gone from the VTN's list", event_id=event.event_id)
                await self._observer.alarmed(enrolment_id=self._key, what=what, at=now)
            else:
                self._log.warning("an event is gone from the VTN's list", event_id=event.event_id)
            ended = replace(event, status=EventStatus.CANCELLED, cancel_at=now, response_required=False)
            self._journal.events.replace(ended)
            self._begin(ended)

    def redecide(self, event_id: str, decision: Decision) -> None:
        """Replace the decision on the newest modification; a changed opt goes to the VTN at once.

        Raises UnknownError for an event this VEN never received.
        """
        journalled = self._journal.events.newest(self._key, event_id)
        if journalled is None:
            raise UnknownError(f"enrolment {self._key} has no event {event_id} to decide on")
        self._keep(journalled.event, decision, provisional=False)

    # --- what comes in

    def _owed_to_be_listed(self, journalled: JournalledEvent) -> bool:
        """By the VTN's clock, which may be ahead, and without our own delay of the start."""
        event = journalled.event
        if event.status is EventStatus.CANCELLED or journalled.completed:
            return False
        ends = end_of(event)
        return ends == FOR_EVER or self._clock.now() < ends - timedelta(seconds=event.start_offset_s + CLOCK_SLACK_S)

    def _take(self, offered: Offered, request_id: str, ven_id: str) -> None:
        known = self._journal.events.newest(self._key, offered.event_id)
        try:
            event = self._checked(offered, known, ven_id)
        except EventError as error:
            self._log.warning("event refused", event_id=offered.event_id, code=error.code, why=str(error))
            self._answer_without_running(offered, request_id, ven_id, error.code, str(error))
            return
        if event is None:
            return
        if known is not None and event.modification_number == known.event.modification_number:
            self._again(event, known, request_id, ven_id)
        elif event.status is EventStatus.COMPLETED or (known is None and event.status is EventStatus.CANCELLED):
            # Nothing to run, or nothing to run otherwise: what runs goes on to its own end (rules 21 and 66).
            opt = OptType.OPT_OUT
            if known is not None:
                self._journal.events.complete(known.event)
                opt = known.decision.opt if known.decision is not None else opt
            self._answer_without_running(offered, request_id, ven_id, OK, "OK", opt)
        else:
            self._journal.events.record(event, request_id)
            self._log.info("event received", event_id=event.event_id, modification=event.modification_number)
            self._begin(event)

    def _checked(self, offered: Offered, known: JournalledEvent | None, ven_id: str) -> GridEvent | None:
        """The event as we understand it. Raises EventError."""
        if known is not None and offered.modification_number < known.event.modification_number:
            raise EventError(OUT_OF_SEQUENCE, f"modification {known.event.modification_number} came before")
        if isinstance(offered, UnreadableEvent):
            raise EventError(INVALID_DATA, offered.reason)
        now = self._clock.now()
        event = grid_event(offered, self._settings, ven_id, now, self._offset_s(offered, known))
        if event.status is not EventStatus.CANCELLED:
            return event
        running = known is not None and active(known.event, now) and _opted_in(known)
        delay_s = _RANDOM.uniform(0.0, event.startafter_s) if running else 0.0
        return replace(event, cancel_at=now + timedelta(seconds=delay_s))

    def _offset_s(self, offered: WireEvent, known: JournalledEvent | None) -> float:
        """Our delay within the startafter tolerance, kept over modifications while it fits (rules 30 and 65)."""
        tolerance_s = offered.startafter_s or 0.0
        if known is not None and known.event.start_offset_s <= tolerance_s and known.event.startafter_s > 0:
            return known.event.start_offset_s
        return round(_RANDOM.uniform(0.0, tolerance_s), 3)

    def _again(self, event: GridEvent, known: JournalledEvent, request_id: str, ven_id: str) -> None:
        """A modification we know: answered again where that is asked for (rules 12, 56, 62)."""
        cancelled = EventStatus.CANCELLED
        if event.status is cancelled and known.event.status is not cancelled:
            # Cancelled without a new modification number: not as it should be, but plainly meant.
            ended = replace(known.event, status=cancelled, cancel_at=event.cancel_at)
            self._journal.events.replace(ended)
            self._begin(ended)
            return
        if known.event.status is cancelled and event.status is not cancelled:
            why = "this modification was left out of the list before, and so is cancelled: send a higher one"
            self._answer_without_running(event, request_id, ven_id, OUT_OF_SEQUENCE, why)
            return
        if event.status is EventStatus.COMPLETED:
            self._journal.events.complete(known.event)
        answer = None
        if event.response_required and known.decision is not None:
            opt = known.decision.opt
            answer = (opt, _answer(known.event.event_id, known.event.modification_number, request_id, ven_id, opt))
        self._journal.events.reoffer(known.event, request_id, answer)

    def _refuse_all(self, message: DistributeEvent, registration: Registration) -> None:
        why = f"vtnID {message.vtn_id} is not {registration.vtn_id}, with which we are registered"
        self._log.error("events from another VTN", vtn_id=message.vtn_id)
        for offered in message.events:
            self._answer_without_running(offered, message.request_id, registration.ven_id, INVALID_ID, why)

    def _answer_without_running(
        self,
        offered: Offered | GridEvent,
        request_id: str,
        ven_id: str,
        code: int,
        description: str,
        opt: OptType = OptType.OPT_OUT,
    ) -> None:
        if offered.response_required:
            answer = _answer(
                offered.event_id,
                offered.modification_number,
                request_id,
                ven_id,
                opt,
                code=code,
                description=description,
            )
            self._journal.events.refuse(self._key, offered.event_id, offered.modification_number, opt, answer)
            self._changed()

    # --- deciding

    def _begin(self, event: GridEvent) -> None:
        self._deciding += 1
        self._tasks.create_task(self._decide(event))

    async def _decide(self, event: GridEvent) -> None:
        """The sink's decision, or the default opt when it does not come in time."""
        try:
            decided = self._without_asking(event)
            if decided is not None:
                self._keep(event, decided, provisional=False)
            elif event.cancel_at is not None and event.cancel_at > self._clock.now():
                self._cancel_later(event, event.cancel_at)
            else:
                await self._ask(self._available(event))
        finally:
            self._deciding -= 1
            self._changed()

    def _cancel_later(self, event: GridEvent, at: datetime) -> None:
        """The VTN hears at once that we end; whoever runs the event, when that is (rule 65)."""
        decision = Decision(opt=OptType.OPT_IN, reason=f"cancelled, ends at {at}", decided_at=self._clock.now())
        self._keep(event, decision, provisional=True)
        self._tasks.create_task(self._ask_at(event, at))

    async def _ask_at(self, event: GridEvent, at: datetime) -> None:
        await sleep_until(self._clock, at)
        await self._ask(event)

    def _without_asking(self, event: GridEvent) -> Decision | None:
        """What need not be asked: tests that are only answered (rule 6), and what falls into an opt-out of ours."""
        now = self._clock.now()
        if event.test_event and not self._settings.run_test_events:
            return Decision(opt=OptType.OPT_IN, reason="a test of communications", decided_at=now)
        if event.status is not EventStatus.CANCELLED and not self._remaining(event):
            return Decision(opt=OptType.OPT_OUT, reason="opted out for that time", decided_at=now)
        return None

    def _available(self, event: GridEvent) -> GridEvent:
        """The event without the resources that are opted out for its time; a cancel is for all."""
        if event.status is EventStatus.CANCELLED:
            return event
        remaining = self._remaining(event)
        concerned = event.resource_ids or self._settings.resource_ids
        return event if remaining == concerned else replace(event, resource_ids=remaining)

    def _remaining(self, event: GridEvent) -> tuple[str, ...]:
        ends = end_of(event)
        period = Interval(start=event.start, end=max(event.start, ends if ends != FOR_EVER else FOR_EVER))
        return self._opts.not_opted_out(event.resource_ids or self._settings.resource_ids, period, event.event_id)

    async def _ask(self, event: GridEvent) -> None:
        first: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(self._consult(event, first))
        why = "the sink failed"
        decision = None
        try:
            async with self._clock.timeout(self._settings.decision_timeout_s):
                decision = await asyncio.shield(first)
        except TimeoutError:
            first.cancel()
            why = f"no decision within {self._settings.decision_timeout_s:g} s"
        if decision is not None:
            self._keep(event, decision, provisional=False)
            return
        self._log.warning("default opt", event_id=event.event_id, opt=self._settings.default_opt, why=why)
        default = Decision(opt=self._settings.default_opt, reason=why, decided_at=self._clock.now())
        self._keep(event, default, provisional=True)

    async def _consult(self, event: GridEvent, first: asyncio.Future[Decision | None]) -> None:
        """Ask the sink; a decision that comes too late for ``first`` replaces the default opt."""
        decision = None
        try:
            decision = await self._sink.accept(event)
        except Exception:
            # One event's failure must not stop the others; the default opt answers it and a restart asks again.
            self._log.exception("the sink failed on an event", event_id=event.event_id)
        if not first.done():
            first.set_result(decision)
        elif decision is not None:
            self._keep(event, decision, provisional=False)

    def _keep(self, event: GridEvent, decision: Decision, *, provisional: bool) -> None:
        """Journal the decision and, where the VTN wants or must learn it, the answer owed.

        The first answer goes out when the event requires a response; a changed opt always does.
        """
        newest = self._journal.events.newest(*event.key)
        if newest is None or not _same(newest.event, event):
            self._log.info("decision on a replaced modification dropped", event_id=event.event_id)
            return
        before, registration = newest.decision, self._journal.registrations.of(self._key)
        if registration is not None and registration.cancelled_at is not None:
            registration = None
        owed = newest.event.response_required if before is None else before.opt is not decision.opt
        answer = late = None
        if owed and registration is not None:
            if newest.answered is not None and self._settings.late_opt is LateOpt.CREATE_OPT:
                late = self._opts.for_event(newest.event, decision, registration)
            else:
                answer = _answer(
                    event.event_id, event.modification_number, newest.request_id, registration.ven_id, decision.opt
                )
        self._journal.events.decide(newest.event, decision, provisional=provisional, answer=answer, opt=late)
        self._changed()


def _opted_in(journalled: JournalledEvent) -> bool:
    return journalled.decision is not None and journalled.decision.opt is OptType.OPT_IN


def _same(journalled: GridEvent, decided: GridEvent) -> bool:
    return journalled.modification_number == decided.modification_number and journalled.status is decided.status


def _answer(
    event_id: str,
    modification_number: int,
    request_id: str,
    ven_id: str,
    opt: OptType,
    *,
    code: int = OK,
    description: str = "OK",
) -> bytes:
    """One oadrCreatedEvent for one event, so that the VTN's trouble with one holds up no other."""
    return encode(
        CreatedEvent(
            ven_id=ven_id,
            responses=(
                EventResponse(
                    request_id=request_id,
                    event_id=event_id,
                    modification_number=modification_number,
                    opt=opt,
                    code=code,
                    description=description,
                ),
            ),
        )
    )
