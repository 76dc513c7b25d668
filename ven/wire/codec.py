"""Messages to bytes and back: the schema, the signature, and our types at both ends.

openleadr is used as a codec only, and nothing of it leaves this package: no dictionaries, no errors.
"""

from __future__ import annotations

from typing import assert_never
from xml.parsers.expat import ExpatError

from lxml import etree  # type: ignore[import-untyped]
from openleadr.messaging import create_message, parse_message, validate_xml_schema

from grid.clock import Clock
from ven.errors import WireError
from ven.wire.decode import from_openleadr
from ven.wire.encode import to_openleadr
from ven.wire.messages import (
    CanceledReport,
    CreatedEvent,
    CreatedReport,
    CreatePartyRegistration,
    Incoming,
    Outgoing,
    Poll,
    RegisterReport,
    RequestEvent,
    Response,
    Service,
    UpdateReport,
)
from ven.wire.signatures import Signer, Verifier


class Codec:
    """One VEN's messages at one VTN."""

    def __init__(self, signer: Signer, verifier: Verifier, clock: Clock) -> None:
        self._signer = signer
        self._verifier = verifier
        self._clock = clock

    def sign(self, payload: bytes) -> bytes:
        """What goes over the wire now: ``payload`` from ``encode`` with a fresh signature."""
        return self._signer.sign(payload, self._clock.now())

    def decode(self, content: bytes) -> Incoming:
        """The VTN's message: schema and signature checked. Raises WireError."""
        try:
            tree = validate_xml_schema(content)
        except etree.XMLSyntaxError as error:
            raise WireError(f"the VTN's message is not OpenADR 2.0b: {error}") from error
        self._verifier.verify(tree, self._clock.now())
        try:
            name, fields = parse_message(content)
        # openleadr's normalisation raises whatever its guesses stumble over.
        except (ValueError, KeyError, TypeError, AttributeError, ExpatError) as error:
            raise WireError(f"the VTN's message cannot be read: {error!r}") from error
        return from_openleadr(name, fields)


def encode(message: Outgoing) -> bytes:
    """The unsigned oadrPayload, the same bytes for the same message. Raises WireError."""
    name, fields = to_openleadr(message)
    content: bytes = create_message(name, disable_signature=True, **fields).encode()
    try:
        validate_xml_schema(content)
    except etree.XMLSyntaxError as error:
        raise WireError(f"{name} would break the schema: {error}") from error
    return content


def service_of(message: Outgoing) -> Service:
    """The endpoint a message goes to."""
    match message:
        case CreatePartyRegistration() | Response():
            return Service.REGISTER_PARTY
        case Poll():
            return Service.POLL
        case RequestEvent() | CreatedEvent():
            return Service.EVENT
        case RegisterReport() | CreatedReport() | CanceledReport() | UpdateReport():
            return Service.REPORT
        case _:
            assert_never(message)
