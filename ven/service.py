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
from grid.events import Decision, OptType
from grid.intervals import Interval
from ven.config import VenSettings
from ven.errors import UnknownError, VenError
from ven.exchange import Recorder
from ven.journal import VenJournal
from ven.member import Ven
from ven.ports import EventSink, ReportSource, VenObserver
from ven.records import StoredOpt
from ven.status import VenStatus
from ven.transport import HttpsTransports, Transport

Connect = Callable[[VenSettings], Awaitable[Transport]]
"""Opens the way to a VEN's VTN. Raises CertificateError."""


class VenGateway:
    """Runs the VENs of ``settings`` until cancelled."""

    def __init__(
        self,
        settings: Sequence[VenSettings],
        journal: Path | VenJournal,
        sink: EventSink,
        source: ReportSource,
        observer: VenObserver,
        clock: Clock,
        connect: Connect | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """``journal``: its file, or one that is open already and stays so. ``connect``: HTTPS when left out."""
        enrolments = [one.enrolment_id for one in settings]
        if len(set(enrolments)) != len(enrolments):
            raise ConfigError("two VENs have the same enrolment_id: give each its own")
        self._settings = settings
        self._journal = journal
        self._sink = sink
        self._source = source
        self._observer = observer
        self._clock = clock
        self._connect = connect
        self._recorder = recorder
        self._vens: dict[str, Ven] = {}

    async def run(self) -> None:
        """Serve every VEN.

        Raises CertificateError, JournalError or AddressInUseError at start; VtnRefusedError when every VEN was
        refused and none was ever registered; what the observer or the source raises.
        """
        async with AsyncExitStack() as stack:
            transports = HttpsTransports(self._clock)
            stack.push_async_callback(transports.close)
            connect = self._connect or transports.open
            ways = [await connect(one) for one in self._settings]
            journal = self._journal
            if isinstance(journal, Path):
                journal = VenJournal.open(journal)
                stack.callback(journal.close)
            stack.callback(self._vens.clear)
            async with asyncio.TaskGroup() as tasks:
                for one, transport in zip(self._settings, ways, strict=True):
                    self._vens[one.enrolment_id] = Ven(
                        one,
                        journal,
                        transport,
                        self._sink,
                        self._source,
                        self._observer,
                        self._clock,
                        tasks,
                        self._give_up_if_hopeless,
                        self._recorder,
                    )
                for ven in self._vens.values():
                    tasks.create_task(ven.run())

    def status(self) -> tuple[VenStatus, ...]:
        """How each VEN fares, in the order of the settings; empty unless ``run`` runs."""
        return tuple(ven.status() for ven in self._vens.values())

    def redecide(self, event_key: tuple[str, str], decision: Decision) -> None:
        """Replace the decision on (enrolment_id, event_id); a changed opt goes to the VTN at once.

        Raises VenError when there is no such VEN running or no such event.
        """
        enrolment_id, event_id = event_key
        self._ven(enrolment_id).events.redecide(event_id, decision)

    def opt(
        self, enrolment_id: str, opt: OptType, periods: Sequence[Interval], *, resource_ids: Sequence[str] = ()
    ) -> StoredOpt:
        """Opt an enrolment, or some of its resources, out (or in) for stretches of time. Raises VenError."""
        return self._ven(enrolment_id).opts.create(opt, periods, resource_ids=resource_ids)

    def opts(self, enrolment_id: str) -> list[StoredOpt]:
        """Every opt over time of an enrolment. Raises VenError."""
        return self._ven(enrolment_id).opts.all()

    def cancel_opt(self, enrolment_id: str, opt_id: str) -> None:
        """End an opt. Raises VenError for an unknown one."""
        self._ven(enrolment_id).opts.cancel(opt_id)

    async def cancel_registration(self, enrolment_id: str) -> None:
        """Leave the VTN, until ``enrol``. Raises VenError."""
        await self._ven(enrolment_id).registrar.cancel()

    def enrol(self, enrolment_id: str) -> None:
        """Register again after either side cancelled. Raises VenError for an unknown enrolment."""
        self._ven(enrolment_id).enrol()

    def _ven(self, enrolment_id: str) -> Ven:
        try:
            return self._vens[enrolment_id]
        except KeyError:
            raise UnknownError(f"there is no VEN {enrolment_id} running here") from None

    def _give_up_if_hopeless(self, error: VenError) -> None:
        if all(ven.hopeless for ven in self._vens.values()):
            raise error
