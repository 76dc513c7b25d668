"""EiEvent, the receiving half: each event is checked, journalled, put to the sink, its answer owed.

The order is what makes a death at any instruction harmless: journal, decide, journal the decision together with the
owed oadrCreatedEvent, and only then (``ven.opt``) send. One event's trouble is answered with its own response code
and touches no other (rules 19, 48, 56-58).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from grid.clock import Clock
from grid.events import Decision, EventStatus, GridEvent, OptType
from ven.config import VenSettings
from ven.errors import EventError, VenError, WireError
from ven.journal import VenJournal
from ven.ports import EventSink
from ven.records import Registration
from ven.signals import grid_event
from ven.wire.messages import INVALID_DATA, OK, OUT_OF_SEQUENCE, DistributeEvent, UnreadableEvent, WireEvent


class EventDesk:
    """The events of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        sink: EventSink,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        wake: Callable[[], None],
    ) -> None:
        """``tasks`` owns calls to the sink that outlive their timeout; ``wake`` is called when an answer is owed."""
        self._settings = settings
        self._journal = journal
        self._sink = sink
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._log = structlog.get_logger().bind(enrolment_id=settings.enrolment_id)

    async def resume(self) -> None:
        """Put to the sink again what a former process left without its word."""
        events = self._journal.unsettled_events(self._settings.enrolment_id)
        async with asyncio.TaskGroup() as group:
            for journalled in events:
                group.create_task(self._decide(journalled.event))

    async def receive(self, message: DistributeEvent, registration: Registration) -> None:
        """Journal the events, decide on the new ones side by side; returns when each has its answer owed."""
        if message.vtn_id not in ("", registration.vtn_id):
            raise WireError(f"events from vtnID {message.vtn_id}, but we are registered with {registration.vtn_id}")
        new = [
            event
            for offered in message.events
            if (event := self._take(offered, message.request_id, registration.ven_id)) is not None
        ]
        async with asyncio.TaskGroup() as group:
            for event in new:
                group.create_task(self._decide(event))

    def redecide(self, event_id: str, decision: Decision) -> None:
        """Replace the decision on the newest modification; a changed opt is a new oadrCreatedEvent.

        Raises VenError for an event this VEN never received.
        """
        journalled = self._journal.event(self._settings.enrolment_id, event_id)
        if journalled is None:
            raise VenError(f"enrolment {self._settings.enrolment_id} has no event {event_id} to decide on")
        self._keep(journalled.event, decision)

    def _take(self, offered: WireEvent | UnreadableEvent, request_id: str, ven_id: str) -> GridEvent | None:
        """The event to decide on, journalled; None when its answer is owed already or it needs none."""
        known = self._journal.event(self._settings.enrolment_id, offered.event_id)
        try:
            if known is not None and offered.modification_number < known.event.modification_number:
                raise EventError(OUT_OF_SEQUENCE, f"modification {known.event.modification_number} came before")
            if known is not None and offered.modification_number == known.event.modification_number:
                self._journal.reoffer(known.event, request_id)
                return None
            if isinstance(offered, UnreadableEvent):
                raise EventError(INVALID_DATA, offered.reason)
            event = grid_event(offered, self._settings, ven_id, self._clock.now())
        except EventError as error:
            self._log.warning("event refused", event_id=offered.event_id, code=error.code, why=str(error))
            self._answer_without_running(offered, request_id, code=error.code, description=str(error))
            return None
        if known is None and event.status in (EventStatus.CANCELLED, EventStatus.COMPLETED):
            self._answer_without_running(offered, request_id, code=OK, description="OK")
            return None
        self._journal.record_event(event, request_id)
        self._log.info("event received", event_id=event.event_id, modification=event.modification_number)
        return event

    def _answer_without_running(
        self, offered: WireEvent | UnreadableEvent, request_id: str, *, code: int, description: str
    ) -> None:
        if offered.response_required:
            self._journal.owe_answer(
                self._settings.enrolment_id,
                offered.event_id,
                offered.modification_number,
                request_id,
                opt=OptType.OPT_OUT,
                code=code,
                description=description,
            )

    async def _decide(self, event: GridEvent) -> None:
        """The sink's decision, or the default opt when it does not come in time."""
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
            self._keep(event, decision)
            return
        self._log.warning("default opt", event_id=event.event_id, opt=self._settings.default_opt, why=why)
        default = Decision(opt=self._settings.default_opt, reason=why, decided_at=self._clock.now())
        self._journal.record_decision(event, default, provisional=True)

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
            self._keep(event, decision)

    def _keep(self, event: GridEvent, decision: Decision) -> None:
        newest = self._journal.event(*event.key)
        if newest is None or newest.event.modification_number != event.modification_number:
            self._log.info("decision on a replaced modification dropped", event_id=event.event_id)
            return
        if self._journal.record_decision(event, decision, provisional=False):
            self._wake()
