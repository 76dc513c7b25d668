"""One message to the VTN and its answer, typed at both ends.

The one place where the errors every answer may carry are told apart: asked to register again, refused, empty; and
where what passes is archived.
"""

from __future__ import annotations

from typing import Protocol

from grid.clock import Clock
from ven.errors import NotRegisteredError, VtnError
from ven.transport import Transport
from ven.wire.codec import Codec
from ven.wire.common import NOT_REGISTERED, EiResponse
from ven.wire.event import DistributeEvent
from ven.wire.party import RequestReregistration, Response
from ven.wire.payload import Message, Service, encode, service_of

SILENT = 200
"""HTTP status of an empty answer."""


class Recorder(Protocol):
    """Keeps raw messages."""

    def record(self, enrolment_id: str, *, sent: bool, service: str, content: bytes) -> None:
        """One message, as it was on the wire."""


class Exchange:
    """A VEN's conversation with its VTN."""

    def __init__(
        self, enrolment_id: str, transport: Transport, codec: Codec, clock: Clock, recorder: Recorder | None = None
    ) -> None:
        self._enrolment_id = enrolment_id
        self._transport = transport
        self._codec = codec
        self._clock = clock
        self._recorder = recorder

    async def ask(self, message: Message) -> Message | None:
        """Send and return what the VTN says; None is an empty answer.

        Raises VtnUnreachableError, VtnRefusedError, VtnError, NotRegisteredError, WireError.
        """
        return await self.ask_encoded(service_of(message), encode(message))

    async def ask_encoded(self, service: Service, signed_object: bytes) -> Message | None:
        """``ask`` with a message that ``encode`` made before."""
        content = self._codec.seal(signed_object, self._clock.now())
        self._record(service, content, sent=True)
        answered = await self._transport.post(service, content)
        if not answered:
            return None
        self._record(service, answered, sent=False)
        answer = self._codec.read(answered, self._clock.now())
        if isinstance(answer, RequestReregistration) and service is not Service.POLL:
            raise NotRegisteredError("the VTN asks for a new registration")
        if isinstance(answer, Response | DistributeEvent) and answer.response is not None:
            # A list of events that is refused is empty, and says nothing about events.
            check(answer.response)
        return answer

    def _record(self, service: Service, content: bytes, *, sent: bool) -> None:
        if self._recorder is not None:
            self._recorder.record(self._enrolment_id, sent=sent, service=service.value, content=content)


def acknowledged(answer: Message | None) -> Message:
    """The answer to a message that must have one. Raises VtnError: who says nothing may not have heard."""
    if answer is None:
        raise VtnError(SILENT, "an empty message, which acknowledges nothing")
    return answer


def check(response: EiResponse) -> None:
    """Raise NotRegisteredError or VtnError unless the response code is a success."""
    if response.code == NOT_REGISTERED:
        raise NotRegisteredError(f"the VTN answered 463: {response.description}")
    if not response.ok:
        raise VtnError(response.code, response.description)
