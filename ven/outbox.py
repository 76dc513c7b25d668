"""What is owed to the VTN goes out: answers side by side, report data one after the other, until each is taken.

A message is the bytes that were journalled, so a repetition has the same requestID; only the signature around it is
new. What the VTN refuses for good (450-469) is dropped with an error in the log; anything else is tried again with
growing pauses, answer by answer, so that the VTN's trouble with one holds up no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from grid.clock import Clock
from grid.events import OptType
from grid.intervals import Interval
from ven.availability import OptDesk
from ven.backoff import Backoff
from ven.errors import NotRegisteredError, VtnError, WireError
from ven.exchange import Exchange, acknowledged, check
from ven.journal import VenJournal
from ven.ports import VenObserver
from ven.records import Kind, Lane, Owed
from ven.wire.opt import CanceledOpt, CreatedOpt
from ven.wire.payload import Message, Service
from ven.wire.report import RegisteredReport, UpdatedReport

_SERVICES = {
    Kind.EVENT_ANSWER: Service.EVENT,
    Kind.CREATE_OPT: Service.OPT,
    Kind.CANCEL_OPT: Service.OPT,
    Kind.METADATA: Service.REPORT,
    Kind.DATA: Service.REPORT,
}


class OutboxSender:
    """The outbox of one VEN."""

    def __init__(
        self,
        enrolment_id: str,
        journal: VenJournal,
        exchange: Exchange,
        opts: OptDesk,
        observer: VenObserver,
        clock: Clock,
        receive: Callable[[Message], None],
    ) -> None:
        """``receive`` takes what rides along with an acknowledgement: a cancel, requests for reports."""
        self._key = enrolment_id
        self._journal = journal
        self._exchange = exchange
        self._opts = opts
        self._observer = observer
        self._clock = clock
        self._receive = receive
        self._retries: dict[int, tuple[Backoff, float]] = {}
        self._log = structlog.get_logger().bind(enrolment_id=enrolment_id)

    async def flush(self, *kinds: Kind) -> None:
        """Send every answer that is due, or those of some kinds.

        Raises what ``Exchange.ask`` raises, save what concerns one message.
        """
        now_s = self._clock.monotonic()
        owed = [one for one in self._journal.outbox.owed(self._key, Lane.ANSWERS) if not kinds or one.kind in kinds]
        self._retries = {one.seq: self._retries[one.seq] for one in owed if one.seq in self._retries}
        due = [one for one in owed if self._retries.get(one.seq, (None, now_s))[1] <= now_s]
        if not due:
            return
        results = await asyncio.gather(*(self._send_answer(one) for one in due), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def next_retry_s(self) -> float | None:
        """Seconds until an answer that failed is due again."""
        if not self._retries:
            return None
        return max(0.0, min(not_before_s for _, not_before_s in self._retries.values()) - self._clock.monotonic())

    async def deliver(self) -> None:
        """Send report data, oldest first. Raises at the first message the VTN did not take."""
        while (owed := self._journal.outbox.oldest(self._key, Lane.DATA)) is not None:
            try:
                answer = await self._exchange.ask_encoded(Service.REPORT, owed.payload)
                if not isinstance(answer, UpdatedReport):
                    raise WireError("the VTN answered oadrUpdateReport with something else")
                check(answer.response)
            except VtnError as error:
                if not error.permanent:
                    raise
                self._log.error("the VTN refused report data", subject=owed.subject, why=str(error))
                self._journal.outbox.settle(owed.seq)
                continue
            await self._delivered(owed, answer)

    async def _delivered(self, owed: Owed, answer: UpdatedReport) -> None:
        facts = owed.facts
        await self._observer.report_acknowledged(
            enrolment_id=self._key,
            interval=Interval(
                start=datetime.fromisoformat(str(facts["start"])), end=datetime.fromisoformat(str(facts["end"]))
            ),
            resource_ids=str(facts["resource_ids"]).split("\n"),
            at=self._clock.now(),
        )
        self._journal.outbox.settle(owed.seq)
        if answer.cancel is not None:
            self._receive(answer.cancel)

    async def _send_answer(self, owed: Owed) -> None:
        service = _SERVICES.get(owed.kind) or Service(str(owed.facts["service"]))
        try:
            answer = await self._exchange.ask_encoded(service, owed.payload)
            if owed.kind is not Kind.REPLY:
                # A reply of ours may be the last word; what it was about is told again if it did not arrive.
                acknowledged(answer)
            if isinstance(answer, CreatedOpt | CanceledOpt | RegisteredReport):
                check(answer.response)
        except VtnError as error:
            await self._not_taken(owed, error)
            return
        except NotRegisteredError:
            if not self._left():
                raise
            answer = None
        self._retries.pop(owed.seq, None)
        await self._taken(owed, answer)

    def _left(self) -> bool:
        """Whether the registration was cancelled: a VTN that does not know us any more has our confirmation."""
        held = self._journal.registrations.of(self._key)
        return held is not None and held.cancelled_at is not None

    async def _taken(self, owed: Owed, answer: Message | None) -> None:
        facts = owed.facts
        if owed.kind is Kind.EVENT_ANSWER:
            event_id, modification, opt = (
                str(facts["event_id"]),
                facts["modification_number"],
                OptType(str(facts["opt"])),
            )
            assert isinstance(modification, int)
            await self._observer.opt_sent(
                enrolment_id=self._key,
                event_id=event_id,
                modification_number=modification,
                opt=opt,
                at=self._clock.now(),
            )
            self._journal.events.answered(owed.seq, self._key, event_id, modification, opt)
            self._log.info("opt sent", event_id=event_id, opt=opt)
        elif owed.kind in (Kind.CREATE_OPT, Kind.CANCEL_OPT):
            self._opts.taken(owed.seq, str(facts["opt_id"]))
        else:
            self._journal.outbox.settle(owed.seq)
            if isinstance(answer, RegisteredReport) and answer.requests:
                self._receive(answer)

    async def _not_taken(self, owed: Owed, error: VtnError) -> None:
        if not error.permanent:
            backoff, _ = self._retries.get(owed.seq, (Backoff(), 0.0))
            self._retries[owed.seq] = (backoff, self._clock.monotonic() + backoff.next_s())
            self._log.warning("a message will be sent again", subject=owed.subject, why=str(error))
            return
        self._retries.pop(owed.seq, None)
        self._log.error("the VTN refused a message", subject=owed.subject, why=str(error))
        if owed.kind in (Kind.CREATE_OPT, Kind.CANCEL_OPT):
            self._opts.refused(owed.seq, str(owed.facts["opt_id"]))
        else:
            self._journal.outbox.settle(owed.seq)
