"""Push mode: the VEN serves OpenADR's endpoints over mutual TLS and the VTN sends there what it has (httpPullModel).

Only the VTN we are registered with is heard: the TLS certificate chains to the imported roots and the message is
signed by the same. A message that needs an answer of its own (an oadrCreatedEvent) gets that later, by us to the VTN.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

import structlog

from certs.files import read_certificates
from certs.tls import server_context
from certs.trust import ChainTrust
from grid.clock import Clock
from ven.config import PushSettings, VenSettings
from ven.endpoint import Answer, Call, Endpoint, request_id_of
from ven.errors import WireError
from ven.inbox import Inbox
from ven.registration import Registrar
from ven.wire.codec import Codec
from ven.wire.common import INVALID_DATA, NOT_REGISTERED, EiResponse
from ven.wire.party import Response
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier


class PushEndpoint:
    """Where one VEN's VTN sends its messages."""

    def __init__(
        self,
        settings: VenSettings,
        push: PushSettings,
        registrar: Registrar,
        inbox: Inbox,
        signer: Signer | None,
        clock: Clock,
    ) -> None:
        self._registrar = registrar
        self._inbox = inbox
        self._log = structlog.get_logger().bind(enrolment_id=settings.enrolment_id)
        verifier = None
        if settings.xml_signature:
            # Whoever pushes is a client here, so the chain counts and not a host name.
            roots = ChainTrust(read_certificates(settings.vtn_roots))
            verifier = Verifier(roots, ReplayGuard(settings.replay_window_s))
        self._endpoint = Endpoint(
            self._handle,
            Codec(signer, verifier),
            clock,
            tls=server_context(settings.identity, settings.ciphers),
            host=push.host,
            port=push.port,
            prefix=urlsplit(push.url).path,
        )

    def serving(self) -> AbstractAsyncContextManager[int]:
        """Serve; gives the port. Raises AddressInUseError."""
        return self._endpoint.serving()

    async def _handle(self, call: Call) -> Answer:
        held = self._registrar.held
        if held is None or held.cancelled_at is not None:
            return _refusal(NOT_REGISTERED, "this VEN is not registered with you", call)
        try:
            return self._inbox.take(call.message, held)
        except WireError as error:
            self._log.warning("a pushed message was refused", why=str(error))
            return _refusal(INVALID_DATA, str(error), call)


def _refusal(code: int, description: str, call: Call) -> Response:
    return Response(response=EiResponse(code=code, description=description, request_id=request_id_of(call.message)))
