"""Push mode: the VEN serves OpenADR's endpoints over mutual TLS and the VTN sends there what it has (httpPullModel).

Only the VTN we are registered with is heard, and no other party of its trust domain: the certificate of the connection
chains to the imported roots and is the one we know, or signs the message and names the VTN's host. A message that
needs an answer of its own (an oadrCreatedEvent) gets that later, by us to the VTN.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from certs.files import read_certificates
from certs.tls import server_context
from certs.trust import ChainTrust
from grid.clock import Clock
from ven.config import PushSettings, VenSettings
from ven.endpoint import Answer, Call, Endpoint, request_id_of
from ven.errors import WireError
from ven.exchange import Recorder
from ven.inbox import Inbox
from ven.registration import Registrar
from ven.wire.codec import Codec
from ven.wire.common import INVALID_DATA, NOT_REGISTERED, EiResponse
from ven.wire.party import Response
from ven.wire.payload import Message
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier

PUSH = "push"
"""Service under which the archive keeps what was pushed, and what that was answered."""


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
        recorder: Recorder | None,
    ) -> None:
        self._registrar = registrar
        self._inbox = inbox
        self._vtn = None if push.vtn_fingerprint is None else push.vtn_fingerprint.strip().upper()
        self._log = structlog.get_logger().bind(enrolment_id=settings.enrolment_id)
        verifier = None
        if settings.xml_signature:
            host = settings.vtn_host if push.vtn_fingerprint is None else None
            trust = ChainTrust(read_certificates(settings.vtn_roots), host)
            verifier = Verifier(trust, ReplayGuard(settings.replay_window_s))
        codec = Codec(signer, verifier)
        if recorder is not None:
            codec = _RecordingCodec(signer, verifier, settings.enrolment_id, recorder)
        self._endpoint = Endpoint(
            self._handle,
            codec,
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
        if self._vtn is not None and call.fingerprint != self._vtn:
            self._log.error("somebody else pushed", fingerprint=call.fingerprint)
            return web.Response(status=403, text=f"{call.fingerprint} is not the certificate of this VEN's VTN")
        held = self._registrar.held
        if held is None or held.cancelled_at is not None:
            return _refusal(NOT_REGISTERED, "this VEN is not registered with you", call)
        try:
            return self._inbox.take(call.message, held)
        except WireError as error:
            self._log.warning("a pushed message was refused", why=str(error))
            return _refusal(INVALID_DATA, str(error), call)


class _RecordingCodec(Codec):
    """Archives what passes, whatever becomes of it."""

    def __init__(self, signer: Signer | None, verifier: Verifier | None, enrolment_id: str, recorder: Recorder) -> None:
        super().__init__(signer, verifier)
        self._enrolment_id = enrolment_id
        self._recorder = recorder

    def seal(self, signed_object: bytes, now: datetime) -> bytes:
        content = super().seal(signed_object, now)
        self._recorder.record(self._enrolment_id, sent=True, service=PUSH, content=content)
        return content

    def open(self, content: bytes, now: datetime) -> tuple[Message, str | None]:
        self._recorder.record(self._enrolment_id, sent=False, service=PUSH, content=content)
        return super().open(content, now)


def _refusal(code: int, description: str, call: Call) -> Response:
    return Response(response=EiResponse(code=code, description=description, request_id=request_id_of(call.message)))
