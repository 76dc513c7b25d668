"""The utility's VTN without sockets: a message in, the answer out, and what the operator may ask.

A message is one transaction: it is committed before its answer exists, so a VTN that is killed has either not taken
it or goes on from it. Whoever carries messages (mutual TLS, or a test's transport) tells the certificate's
fingerprint; a VEN is believed to be who it says only with the certificate that it registered with.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from grid.clock import Clock
from ven.endpoint import request_id_of
from ven.simulation.config import VtnSettings
from ven.simulation.errors import ProtocolError
from ven.simulation.events import Events
from ven.simulation.faults import CARRIED, NOT_TAKEN, FaultError, FaultKind, Faults
from ven.simulation.journal import Journal
from ven.simulation.mailbox import Mailbox
from ven.simulation.messages import Direction, MessageLog, Passed
from ven.simulation.opts import Opts
from ven.simulation.received import Received
from ven.simulation.records import VenRecord
from ven.simulation.refusals import refusal
from ven.simulation.registrations import Registrations
from ven.simulation.reports import Reports
from ven.wire.common import COMPLIANCE, REPORT_NOT_SUPPORTED, EiResponse
from ven.wire.event import CreatedEvent, RequestEvent
from ven.wire.opt import CancelOpt, CreateOpt
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatePartyRegistration,
    Poll,
    QueryRegistration,
    Response,
)
from ven.wire.payload import Message, Service, name_of
from ven.wire.report import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    UpdateReport,
)


class UtilityVtn:
    """One utility."""

    def __init__(self, settings: VtnSettings, clock: Clock, journal: Path | None = None) -> None:
        """``journal``: in place of the settings' one. Raises JournalError."""
        self.settings = settings
        self.clock = clock
        self.journal = Journal(journal or settings.journal)
        self.mailbox = Mailbox(self.journal, clock, settings.resend_s)
        self.registrations = Registrations(settings, self.journal, self.mailbox, clock)
        self.events = Events(settings, self.journal, self.mailbox, clock)
        self.reports = Reports(settings, self.journal, self.mailbox, clock)
        self.opts = Opts(settings, self.journal, clock)
        self.faults = Faults(settings.fault_seed)
        self.messages = MessageLog(settings.messages_kept)
        self._log = structlog.get_logger()

    def close(self) -> None:
        """No more messages."""
        self.journal.close()

    async def handle(self, service: Service, message: Message, fingerprint: str | None) -> Message | None:
        """The answer; None is an empty HTTP 200. Raises FaultError where a fault is set for this call."""
        ven_id = self._ven_id(message, fingerprint)
        self._enter(Direction.RECEIVED, service, ven_id, message)
        if (delay := self.faults.draw((FaultKind.DELAY,), service, ven_id)) is not None:
            await self.clock.sleep(delay.delay_s)
        if (fault := self.faults.draw(NOT_TAKEN, service, ven_id)) is not None:
            raise FaultError(fault.kind)
        answer = self.take(message, fingerprint)
        if answer is not None:
            answer = self.faults.tamper(answer, service, ven_id)
            self._enter(Direction.SENT, service, ven_id, answer)
        if (fault := self.faults.draw(CARRIED, service, ven_id)) is not None:
            raise FaultError(fault.kind, answer)
        return answer

    def take(self, message: Message, fingerprint: str | None) -> Message | None:
        """``handle`` without faults: commit what the message says, and answer."""
        try:
            with self.journal.transaction():
                return self._answer(message, fingerprint)
        except ProtocolError as error:
            self._log.info("message refused", message=name_of(message), code=error.code, why=str(error))
            if isinstance(message, CreatePartyRegistration):
                return self.registrations.refused(message, error)
            return refusal(message, error, self.settings.vtn_id)

    def pushed(self, ven_id: str, service: Service, message: Message) -> None:
        """Note what goes out to a push VEN."""
        self._enter(Direction.SENT, service, ven_id, message)

    def answered(self, ven: VenRecord, service: Service, message: Message) -> None:
        """Take what a push VEN said in its HTTP response."""
        self._enter(Direction.RECEIVED, service, ven.ven_id, message)
        self.take(message, ven.fingerprint)

    def received(self, ven: VenRecord) -> Received:
        """Everything the VEN reported in kW."""
        return Received(
            ven_name=ven.ven_name,
            resources=self.reports.resources(ven.ven_id),
            reports_created_at=ven.reports_created_at,
            readings_kw=self.journal.readings_kw(ven.ven_id),
        )

    # ---

    def _answer(self, message: Message, fingerprint: str | None) -> Message | None:
        match message:
            case QueryRegistration():
                return self.registrations.query(message, fingerprint)
            case CreatePartyRegistration():
                return self.registrations.create(message, fingerprint)
            case CancelPartyRegistration():
                return self._left(message, fingerprint)
            case Response():
                return None
        ven = self._caller(message, fingerprint)
        match message:
            case Poll():
                return self.mailbox.take(ven.ven_id) or Response(response=EiResponse(), ven_id=ven.ven_id)
            case RequestEvent():
                return self.events.requested(message, ven)
            case CreatedEvent():
                return self.events.created(message, ven)
            case RegisterReport():
                return self.reports.registered(message, ven)
            case CreatedReport():
                return self.reports.created(message, ven)
            case UpdateReport():
                return self.reports.updated(message, ven)
            case CanceledReport():
                return self.reports.canceled(message, ven)
            case CreateOpt():
                return self.opts.create(message, ven)
            case CancelOpt():
                return self.opts.cancel(message, ven)
            case CanceledPartyRegistration():
                if self.registrations.canceled(message, ven):
                    self.reports.end_all(ven)
                return _accepted(message, ven)
            case RegisteredReport():
                return _accepted(message, ven)
            case CreateReport() | CancelReport():
                raise ProtocolError(REPORT_NOT_SUPPORTED, "this VTN has no reports of its own")
        raise ProtocolError(COMPLIANCE, f"a VEN does not send {name_of(message)}")

    def _left(self, message: CancelPartyRegistration, fingerprint: str | None) -> Message:
        answer = self.registrations.cancel(message, fingerprint)
        ven = self.journal.ven(answer.ven_id or "")
        assert ven is not None
        self.reports.end_all(ven)
        return answer

    def _caller(self, message: Message, fingerprint: str | None) -> VenRecord:
        ven_id: str | None = getattr(message, "ven_id", None)
        if ven_id is None:
            return self.registrations.only_caller(fingerprint)
        return self.registrations.caller(ven_id, fingerprint)

    def _ven_id(self, message: Message, fingerprint: str | None) -> str | None:
        """Whose message it is, as far as can be told; for faults and the log."""
        ven_id: str | None = getattr(message, "ven_id", None)
        if ven_id is not None:
            return ven_id
        known = self.journal.vens_of(fingerprint)
        return known[0].ven_id if len(known) == 1 else None

    def _enter(self, direction: Direction, service: Service, ven_id: str | None, message: Message) -> None:
        self.messages.enter(
            Passed(at=self.clock.now(), direction=direction, service=service, ven_id=ven_id, message=message)
        )


def _accepted(message: Message, ven: VenRecord) -> Response:
    return Response(response=EiResponse(request_id=request_id_of(message)), ven_id=ven.ven_id)
