"""EiEvent, the answering half: owed oadrCreatedEvents go out, oldest first, until the VTN has each.

One message an answer, so that the VTN's trouble with one event holds up no other.
"""

from __future__ import annotations

import structlog

from grid.clock import Clock
from ven.backoff import Backoff
from ven.errors import VtnError
from ven.exchange import Exchange
from ven.journal import VenJournal
from ven.ports import VenObserver
from ven.records import Answer, Registration
from ven.wire.messages import CreatedEvent


class OptSender:
    """The outbox of one VEN's answers."""

    def __init__(
        self, enrolment_id: str, journal: VenJournal, exchange: Exchange, observer: VenObserver, clock: Clock
    ) -> None:
        self._enrolment_id = enrolment_id
        self._journal = journal
        self._exchange = exchange
        self._observer = observer
        self._clock = clock
        self._retries: dict[int, tuple[Backoff, float]] = {}
        self._log = structlog.get_logger().bind(enrolment_id=enrolment_id)

    async def flush(self, registration: Registration) -> None:
        """Send every answer owed now. Raises what ``Exchange.ask`` raises, save what concerns one answer."""
        for answer in self._journal.owed_answers(self._enrolment_id):
            _, not_before = self._retries.get(answer.seq, (None, 0.0))
            if self._clock.monotonic() < not_before:
                continue
            try:
                await self._exchange.ask(_message(answer, registration))
            except VtnError as error:
                self._failed(answer, error)
                continue
            await self._sent(answer)

    async def _sent(self, answer: Answer) -> None:
        now = self._clock.now()
        await self._observer.opt_sent(
            enrolment_id=self._enrolment_id,
            event_id=answer.event_id,
            modification_number=answer.modification_number,
            opt=answer.opt,
            at=now,
        )
        self._journal.settle_answer(answer.seq, "sent", now)
        self._retries.pop(answer.seq, None)
        self._log.info("opt sent", event_id=answer.event_id, opt=answer.opt, code=answer.code)

    def _failed(self, answer: Answer, error: VtnError) -> None:
        if error.permanent:
            self._journal.settle_answer(answer.seq, str(error), self._clock.now())
            self._retries.pop(answer.seq, None)
            self._log.error("the VTN refused an answer", event_id=answer.event_id, why=str(error))
            return
        backoff, _ = self._retries.get(answer.seq, (Backoff(), 0.0))
        self._retries[answer.seq] = (backoff, self._clock.monotonic() + backoff.next_s())
        self._log.warning("an answer will be sent again", event_id=answer.event_id, why=str(error))


def _message(answer: Answer, registration: Registration) -> CreatedEvent:
    return CreatedEvent(
        ven_id=registration.ven_id,
        request_id=answer.request_id,
        event_id=answer.event_id,
        modification_number=answer.modification_number,
        opt=answer.opt,
        code=answer.code,
        description=answer.description,
    )
