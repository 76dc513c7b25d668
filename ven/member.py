"""The parts of one VEN, put together: one identity at one VTN for one programme."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from certs.files import read_certificates, read_leaf_key
from certs.trust import ChainTrust
from grid.clock import Clock
from ven.availability import OptDesk
from ven.config import VenSettings
from ven.errors import VenError
from ven.events import EventDesk
from ven.exchange import Exchange, Recorder
from ven.inbox import Inbox
from ven.journal import VenJournal
from ven.outbox import OutboxSender
from ven.ports import EventSink, ReportSource, Unobserved, VenObserver
from ven.push import PushEndpoint
from ven.records import Lane, Registration
from ven.registration import Registrar
from ven.report_data import ReportData
from ven.reports import ReportDesk
from ven.session import Session, State
from ven.status import VenStatus, Vitals
from ven.timer import EventTimer
from ven.transport import HttpsTransports, Transport
from ven.wire.codec import Codec
from ven.wire.payload import Message
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier

REFUSALS_BEFORE_GIVING_UP = 3
"""In a row, by a VTN that never took the VEN."""


class Ven:
    """One VEN. Its journal is the gateway's."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        transport: Transport,
        sink: EventSink,
        source: ReportSource,
        observer: VenObserver,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        on_refused: Callable[[VenError], None],
        recorder: Recorder | None,
    ) -> None:
        """Raises CertificateError when the key cannot sign."""
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._vitals = Vitals()
        signer = _signer(settings)
        exchange = Exchange(self._key, transport, Codec(signer, _verifier(settings)), clock, recorder)
        self.registrar = Registrar(settings, journal, exchange, observer, clock)
        self.opts = OptDesk(settings, journal, clock, self._changed)
        self.events = EventDesk(settings, journal, sink, self.opts, observer, clock, tasks, self._changed)
        reports = ReportDesk(settings, journal, exchange, clock, self._asked)
        self._inbox = Inbox(settings, journal, self.registrar, self.events, reports, self._changed)
        sender = OutboxSender(self._key, journal, exchange, self.opts, observer, clock, self._receive)
        self._data = ReportData(settings, journal, source, sender, clock, self._may_send)
        self._timer = EventTimer(settings, journal, self.opts, observer, clock)
        self._session = Session(
            settings,
            exchange,
            self.registrar,
            self.events,
            self.opts,
            reports,
            self._inbox,
            sender,
            observer,
            self._vitals,
            clock,
            back=self._data.asked,
            on_refused=on_refused,
        )
        self._push = None
        if settings.push is not None:
            self._push = PushEndpoint(settings, settings.push, self.registrar, self._inbox, signer, clock, recorder)

    async def run(self) -> None:
        """Serve until cancelled. Raises AddressInUseError in push mode."""
        async with asyncio.TaskGroup() as group:
            if self._push is not None:
                group.create_task(self._serve(self._push))
            for part in (self._session, self._data, self._timer):
                group.create_task(part.run())

    @property
    def hopeless(self) -> bool:
        """Whether the VTN never took us and keeps refusing."""
        return self._vitals.refusals >= REFUSALS_BEFORE_GIVING_UP and self.registrar.held is None

    def enrol(self) -> None:
        """A person wants us registered, whatever came before."""
        self.registrar.allow()
        self._session.wake()

    def status(self) -> VenStatus:
        """A snapshot."""
        held = self.registrar.held
        return VenStatus(
            enrolment_id=self._key,
            ven_name=self._settings.ven_name,
            state=self._session.state.value,
            registered=self.registrar.registered,
            ven_id=None if held is None else held.ven_id,
            vtn_id=None if held is None else held.vtn_id,
            reports_offered=self._journal.reports.offer(self._key) is not None,
            last_poll=self._vitals.last_poll,
            stale=not self._vitals.contact,
            why=self._vitals.why,
            answers_owed=self._journal.outbox.count(self._key, Lane.ANSWERS),
            reports_owed=self._journal.outbox.count(self._key, Lane.DATA),
        )

    async def _serve(self, push: PushEndpoint) -> None:
        async with push.serving():
            await asyncio.Event().wait()

    def _changed(self) -> None:
        self._session.wake()
        self._timer.changed()

    def _asked(self) -> None:
        self._data.asked()
        self._session.wake()

    def _may_send(self) -> bool:
        return self._session.state in (State.SYNCING, State.SERVING)

    def _receive(self, message: Message) -> None:
        held = self.registrar.held
        if held is not None:
            self._inbox.take(message, held)


def _signer(settings: VenSettings) -> Signer | None:
    if not settings.xml_signature:
        return None
    return Signer(read_leaf_key(settings.key_file), read_certificates(settings.certificate))


def _verifier(settings: VenSettings) -> Verifier | None:
    if not settings.xml_signature:
        return None
    trust = ChainTrust(read_certificates(settings.vtn_roots), settings.vtn_host)
    return Verifier(trust, ReplayGuard(settings.replay_window_s))


async def enrol_once(settings: VenSettings, journal: VenJournal, clock: Clock) -> Registration:
    """Register one VEN now, whatever came before, and keep the registration for who runs it.

    Raises VtnRefusedError, VtnUnreachableError, VtnError, WireError, CertificateError.
    """
    transports = HttpsTransports(clock)
    try:
        codec = Codec(_signer(settings), _verifier(settings))
        exchange = Exchange(settings.enrolment_id, await transports.open(settings), codec, clock)
        registrar = Registrar(settings, journal, exchange, Unobserved(), clock)
        registrar.allow()
        # What we hold is shown to the VTN, which may have forgotten it or give another.
        registrar.forgotten()
        return await registrar.ensure()
    finally:
        await transports.close()
