"""What the VTN says on its own, by poll or by push: each message goes to whom it concerns, and has its reply.

A pull VEN's reply is journalled as owed, and sent until it arrives; a push VEN gives it in the HTTP response, and a VTN
that loses that asks again.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from grid.events import GridEvent
from ven.config import VenSettings
from ven.endpoint import request_id_of
from ven.errors import WireError
from ven.events import EventDesk
from ven.journal import VenJournal
from ven.records import Registration
from ven.registration import Registrar
from ven.reports import ReportDesk
from ven.wire.common import INVALID_ID, REPORT_NOT_SUPPORTED, EiResponse
from ven.wire.event import DistributeEvent
from ven.wire.party import CancelPartyRegistration, RequestReregistration, Response
from ven.wire.payload import Message, Service, encode, name_of, service_of
from ven.wire.report import (
    CancelReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    UpdatedReport,
    UpdateReport,
)


class Inbox:
    """The mail of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        registrar: Registrar,
        events: EventDesk,
        reports: ReportDesk,
        changed: Callable[[], None],
    ) -> None:
        """``changed`` is called when something is owed or to be done."""
        self._key = settings.enrolment_id
        self._journal = journal
        self._registrar = registrar
        self._events = events
        self._reports = reports
        self._pushed = settings.push is not None
        self._changed = changed
        self._omitted: list[GridEvent] = []
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    def take_omitted(self) -> list[GridEvent]:
        """Events that the newest list left out, once."""
        omitted, self._omitted = self._omitted, []
        return omitted

    def take(self, message: Message, registration: Registration) -> Message | None:
        """Do what it asks; returns the reply for a push. Raises WireError for what a VEN does not take."""
        if isinstance(message, Response):
            return None
        try:
            return self._take(message, registration)
        finally:
            self._changed()

    def _take(self, message: Message, registration: Registration) -> Message | None:
        ven_id = registration.ven_id
        if getattr(message, "ven_id", None) not in (None, ven_id) and not isinstance(message, CancelPartyRegistration):
            return self._misdirected(message, ven_id)
        match message:
            case DistributeEvent():
                self._omitted = self._events.receive(message, registration)
                return Response(response=EiResponse(request_id=message.request_id), ven_id=ven_id)
            case CreateReport():
                return self._reports.requested(message, registration, owe=not self._pushed)
            case RegisteredReport():
                self._reports.asked_with_registration(message, registration)
                return None
            case CancelReport():
                return self._reports.cancelled(message, registration, owe=not self._pushed)
            case CancelPartyRegistration():
                return self._registrar.cancelled(message, owe=not self._pushed)
            case RequestReregistration():
                return self._registrar.asked_anew(ven_id, owe=not self._pushed)
            case RegisterReport():
                # A VTN may offer reports of its own; we ask for none of them.
                reply = RegisteredReport(response=EiResponse(request_id=message.request_id), ven_id=ven_id)
                return self._owed(f"offer:{message.request_id}", Service.REPORT, reply)
            case UpdateReport():
                refusal = EiResponse(
                    code=REPORT_NOT_SUPPORTED, description="nobody asked for this", request_id=message.request_id
                )
                reply_to = UpdatedReport(response=refusal, ven_id=ven_id)
                return self._owed(f"update:{message.request_id}", Service.REPORT, reply_to)
            case _:
                raise WireError(f"the VTN sent {name_of(message)} where nobody asked for it")

    def _misdirected(self, message: Message, ven_id: str) -> Message | None:
        """Another VEN is meant (rule 21)."""
        self._log.error("a message for another VEN", message=name_of(message))
        if isinstance(message, RegisteredReport):
            return None
        refusal = EiResponse(code=INVALID_ID, description=f"this VEN is {ven_id}", request_id=request_id_of(message))
        reply = Response(response=refusal, ven_id=ven_id)
        return self._owed(f"misdirected:{refusal.request_id}", service_of(message), reply)

    def _owed(self, subject: str, service: Service, reply: Message) -> Message:
        if not self._pushed:
            self._journal.outbox.reply(self._key, subject, service.value, encode(reply))
        return reply
