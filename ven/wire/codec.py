"""One party's messages with another: typed values on our side, bytes on the other, signed as agreed."""

from __future__ import annotations

from datetime import datetime

from ven.wire.payload import Message, decode, encode
from ven.wire.signature import Signer, Verifier, unsigned


class Codec:
    """With a signer what we send is signed; with a verifier what we take must be."""

    def __init__(self, signer: Signer | None, verifier: Verifier | None) -> None:
        self._signer = signer
        self._verifier = verifier

    def seal(self, signed_object: bytes, now: datetime) -> bytes:
        """What goes over the wire now, around bytes that ``encode`` made."""
        return unsigned(signed_object) if self._signer is None else self._signer.sign(signed_object, now)

    def write(self, message: Message, now: datetime) -> bytes:
        """``seal`` of ``encode``. Raises WireError."""
        return self.seal(encode(message), now)

    def read(self, content: bytes, now: datetime) -> Message:
        """The message, once signature and schema hold. Raises WireError."""
        return self.open(content, now)[0]

    def open(self, content: bytes, now: datetime) -> tuple[Message, str | None]:
        """``read``, and the signer's fingerprint; None where nothing has to be signed."""
        if self._verifier is None:
            return decode(content), None
        covered = self._verifier.verify(content, now)
        return decode(covered.content), covered.fingerprint
