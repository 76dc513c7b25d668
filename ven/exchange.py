"""One message to the VTN and its answer, typed at both ends.

The one place where the errors every answer may carry are told apart: asked to register again, refused, empty.
"""

from __future__ import annotations

from ven.errors import NotRegisteredError, VtnError
from ven.transport import Transport
from ven.wire.codec import Codec, encode, service_of
from ven.wire.messages import NOT_REGISTERED, EiResponse, Incoming, Outgoing, RequestReregistration, Response, Service


class Exchange:
    """A VEN's conversation with its VTN."""

    def __init__(self, transport: Transport, codec: Codec) -> None:
        self._transport = transport
        self._codec = codec

    async def ask(self, message: Outgoing) -> Incoming | None:
        """Send and return what the VTN says; None is an empty answer.

        Raises VtnUnreachableError, VtnRefusedError, VtnError, NotRegisteredError, WireError.
        """
        return await self.ask_encoded(service_of(message), encode(message))

    async def ask_encoded(self, service: Service, payload: bytes) -> Incoming | None:
        """``ask`` with a message that ``encode`` made before."""
        content = await self._transport.post(service, self._codec.sign(payload))
        if not content:
            return None
        answer = self._codec.decode(content)
        if isinstance(answer, RequestReregistration):
            raise NotRegisteredError("the VTN asks for a new registration")
        if isinstance(answer, Response):
            check(answer.response)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()


def check(response: EiResponse) -> None:
    """Raise NotRegisteredError or VtnError unless the response code is a success."""
    if response.code == NOT_REGISTERED:
        raise NotRegisteredError(f"the VTN answered 463: {response.description}")
    if not 200 <= response.code < 300:
        raise VtnError(response.code, response.description)
