"""EiEvent at the VTN: events called, modified, cancelled, left out, and what VENs answered.

An event's status is what the clock says when it is sent. A modification has a higher number; a cancelled event is
told of until the VEN answers it. Every oadrDistributeEvent carries all events of its VEN (rule 61 rests on that),
but for a replyLimit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from grid.clock import Clock
from grid.events import EventStatus
from ven.simulation.calling import requested_kw
from ven.simulation.config import VtnSettings
from ven.simulation.errors import CallError, ProtocolError, UnknownError
from ven.simulation.journal import Journal
from ven.simulation.mailbox import Mailbox, new_id
from ven.simulation.records import CalledEvent, OptRecord, VenRecord
from ven.wire.common import INVALID_ID, NOT_ALLOWED, EiResponse
from ven.wire.event import CreatedEvent, DistributeEvent, RequestEvent, UnreadableEvent, WireEvent, WireSignal
from ven.wire.party import Response
from ven.wire.payload import decode, encode

CANCELLED_KEPT = timedelta(hours=1)
"""How long a cancelled event that nobody answers is told of."""


class Events:
    """The events of one utility."""

    def __init__(self, settings: VtnSettings, journal: Journal, mailbox: Mailbox, clock: Clock) -> None:
        self._settings = settings
        self._journal = journal
        self._mailbox = mailbox
        self._clock = clock
        self._log = structlog.get_logger()
        mailbox.distribute_with(self.distribute)

    # --- what VENs ask

    def requested(self, message: RequestEvent, ven: VenRecord) -> DistributeEvent:
        """All events again, or the first few. Raises ProtocolError."""
        if ven.report_only:
            raise ProtocolError(NOT_ALLOWED, f"{ven.ven_id} registered for reports only: it has no events")
        full = self.distribute(ven.ven_id)
        limit = len(full.events) if message.reply_limit is None else message.reply_limit
        return replace(full, events=full.events[:limit], response=EiResponse(request_id=message.request_id))

    def distribute(self, ven_id: str) -> DistributeEvent:
        """Every event that the VEN has to know now: active ones first, then by start and priority."""
        now = self._clock.now()
        told = [called for called in self._journal.events_of(ven_id) if self._is_told(called, now)]
        told.sort(key=lambda called: _urgency(called, now))
        return DistributeEvent(
            request_id=new_id("distribute"),
            vtn_id=self._settings.vtn_id,
            events=tuple(_as_of(called, now) for called in told),
        )

    def created(self, message: CreatedEvent, ven: VenRecord) -> Response:
        """Enter the answers of a VEN; those to events it does not have come back as 452, the others stand."""
        unknown = []
        for answer in message.responses:
            called = self._journal.event(answer.event_id)
            if called is None or called.ven_id != ven.ven_id:
                unknown.append(answer.event_id)
                continue
            record = OptRecord(
                ven_id=ven.ven_id,
                opt=answer.opt,
                modification_number=answer.modification_number,
                at=self._clock.now(),
                code=answer.code,
                description=answer.description,
            )
            self._journal.put_answer(answer.event_id, record)
            self._log.info("opt", event_id=answer.event_id, ven_id=ven.ven_id, opt=answer.opt.value, code=answer.code)
        if not self._unanswered(ven.ven_id):
            self._mailbox.events_answered(ven.ven_id)
        response = EiResponse(request_id=message.response.request_id)
        if unknown:
            description = f"no event {', '.join(unknown)} was sent to {ven.ven_id}"
            response = replace(response, code=INVALID_ID, description=description)
        return Response(response=response, ven_id=ven.ven_id)

    # --- what the operator asks

    def all(self) -> list[CalledEvent]:
        return self._journal.events()

    def named(self, event_id: str) -> CalledEvent:
        """Raises UnknownError."""
        called = self._journal.event(event_id)
        if called is None:
            raise UnknownError(f"there is no event {event_id}")
        return called

    def answers(self, event_id: str) -> list[OptRecord]:
        """Oldest first."""
        return self._journal.answers(event_id)

    def call(self, called: CalledEvent) -> None:
        """Send a new event. Raises CallError."""
        ven = self._journal.ven(called.ven_id)
        if ven is not None and ven.report_only:
            raise CallError(f"{ven.ven_name} registered for reports only: it takes no events")
        if self._journal.event(called.event.event_id) is not None:
            raise CallError(f"there is an event {called.event.event_id} already: modify it or choose another ID")
        self._enter(called)
        self._log.info("event called", event_id=called.event.event_id, ven_id=called.ven_id)

    def modify(self, event_id: str, change: Callable[[WireEvent], WireEvent]) -> CalledEvent:
        """Send it changed, under a higher modification number; one that vanished comes back.

        Raises UnknownError, CallError.
        """
        called = self._open(event_id)
        event = change(called.event)
        return self._modified(replace(called, event=event, vanished=False, requested_kw=requested_kw(event)))

    def cancel(self, event_id: str) -> CalledEvent:
        """Raises UnknownError, CallError."""
        return self._modified(replace(self._open(event_id), cancelled_at=self._clock.now()))

    def vanish(self, event_id: str) -> CalledEvent:
        """Tell of it no more, without a cancel. Raises UnknownError, CallError."""
        gone = replace(self._open(event_id), vanished=True)
        self._enter(gone)
        return gone

    # ---

    def _open(self, event_id: str) -> CalledEvent:
        called = self.named(event_id)
        status = called.status(self._clock.now())
        if status in (EventStatus.CANCELLED, EventStatus.COMPLETED):
            raise CallError(f"event {event_id} is {status.value}: call a new one")
        return called

    def _modified(self, called: CalledEvent) -> CalledEvent:
        number = called.event.modification_number + 1
        event = replace(called.event, modification_number=number, modified_at=self._clock.now())
        modified = replace(called, event=event)
        self._enter(modified)
        return modified

    def _enter(self, called: CalledEvent) -> None:
        _check(called.event)
        self._journal.put_event(called)
        self._mailbox.put_events(called.ven_id)

    def _is_told(self, called: CalledEvent, now: datetime) -> bool:
        if called.vanished:
            return False
        if called.cancelled_at is not None:
            return now < called.cancelled_at + CANCELLED_KEPT and not self._is_answered(called)
        end = called.end
        return end is None or now < end + timedelta(seconds=self._settings.completed_kept_s)

    def _is_answered(self, called: CalledEvent) -> bool:
        number = called.event.modification_number
        return any(answer.modification_number == number for answer in self._journal.answers(called.event.event_id))

    def _unanswered(self, ven_id: str) -> bool:
        now = self._clock.now()
        return any(
            called.event.response_required and self._is_told(called, now) and not self._is_answered(called)
            for called in self._journal.events_of(ven_id)
        )


def _check(event: WireEvent) -> None:
    """Raises CallError for an event that OpenADR cannot carry, WireError for one that cannot be written."""
    message = decode(encode(DistributeEvent(request_id="", vtn_id="", events=(event,))))
    assert isinstance(message, DistributeEvent)
    for read in message.events:
        if isinstance(read, UnreadableEvent):
            raise CallError(f"OpenADR 2.0b cannot carry this event: {read.reason}")


def _urgency(called: CalledEvent, now: datetime) -> tuple[bool, datetime, int]:
    event = called.event
    # Priority 1 is the highest, 0 is none.
    return called.status(now) is not EventStatus.ACTIVE, event.start, event.priority or 1_000_000


def _as_of(called: CalledEvent, now: datetime) -> WireEvent:
    status = called.status(now)
    signals = tuple(_with_current_value(signal, called.event, status, now) for signal in called.event.signals)
    return replace(called.event, status=status, signals=signals)


def _with_current_value(signal: WireSignal, event: WireEvent, status: EventStatus, now: datetime) -> WireSignal:
    """currentValue of a SIMPLE signal: 0 unless the event is active (rule 14)."""
    if signal.name != "SIMPLE":
        return signal
    return replace(signal, current_value=_value_at(signal, event, now) if status is EventStatus.ACTIVE else 0.0)


def _value_at(signal: WireSignal, event: WireEvent, now: datetime) -> float:
    end = event.start
    for point in signal.intervals:
        end += timedelta(seconds=point.duration_s)
        if now < end or point.duration_s == 0:
            return point.value
    return 0.0
