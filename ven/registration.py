"""EiRegisterParty: being known to the VTN, across restarts of either side.

A registration is kept and used until the VTN asks for another, or one side cancels it. A new one is asked for with
the identifiers we hold, and without them when the VTN does not know them any more. One that was cancelled is not made
again before a person says so.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

import structlog

from certs.fingerprint import openadr_fingerprint
from grid.clock import Clock
from ven.config import VenSettings
from ven.errors import NotRegisteredError, RegistrationCancelledError, VtnError, VtnRefusedError, WireError
from ven.exchange import Exchange, acknowledged, check
from ven.journal import VenJournal
from ven.ports import VenObserver
from ven.records import Registration
from ven.wire.common import ACCEPTED, INVALID_ID, EiResponse
from ven.wire.party import (
    PROFILE,
    SIMPLE_HTTP,
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    QueryRegistration,
    Response,
)
from ven.wire.payload import Service, encode


class Registrar:
    """The registration of one VEN."""

    def __init__(
        self, settings: VenSettings, journal: VenJournal, exchange: Exchange, observer: VenObserver, clock: Clock
    ) -> None:
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._exchange = exchange
        self._observer = observer
        self._clock = clock
        self._forgotten = False
        self._one_at_a_time = asyncio.Lock()
        """A registration made while another is given up would be lost."""
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    @property
    def held(self) -> Registration | None:
        """The registration we hold, whether or not the VTN still knows it."""
        return self._journal.registrations.of(self._key)

    @property
    def registered(self) -> bool:
        """Whether we hold a registration that nobody withdrew."""
        held = self.held
        return held is not None and held.cancelled_at is None and not held.asked_anew and not self._forgotten

    @property
    def cancelled_held(self) -> bool:
        """Whether what we hold was cancelled."""
        held = self.held
        return held is not None and held.cancelled_at is not None

    def forgotten(self) -> None:
        """The VTN does not know us any more: the next ``ensure`` registers."""
        self._forgotten = True

    def asked_anew(self, ven_id: str, *, owe: bool) -> Response:
        """The VTN wants a new registration: the next ``ensure`` makes it; returns the reply, owed where so told."""
        reply = Response(response=ACCEPTED, ven_id=ven_id)
        self._journal.registrations.ask_anew(self._key, encode(reply) if owe else None)
        return reply

    def allow(self) -> None:
        """A person wants us registered again after a cancellation."""
        self._journal.registrations.allow(self._key)

    async def ensure(self) -> Registration:
        """The registration in force, made if need be.

        Raises RegistrationCancelledError, VtnRefusedError when the VTN does not take us, and what ``Exchange.ask``
        raises.
        """
        held = self.held
        if held is not None and self.registered:
            return held
        async with self._one_at_a_time:
            # `negawatt ven enrol` may have registered from another process.
            self._journal.refresh()
            held = self.held
            if held is not None and held.cancelled_at is not None:
                raise RegistrationCancelledError(
                    f"the registration of {self._settings.ven_name} was cancelled at "
                    f"{held.cancelled_at:%Y-%m-%d %H:%M} UTC: run `negawatt ven enrol` to register again"
                )
            return held if held is not None and self.registered else await self._renew(held)

    async def _renew(self, held: Registration | None) -> Registration:
        if held is None:
            await self._query()
        registration = self._accepted(await self._register(held))
        await self._observer.registered(
            enrolment_id=registration.enrolment_id,
            ven_id=registration.ven_id,
            vtn_id=registration.vtn_id,
            at=registration.registered_at,
        )
        self._journal.registrations.register(registration)
        self._forgotten = False
        self._log.info("registered", ven_id=registration.ven_id, vtn_id=registration.vtn_id)
        return registration

    async def cancel(self) -> None:
        """Leave the VTN. Raises VtnError when it refuses, and what ``Exchange.ask`` raises."""
        held = self.held
        if held is None or held.cancelled_at is not None:
            return
        async with self._one_at_a_time:
            try:
                await self._leave(held)
            except VtnError as error:
                if error.code != INVALID_ID:
                    raise
                # The answer that gave us a newer one was lost, or another process has it: learn it, and leave that.
                self._log.warning("the VTN knows us by another registration", why=str(error))
                await self._leave(await self._renew(held))
            self._journal.registrations.cancel(self._key, self._clock.now())

    async def _leave(self, held: Registration) -> None:
        message = CancelPartyRegistration(
            request_id=str(uuid4()), registration_id=held.registration_id, ven_id=held.ven_id
        )
        try:
            answer = acknowledged(await self._exchange.ask(message))
            if isinstance(answer, CanceledPartyRegistration):
                check(answer.response)
        except NotRegisteredError as error:
            self._log.warning("the VTN had forgotten the registration that we cancel", why=str(error))

    def cancelled(self, message: CancelPartyRegistration, *, owe: bool) -> CanceledPartyRegistration:
        """The VTN cancels; returns what to reply, owed to it where ``owe`` says so.

        Wrong identifiers are refused with 452 and change nothing.
        """
        held = self.held
        ours = held is not None and message.registration_id == held.registration_id
        response = EiResponse(request_id=message.request_id)
        if held is None or not ours or message.ven_id not in (None, held.ven_id):
            response = EiResponse(code=INVALID_ID, description="not our registrationID", request_id=message.request_id)
        reply = CanceledPartyRegistration(
            response=response, registration_id=message.registration_id, ven_id=None if held is None else held.ven_id
        )
        if response.ok:
            self._log.error("the VTN cancelled the registration")
            self._journal.registrations.cancel(self._key, self._clock.now(), encode(reply) if owe else None)
        elif owe:
            self._journal.outbox.reply(self._key, "registration", Service.REGISTER_PARTY.value, encode(reply))
        return reply

    async def _query(self) -> None:
        """What the VTN offers. A VTN that does not answer queries may register us all the same."""
        try:
            answer = await self._exchange.ask(QueryRegistration(request_id=str(uuid4())))
        except (VtnError, NotRegisteredError, WireError) as error:
            self._log.info("the VTN does not answer oadrQueryRegistration", why=str(error))
            return
        if not isinstance(answer, CreatedPartyRegistration) or not answer.profiles:
            return
        offered = {(profile.name, name) for profile in answer.profiles for name in profile.transports}
        if (PROFILE, SIMPLE_HTTP) not in offered:
            raise VtnRefusedError(f"the VTN does not offer OpenADR {PROFILE} over {SIMPLE_HTTP}, which is all we speak")

    async def _register(self, held: Registration | None) -> CreatedPartyRegistration:
        if held is not None:
            try:
                return await self._ask(held.ven_id, held.registration_id)
            except (NotRegisteredError, VtnError) as error:
                if isinstance(error, VtnError) and not error.permanent:
                    raise
                self._log.warning("the VTN does not know our registration", why=str(error))
        try:
            return await self._ask(self._settings.ven_id, None)
        except NotRegisteredError as error:
            raise self._refused(str(error)) from error
        except VtnError as error:
            if error.permanent or error.forbidden:
                raise self._refused(str(error)) from error
            raise

    async def _ask(self, ven_id: str | None, registration_id: str | None) -> CreatedPartyRegistration:
        push = self._settings.push
        answer = await self._exchange.ask(
            CreatePartyRegistration(
                request_id=str(uuid4()),
                ven_name=self._settings.ven_name,
                ven_id=ven_id,
                registration_id=registration_id,
                xml_signature=self._settings.xml_signature,
                transport_address=None if push is None else push.url,
                http_pull_model=push is None,
            )
        )
        if not isinstance(answer, CreatedPartyRegistration):
            raise WireError("the VTN answered a registration with something else")
        check(answer.response)
        return answer

    def _accepted(self, answer: CreatedPartyRegistration) -> Registration:
        expected = self._settings.vtn_id
        if expected is not None and answer.vtn_id != expected:
            raise VtnRefusedError(f"the VTN calls itself {answer.vtn_id}, not {expected}: check vtn_id and vtn_url")
        if answer.ven_id is None or answer.registration_id is None:
            raise self._refused("it gave no registrationID")
        told_s = answer.poll_interval_s
        return Registration(
            enrolment_id=self._key,
            vtn_id=answer.vtn_id,
            ven_id=answer.ven_id,
            registration_id=answer.registration_id,
            poll_interval_s=told_s if told_s is not None and told_s > 0 else self._settings.poll_interval_s,
            registered_at=self._clock.now(),
        )

    def _refused(self, why: str) -> VtnRefusedError:
        fingerprint = openadr_fingerprint(self._settings.certificate.read_bytes())
        return VtnRefusedError(
            f"the VTN refused to register {self._settings.ven_name} ({why}): "
            f"have the utility accept the certificate with fingerprint {fingerprint}"
        )
