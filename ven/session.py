"""One VEN's conversation in its order: register, offer reports, catch up on events, answer, poll.

It polls at most once per oadrRequestedOadrPollFreq (rule 55), faster only where the VTN's profile allows it, and
answers all it owes before the next poll. When the VTN cannot be reached it comes back with jittered, growing pauses
for ever, and asks for every event again, since a reply that was lost may have carried one. A push VEN does all of
this but the polling.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from uuid import uuid4

import structlog

from grid.clock import Clock
from ven.availability import OptDesk
from ven.backoff import Backoff
from ven.config import VenSettings
from ven.errors import (
    NotRegisteredError,
    RegistrationCancelledError,
    VenError,
    VtnError,
    VtnRefusedError,
    WireError,
)
from ven.events import EventDesk
from ven.exchange import Exchange
from ven.inbox import Inbox
from ven.outbox import OutboxSender
from ven.ports import VenObserver
from ven.records import Kind, Registration
from ven.registration import Registrar
from ven.reports import ReportDesk
from ven.status import Vitals
from ven.waiting import Alarm
from ven.wire.common import INVALID_ID
from ven.wire.event import RequestEvent
from ven.wire.party import Poll, Response

PUSH_INTERVAL_S = 60.0
"""How often a push VEN looks whether it owes something, when nobody tells it."""


class State(StrEnum):
    """Where a session stands."""

    STARTING = "starting"
    UNREGISTERED = "unregistered"
    SYNCING = "syncing"
    """Registered; reports are being offered, events asked for."""
    SERVING = "serving"
    OUTAGE = "outage"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    """The registration was cancelled; a person decides what comes next."""


class Session:
    """The session of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        exchange: Exchange,
        registrar: Registrar,
        events: EventDesk,
        opts: OptDesk,
        reports: ReportDesk,
        inbox: Inbox,
        sender: OutboxSender,
        observer: VenObserver,
        vitals: Vitals,
        clock: Clock,
        *,
        back: Callable[[], None],
        on_refused: Callable[[VenError], None],
    ) -> None:
        """``back`` is called when the VTN is there again; ``on_refused`` may raise the refusal, which ends ``run``."""
        self._settings = settings
        self._key = settings.enrolment_id
        self._exchange = exchange
        self._registrar = registrar
        self._events = events
        self._opts = opts
        self._reports = reports
        self._inbox = inbox
        self._sender = sender
        self._observer = observer
        self._vitals = vitals
        self._clock = clock
        self._back = back
        self._on_refused = on_refused
        self._alarm = Alarm(clock)
        self._sync_at_s = clock.monotonic()
        self._next_poll_s = clock.monotonic()
        self._reports_at_s = clock.monotonic()
        self._reports_backoff = Backoff()
        self._sync_backoff = Backoff()
        self.state = State.STARTING
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    def wake(self) -> None:
        """Something is owed."""
        self._alarm.ring()

    async def run(self) -> None:
        """Converse until cancelled."""
        self._events.resume()
        backoff = Backoff()
        while True:
            try:
                served = await self._converse()
            except RegistrationCancelledError as error:
                await self._failed(error, State.CANCELLED)
                await self._alarm.wait(backoff.next_s())
                continue
            except VenError as error:
                await self._failed(error, State.REFUSED if isinstance(error, VtnRefusedError) else State.OUTAGE)
                await self._clock.sleep(backoff.next_s())
                continue
            if served:
                backoff.reset()
                self._serving()
            await self._alarm.wait(self._pause_s())

    async def _converse(self) -> bool:
        """One round; polls when that is due and returns whether the VTN was there."""
        if self._registrar.cancelled_held:
            await self._sender.flush(Kind.REPLY)
        if not self._registrar.registered:
            self.state = State.UNREGISTERED
        registration = await self._registrar.ensure()
        if self.state is not State.SERVING:
            self.state = State.SYNCING
            self._opts.renew(registration)
        await self._serve_reports(self._reports.offer, registration)
        if self._clock.monotonic() >= self._sync_at_s:
            await self._request_events(registration)
        await self._settle(registration)
        if self._settings.push is not None:
            return True
        if self._clock.monotonic() < self._next_poll_s:
            return False
        return await self._poll(registration)

    async def _poll(self, registration: Registration) -> bool:
        while True:
            self._next_poll_s = self._clock.monotonic() + registration.poll_interval_s
            answer = await self._exchange.ask(Poll(ven_id=registration.ven_id))
            now = self._clock.now()
            await self._observer.polled(enrolment_id=self._key, at=now)
            self._vitals.last_poll = now
            if answer is not None:
                self._inbox.take(answer, registration)
            await self._confirm_omitted(registration)
            await self._settle(registration)
            empty = answer is None or isinstance(answer, Response)
            if empty or not self._settings.drain_polls or not self._registrar.registered:
                return True

    async def _request_events(self, registration: Registration) -> None:
        """Every event again; what is not on this list any more has been cancelled.

        A VTN that fails on this is asked again later, and polled meanwhile.
        """
        now_s = self._clock.monotonic()
        self._sync_at_s = now_s + self._settings.sync_interval_s
        try:
            answer = await self._exchange.ask(RequestEvent(request_id=str(uuid4()), ven_id=registration.ven_id))
            if answer is not None:
                self._inbox.take(answer, registration)
        except WireError as error:
            # An unreadable event must not keep the readable ones of later polls away.
            self._log.error("the VTN's events cannot be read", why=str(error))
        except VtnError as error:
            if error.code == INVALID_ID or error.forbidden:
                raise
            self._log.warning("the VTN does not list its events", why=str(error))
            self._sync_at_s = now_s + self._sync_backoff.next_s()
            return
        self._sync_backoff.reset()
        await self._events.end(self._inbox.take_omitted())

    async def _confirm_omitted(self, registration: Registration) -> None:
        """What a list leaves out is asked for once more before it is taken as cancelled."""
        if self._inbox.take_omitted():
            await self._request_events(registration)

    async def _settle(self, registration: Registration) -> None:
        """Answer all that is owed; each event as soon as it is decided on, however long another takes."""
        while True:
            await self._confirm_omitted(registration)
            await self._sender.flush()
            await self._serve_reports(self._reports.confirm, registration)
            if not self._events.deciding:
                return
            await self._alarm.wait(self._settings.decision_timeout_s)

    async def _serve_reports(self, step: Callable[[Registration], Awaitable[None]], registration: Registration) -> None:
        """A step of reporting. The VTN's trouble with it waits for a later round, and keeps no event away."""
        if self._clock.monotonic() < self._reports_at_s:
            return
        try:
            await step(registration)
        except VtnError as error:
            self._log.warning("reporting waits", why=str(error))
            self._reports_at_s = self._clock.monotonic() + self._reports_backoff.next_s()
        else:
            self._reports_backoff.reset()

    def _pause_s(self) -> float:
        due_s = self._sync_at_s - self._clock.monotonic()
        if self._reports_at_s > self._clock.monotonic():
            due_s = min(due_s, self._reports_at_s - self._clock.monotonic())
        if self._settings.push is None:
            due_s = min(due_s, self._next_poll_s - self._clock.monotonic())
        else:
            due_s = min(due_s, PUSH_INTERVAL_S)
        retry_s = self._sender.next_retry_s()
        return due_s if retry_s is None else min(due_s, retry_s)

    def _serving(self) -> None:
        self._vitals.succeeded()
        if self.state is not State.SERVING:
            self.state = State.SERVING
            self._back()

    async def _failed(self, error: VenError, state: State) -> None:
        self.state = state
        self._sync_at_s = self._clock.monotonic()
        unknown = isinstance(error, VtnError) and error.code == INVALID_ID
        if unknown or isinstance(error, NotRegisteredError):
            self._registrar.forgotten()
        refused = state is State.REFUSED
        if self._vitals.failed(str(error), refused=refused):
            self._log.warning("the VTN cannot be used now", why=str(error))
            await self._observer.failed(enrolment_id=self._key, why=str(error), at=self._clock.now())
        if refused:
            self._on_refused(error)
