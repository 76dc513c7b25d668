"""EiRegisterParty at the VTN: who is a VEN of ours, by which certificate, under which identifiers.

The same certificate and VEN name are the same VEN, also after it forgot its identifiers. Whoever shows identifiers
must show ours: others are answered 452, and the VEN then registers anew without any.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import structlog

from grid.clock import Clock
from ven.simulation.config import VtnSettings
from ven.simulation.errors import ProtocolError, UnknownError
from ven.simulation.journal import Journal
from ven.simulation.mailbox import REREGISTRATION, Mailbox, new_id
from ven.simulation.records import VenRecord
from ven.wire.common import INVALID_DATA, INVALID_ID, NOT_ALLOWED, NOT_REGISTERED, EiResponse
from ven.wire.party import (
    PROFILE,
    SIMPLE_HTTP,
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    NamedInfo,
    QueryRegistration,
    RequestReregistration,
)

DRAIN = "x-negawatt-drain"
"""oadrExtension that allows a VEN to poll again at once while messages wait."""


class Registrations:
    """The VENs of one utility."""

    def __init__(self, settings: VtnSettings, journal: Journal, mailbox: Mailbox, clock: Clock) -> None:
        self._settings = settings
        self._journal = journal
        self._mailbox = mailbox
        self._clock = clock
        self._log = structlog.get_logger()

    # --- what VENs ask

    def caller(self, ven_id: str, fingerprint: str | None) -> VenRecord:
        """The registered VEN that sent a message in this name. Raises ProtocolError."""
        ven = self._journal.ven(ven_id)
        if ven is None or ven.registration_id is None:
            raise ProtocolError(NOT_REGISTERED, f"{ven_id or 'a VEN without venID'} is not registered")
        if ven.fingerprint != fingerprint:
            raise ProtocolError(NOT_REGISTERED, f"{ven_id} is registered with another certificate than {fingerprint}")
        return ven

    def only_caller(self, fingerprint: str | None) -> VenRecord:
        """The registered VEN of a certificate, where a message names none. Raises ProtocolError."""
        found = self._journal.vens_of(fingerprint)
        if len(found) != 1:
            raise ProtocolError(
                INVALID_ID if found else NOT_REGISTERED,
                f"the message has no venID, and {len(found)} VENs are registered with {fingerprint}",
            )
        return found[0]

    def query(self, message: QueryRegistration, fingerprint: str | None) -> CreatedPartyRegistration:
        """What we offer, and the identifiers where the certificate tells who asks."""
        known = self._journal.vens_of(fingerprint)
        return self._created(message.request_id, known[0] if len(known) == 1 else None)

    def create(self, message: CreatePartyRegistration, fingerprint: str | None) -> CreatedPartyRegistration:
        """Register, or register again. Raises ProtocolError."""
        self._check_allowed(message, fingerprint)
        name = message.ven_name or fingerprint or message.ven_id or "ven"
        known = self._known(message, fingerprint)
        if known is None:
            ven_id = self._ven_id(message, name, fingerprint)
            before = self._journal.ven(ven_id)
            ven = VenRecord(
                ven_id=ven_id,
                ven_name=name,
                fingerprint=fingerprint,
                registration_id=new_id("registration"),
                registered_at=before.registered_at if before else self._clock.now(),
                reports_created_at=before.reports_created_at if before else None,
            )
        else:
            ven = replace(known, ven_name=message.ven_name or known.ven_name)
        ven = replace(
            ven,
            pull=message.http_pull_model is not False,
            transport_address=message.transport_address,
            report_only=message.report_only,
        )
        self._journal.put_ven(ven)
        self._mailbox.answered(ven.ven_id, REREGISTRATION)
        self._mailbox.reachable(ven.ven_id)
        self._log.info("registered", ven_name=ven.ven_name, ven_id=ven.ven_id, fingerprint=fingerprint)
        return self._created(message.request_id, ven)

    def cancel(self, message: CancelPartyRegistration, fingerprint: str | None) -> CanceledPartyRegistration:
        """The VEN leaves. Raises ProtocolError."""
        caller = self.only_caller(fingerprint) if message.ven_id is None else self.caller(message.ven_id, fingerprint)
        if message.registration_id != caller.registration_id:
            raise ProtocolError(INVALID_ID, f"{message.registration_id} is not the registrationID of {caller.ven_id}")
        self._forget(caller)
        return CanceledPartyRegistration(
            response=EiResponse(request_id=message.request_id),
            registration_id=message.registration_id,
            ven_id=caller.ven_id,
        )

    def canceled(self, message: CanceledPartyRegistration, ven: VenRecord) -> bool:
        """The VEN says whether it is out, and so we do; a late word about a former registration leaves this one."""
        self._mailbox.answered(ven.ven_id, message.response.request_id)
        out = message.response.ok and message.registration_id in (None, ven.registration_id)
        if out:
            self._forget(ven)
        return out

    def refused(self, message: CreatePartyRegistration, error: ProtocolError) -> CreatedPartyRegistration:
        """The answer to a registration that is not accepted."""
        return self._created(message.request_id, None, error)

    # --- what the operator asks

    def named(self, name: str) -> VenRecord:
        """By venID or VEN name, registered now. Raises UnknownError."""
        for ven in self._journal.vens():
            if name in (ven.ven_id, ven.ven_name) and ven.registration_id is not None:
                return ven
        raise UnknownError(f"no VEN named {name} is registered")

    def ask_again(self, ven: VenRecord) -> None:
        """Have the VEN register again."""
        self._mailbox.put(ven.ven_id, RequestReregistration(ven_id=ven.ven_id))

    def put_out(self, ven: VenRecord) -> None:
        """Cancel the registration; it ends when the VEN confirms."""
        assert ven.registration_id is not None
        cancel = CancelPartyRegistration(
            request_id=new_id("cancel"), registration_id=ven.registration_id, ven_id=ven.ven_id
        )
        self._mailbox.put(ven.ven_id, cancel)

    # ---

    def _check_allowed(self, message: CreatePartyRegistration, fingerprint: str | None) -> None:
        allowed = self._settings.ven_fingerprints
        if allowed and fingerprint not in allowed:
            self._log.warning("registration refused", ven_name=message.ven_name, fingerprint=fingerprint)
            raise ProtocolError(NOT_REGISTERED, f"the certificate {fingerprint} may not register")
        if message.profile != PROFILE or message.transport != SIMPLE_HTTP:
            raise ProtocolError(
                NOT_ALLOWED, f"{message.profile} over {message.transport} is not offered: use {PROFILE}, {SIMPLE_HTTP}"
            )
        if message.http_pull_model is False and not message.transport_address:
            raise ProtocolError(INVALID_DATA, "a push VEN tells its oadrTransportAddress")

    def _known(self, message: CreatePartyRegistration, fingerprint: str | None) -> VenRecord | None:
        """The VEN whose identifiers are shown; None where none are. Raises ProtocolError for others' or old ones."""
        if message.registration_id is None:
            return None
        ven = self._journal.ven(message.ven_id or "")
        if ven is None or ven.registration_id != message.registration_id or ven.fingerprint != fingerprint:
            raise ProtocolError(
                INVALID_ID,
                f"venID {message.ven_id} with registrationID {message.registration_id} is not known: register anew",
            )
        return ven

    def _ven_id(self, message: CreatePartyRegistration, name: str, fingerprint: str | None) -> str:
        assigned = self._settings.assigned_ven_ids.get(fingerprint or "")
        if self._settings.ven_id_is_fingerprint and fingerprint is not None:
            if message.ven_id != fingerprint:
                raise ProtocolError(INVALID_ID, f"the venID is the certificate's fingerprint: send {fingerprint}")
            ven_id = fingerprint
        else:
            ven_id = assigned or "ven-" + hashlib.sha256(f"{fingerprint} {name}".encode()).hexdigest()[:16]
        if message.ven_id not in (None, ven_id):
            raise ProtocolError(INVALID_ID, f"venID {message.ven_id} is not known: the VTN gives the venID")
        return ven_id

    def _forget(self, ven: VenRecord) -> None:
        self._journal.put_ven(replace(ven, registration_id=None, reports_created_at=None))
        self._mailbox.clear(ven.ven_id)
        self._log.info("registration cancelled", ven_name=ven.ven_name, ven_id=ven.ven_id)

    def _created(
        self, request_id: str, ven: VenRecord | None, error: ProtocolError | None = None
    ) -> CreatedPartyRegistration:
        response = EiResponse(request_id=request_id)
        if error is not None:
            response = EiResponse(code=error.code, description=str(error), request_id=request_id)
        return CreatedPartyRegistration(
            response=response,
            vtn_id=self._settings.vtn_id,
            ven_id=None if ven is None else ven.ven_id,
            registration_id=None if ven is None else ven.registration_id,
            poll_interval_s=float(self._settings.poll_interval_s),
            extensions=(NamedInfo(name=DRAIN),) if self._settings.drain else (),
        )
