"""EiRegisterParty: being known to the VTN, across restarts of either side.

A registration is kept and used until the VTN asks for another. A new one is asked for with the identifiers we hold,
and without them when the VTN does not know them any more.
"""

from __future__ import annotations

from uuid import uuid4

import structlog

from certs.fingerprint import openadr_fingerprint
from grid.clock import Clock
from ven.config import VenSettings
from ven.errors import NotRegisteredError, VtnError, VtnRefusedError, WireError
from ven.exchange import Exchange, check
from ven.journal import VenJournal
from ven.ports import VenObserver
from ven.records import Registration
from ven.wire.messages import CreatedPartyRegistration, CreatePartyRegistration


class Registrar:
    """The registration of one VEN."""

    def __init__(
        self, settings: VenSettings, journal: VenJournal, exchange: Exchange, observer: VenObserver, clock: Clock
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._exchange = exchange
        self._observer = observer
        self._clock = clock
        self._asked_anew = False
        self._log = structlog.get_logger().bind(enrolment_id=settings.enrolment_id)

    @property
    def registration(self) -> Registration | None:
        """The registration we hold, whether or not the VTN still knows it."""
        return self._journal.registration(self._settings.enrolment_id)

    @property
    def registered(self) -> bool:
        """Whether we hold a registration the VTN did not withdraw."""
        return self.registration is not None and not self._asked_anew

    def register_anew(self) -> None:
        """The VTN does not know us any more: the next ``ensure`` registers."""
        self._asked_anew = True

    async def ensure(self) -> Registration:
        """The registration in force, made if need be.

        Raises VtnRefusedError when the VTN does not take us, and what ``Exchange.ask`` raises.
        """
        held = self.registration
        if held is not None and not self._asked_anew:
            return held
        answer = await self._register(held)
        registration = self._accepted(answer)
        await self._observer.registered(
            enrolment_id=registration.enrolment_id,
            ven_id=registration.ven_id,
            vtn_id=registration.vtn_id,
            at=registration.registered_at,
        )
        self._journal.register(registration)
        self._asked_anew = False
        self._log.info("registered", ven_id=registration.ven_id, vtn_id=registration.vtn_id)
        return registration

    async def _register(self, held: Registration | None) -> CreatedPartyRegistration:
        if held is not None:
            try:
                return await self._ask(held.ven_id, held.registration_id)
            except (NotRegisteredError, VtnError) as error:
                if isinstance(error, VtnError) and not error.permanent:
                    raise
                self._log.warning("the VTN does not know our registration", why=str(error))
        try:
            return await self._ask(None, None)
        except NotRegisteredError as error:
            raise self._refused(str(error)) from error
        except VtnError as error:
            if error.permanent:
                raise self._refused(str(error)) from error
            raise

    async def _ask(self, ven_id: str | None, registration_id: str | None) -> CreatedPartyRegistration:
        answer = await self._exchange.ask(
            CreatePartyRegistration(
                request_id=str(uuid4()),
                ven_name=self._settings.ven_name,
                ven_id=ven_id,
                registration_id=registration_id,
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
        return Registration(
            enrolment_id=self._settings.enrolment_id,
            vtn_id=answer.vtn_id,
            ven_id=answer.ven_id,
            registration_id=answer.registration_id,
            poll_interval_s=answer.poll_interval_s or self._settings.poll_interval_s,
            registered_at=self._clock.now(),
        )

    def _refused(self, why: str) -> VtnRefusedError:
        fingerprint = openadr_fingerprint(self._settings.certificate.read_bytes())
        return VtnRefusedError(
            f"the VTN refused to register {self._settings.ven_name} ({why}): "
            f"have the utility accept the certificate with fingerprint {fingerprint}"
        )
