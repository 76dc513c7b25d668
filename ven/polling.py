"""One VEN's conversation in its order: register, offer reports, catch up on events, answer, poll.

It polls at most once per oadrRequestedOadrPollFreq (rule 55) and answers all it owes before the next poll. When the
VTN cannot be reached it comes back with jittered, growing pauses for ever, and asks for every event again, since a
reply that was lost may have carried one.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import structlog

from grid.clock import Clock
from ven.backoff import Backoff
from ven.errors import NotRegisteredError, VenError, VtnRefusedError, WireError
from ven.events import EventDesk
from ven.exchange import Exchange
from ven.opt import OptSender
from ven.ports import VenObserver
from ven.records import Registration
from ven.registration import Registrar
from ven.reports import ReportDesk
from ven.status import Vitals
from ven.waiting import Alarm
from ven.wire.messages import (
    CancelReport,
    CreateReport,
    DistributeEvent,
    Incoming,
    Poll,
    RequestEvent,
    Response,
)


class PollLoop:
    """The session of one VEN."""

    def __init__(
        self,
        enrolment_id: str,
        exchange: Exchange,
        registrar: Registrar,
        events: EventDesk,
        opts: OptSender,
        reports: ReportDesk,
        observer: VenObserver,
        vitals: Vitals,
        alarm: Alarm,
        clock: Clock,
        on_refused: Callable[[VenError], None],
    ) -> None:
        """``on_refused`` may raise the refusal it is told of, which ends ``run``."""
        self._enrolment_id = enrolment_id
        self._exchange = exchange
        self._registrar = registrar
        self._events = events
        self._opts = opts
        self._reports = reports
        self._observer = observer
        self._vitals = vitals
        self._alarm = alarm
        self._clock = clock
        self._on_refused = on_refused
        self._catch_up = True
        self._next_poll_s = clock.monotonic()
        self._log = structlog.get_logger().bind(enrolment_id=enrolment_id)

    async def run(self) -> None:
        """Converse until cancelled."""
        await self._events.resume()
        backoff = Backoff()
        while True:
            try:
                polled = await self._converse()
            except VenError as error:
                await self._failed(error)
                await self._clock.sleep(backoff.next_s())
                continue
            if polled:
                self._vitals.succeeded()
                backoff.reset()
            await self._alarm.wait(self._next_poll_s - self._clock.monotonic())

    async def _converse(self) -> bool:
        """One round; polls when that is due and returns whether it was."""
        registration = await self._registrar.ensure()
        await self._reports.offer(registration)
        if self._catch_up:
            await self._request_events(registration)
        await self._settle(registration)
        if self._clock.monotonic() < self._next_poll_s:
            return False
        self._next_poll_s = self._clock.monotonic() + registration.poll_interval_s
        answer = await self._exchange.ask(Poll(ven_id=registration.ven_id))
        now = self._clock.now()
        await self._observer.polled(enrolment_id=self._enrolment_id, at=now)
        self._vitals.last_poll = now
        await self._receive(answer, registration)
        await self._settle(registration)
        return True

    async def _request_events(self, registration: Registration) -> None:
        """Every event again; those whose answer is still owed are answered once, under the new requestID."""
        try:
            answer = await self._exchange.ask(RequestEvent(request_id=str(uuid4()), ven_id=registration.ven_id))
            await self._receive(answer, registration)
        except WireError as error:
            # An unreadable event must not keep the readable ones of later polls away.
            self._log.error("the VTN's events cannot be read", why=str(error))
        self._catch_up = False

    async def _settle(self, registration: Registration) -> None:
        await self._opts.flush(registration)
        await self._reports.confirm(registration)

    async def _receive(self, answer: Incoming | None, registration: Registration) -> None:
        match answer:
            case None | Response():
                return
            case DistributeEvent():
                await self._events.receive(answer, registration)
            case CreateReport():
                self._reports.requested(answer)
            case CancelReport():
                await self._reports.cancelled(answer, registration.ven_id)
            case _:
                raise WireError(f"the VTN sent {type(answer).__name__} where nobody asked for it")

    async def _failed(self, error: VenError) -> None:
        self._catch_up = True
        if isinstance(error, NotRegisteredError):
            self._registrar.register_anew()
        refused = isinstance(error, VtnRefusedError)
        if self._vitals.failed(str(error), refused=refused):
            self._log.warning("the VTN cannot be used now", why=str(error))
            await self._observer.failed(enrolment_id=self._enrolment_id, why=str(error), at=self._clock.now())
        if refused:
            self._on_refused(error)
