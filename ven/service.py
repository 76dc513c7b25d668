"""The VEN gateway: many VENs in one process, each with its own session, all with one journal.

One VEN's outage or refusal does not touch the others. The gateway gives up only when a person has to act: our own
certificate cannot stand, or no VTN ever took any of its VENs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from grid.clock import Clock
from grid.errors import ConfigError
from grid.events import Decision
from ven.config import VenSettings
from ven.errors import VenError
from ven.events import EventDesk
from ven.exchange import Exchange
from ven.journal import VenJournal
from ven.opt import OptSender
from ven.polling import PollLoop
from ven.ports import EventSink, ReportSource, VenObserver
from ven.registration import Registrar
from ven.reports import ReportDesk
from ven.status import VenStatus, Vitals
from ven.transport import HttpsTransport, Transport
from ven.waiting import Alarm
from ven.wire.codec import Codec
from ven.wire.signatures import Signer, Verifier

Connect = Callable[[VenSettings, Clock], Awaitable[Transport]]
"""Opens the way to a VEN's VTN. Raises CertificateError."""

REFUSALS_BEFORE_GIVING_UP = 3
"""In a row, by a VTN that never took the VEN."""


class VenGateway:
    """Runs the VENs of ``settings`` until cancelled."""

    def __init__(
        self,
        settings: Sequence[VenSettings],
        journal_path: Path,
        sink: EventSink,
        source: ReportSource,
        observer: VenObserver,
        clock: Clock,
        connect: Connect = HttpsTransport.open,
    ) -> None:
        enrolments = [one.enrolment_id for one in settings]
        if len(set(enrolments)) != len(enrolments):
            raise ConfigError("two VENs have the same enrolment_id: give each its own")
        self._settings = settings
        self._journal_path = journal_path
        self._sink = sink
        self._source = source
        self._observer = observer
        self._clock = clock
        self._connect = connect
        self._vens: dict[str, _Ven] = {}

    async def run(self) -> None:
        """Serve every VEN.

        Raises CertificateError or JournalError at start; VtnRefusedError when every VEN was refused and none was
        ever registered; what the observer or the source raises.
        """
        async with AsyncExitStack() as stack:
            exchanges = []
            for one in self._settings:
                exchanges.append(await self._exchange(one))
                stack.push_async_callback(exchanges[-1].close)
            journal = VenJournal.open(self._journal_path)
            stack.callback(journal.close)
            stack.callback(self._vens.clear)
            async with asyncio.TaskGroup() as tasks:
                for one, exchange in zip(self._settings, exchanges, strict=True):
                    self._vens[one.enrolment_id] = self._ven(one, journal, exchange, tasks)
                for ven in self._vens.values():
                    tasks.create_task(ven.poll_loop.run())
                    tasks.create_task(ven.reports.run())

    def status(self) -> tuple[VenStatus, ...]:
        """How each VEN fares, in the order of the settings; empty unless ``run`` runs."""
        return tuple(ven.status() for ven in self._vens.values())

    def redecide(self, event_key: tuple[str, str], decision: Decision) -> None:
        """Replace the decision on (enrolment_id, event_id); a changed opt goes to the VTN at once.

        Raises VenError when there is no such VEN running or no such event.
        """
        enrolment_id, event_id = event_key
        if enrolment_id not in self._vens:
            raise VenError(f"there is no VEN {enrolment_id} running here")
        self._vens[enrolment_id].events.redecide(event_id, decision)

    async def _exchange(self, settings: VenSettings) -> Exchange:
        codec = Codec(Signer(settings.identity), Verifier(settings.identity, settings.vtn_host), self._clock)
        return Exchange(await self._connect(settings, self._clock), codec)

    def _ven(self, settings: VenSettings, journal: VenJournal, exchange: Exchange, tasks: asyncio.TaskGroup) -> _Ven:
        return _Ven(
            settings,
            journal,
            exchange,
            self._sink,
            self._source,
            self._observer,
            self._clock,
            tasks,
            self._give_up_if_hopeless,
        )

    def _give_up_if_hopeless(self, error: VenError) -> None:
        if all(ven.hopeless for ven in self._vens.values()):
            raise error


class _Ven:
    """The parts of one VEN, put together."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        exchange: Exchange,
        sink: EventSink,
        source: ReportSource,
        observer: VenObserver,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        on_refused: Callable[[VenError], None],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._vitals = Vitals()
        alarm = Alarm(clock)
        self.events = EventDesk(settings, journal, sink, clock, tasks, alarm.ring)
        self.reports = ReportDesk(settings, journal, exchange, source, observer, clock)
        self._registrar = Registrar(settings, journal, exchange, observer, clock)
        self.poll_loop = PollLoop(
            settings.enrolment_id,
            exchange,
            self._registrar,
            self.events,
            OptSender(settings.enrolment_id, journal, exchange, observer, clock),
            self.reports,
            observer,
            self._vitals,
            alarm,
            clock,
            on_refused,
        )

    @property
    def hopeless(self) -> bool:
        """Whether the VTN never took us and keeps refusing."""
        return self._vitals.refusals >= REFUSALS_BEFORE_GIVING_UP and self._registrar.registration is None

    def status(self) -> VenStatus:
        key = self._settings.enrolment_id
        registration = self._registrar.registration
        return VenStatus(
            enrolment_id=key,
            ven_name=self._settings.ven_name,
            registered=self._registrar.registered,
            ven_id=None if registration is None else registration.ven_id,
            vtn_id=None if registration is None else registration.vtn_id,
            reports_offered=self._journal.offer(key) is not None,
            last_poll=self._vitals.last_poll,
            stale=not self._vitals.contact,
            why=self._vitals.why,
            answers_owed=len(self._journal.owed_answers(key)),
            reports_owed=self._journal.owed_updates(key),
        )
