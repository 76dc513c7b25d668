"""What waits for each VEN: one message a poll or push, the oldest first.

Where OpenADR has an answer (oadrCreatedReport to oadrCreateReport, oadrCreatedEvent to oadrDistributeEvent), a
message that was sent is kept until the answer comes and is sent again after ``resend_s``, so a reply that got lost
loses nothing. An oadrDistributeEvent is made when it is sent: it tells of all events of that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

from grid.clock import Clock
from ven.simulation.journal import Journal
from ven.simulation.records import WaitingMessage
from ven.wire.event import DistributeEvent
from ven.wire.party import CancelPartyRegistration, RequestReregistration
from ven.wire.payload import Message, decode, encode
from ven.wire.report import CancelReport, CreateReport

_ANSWERED = (CreateReport, CancelReport, CancelPartyRegistration, RequestReregistration)

REREGISTRATION = "reregistration"
"""Stands in for the requestID that oadrRequestReregistration does not have."""


class Mailbox:
    """Queues by VEN."""

    def __init__(self, journal: Journal, clock: Clock, resend_s: float) -> None:
        self._journal = journal
        self._clock = clock
        self._resend = timedelta(seconds=resend_s)
        self._distribute: Callable[[str], DistributeEvent] | None = None
        self._listeners: list[Callable[[str], None]] = []

    def distribute_with(self, distribute: Callable[[str], DistributeEvent]) -> None:
        """Who makes the oadrDistributeEvent of a VEN."""
        self._distribute = distribute

    def listen(self, listener: Callable[[str], None]) -> None:
        """Be told of the VEN whenever something may have to go to it."""
        self._listeners.append(listener)

    def reachable(self, ven_id: str) -> None:
        """The VEN told where it is."""
        self._tell(ven_id)

    def put(self, ven_id: str, message: Message) -> None:
        """Send this."""
        request_id = getattr(message, "request_id", REREGISTRATION)
        self._journal.put_waiting(ven_id, request_id, encode(message))
        self._tell(ven_id)

    def put_events(self, ven_id: str) -> None:
        """Send all events; several changes between two polls are one oadrDistributeEvent."""
        for waiting in self._journal.waiting(ven_id):
            if waiting.content is None:
                self._journal.drop_waiting(waiting.seq)
        self._journal.put_waiting(ven_id, "", None)
        self._tell(ven_id)

    def take(self, ven_id: str) -> Message | None:
        """The oldest message that has to go now."""
        found = self.peek(ven_id)
        if found is None:
            return None
        waiting, message = found
        self.sent(waiting, message)
        return message

    def peek(self, ven_id: str) -> tuple[WaitingMessage, Message] | None:
        """The oldest message that has to go now, which stays until ``sent``."""
        waiting = self._journal.next_waiting(ven_id, self._clock.now() - self._resend)
        return None if waiting is None else (waiting, self._made(waiting))

    def sent(self, waiting: WaitingMessage, message: Message) -> None:
        """It went out."""
        answered = isinstance(message, _ANSWERED) or (
            isinstance(message, DistributeEvent) and any(event.response_required for event in message.events)
        )
        if answered:
            self._journal.sent_waiting(waiting.seq, self._clock.now())
        else:
            self._journal.drop_waiting(waiting.seq)

    def answered(self, ven_id: str, request_id: str) -> None:
        """The answer to a message came."""
        for waiting in self._journal.waiting(ven_id):
            if waiting.content is not None and waiting.request_id == request_id:
                self._journal.drop_waiting(waiting.seq)

    def events_answered(self, ven_id: str) -> None:
        """Every event that asks for an answer has it."""
        for waiting in self._journal.waiting(ven_id):
            if waiting.content is None and waiting.sent_at is not None:
                self._journal.drop_waiting(waiting.seq)

    def clear(self, ven_id: str) -> None:
        """Nothing waits any more."""
        self._journal.drop_all_waiting(ven_id)

    def _made(self, waiting: WaitingMessage) -> Message:
        if waiting.content is not None:
            return decode(waiting.content)
        assert self._distribute is not None, "the events are there before the first message is taken"
        return self._distribute(waiting.ven_id)

    def _tell(self, ven_id: str) -> None:
        for listener in self._listeners:
            listener(ven_id)


def new_id(kind: str) -> str:
    """An identifier nobody used."""
    return f"{kind}-{uuid4()}"
