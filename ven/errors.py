"""What can go wrong between a VEN and its VTN.

NegawattError
└── VenError
    ├── WireError              a message cannot be read or written, or fails the schema
    │   └── SignatureError     its signature does not hold: not signed, by somebody else, altered, replayed
    ├── EventError             one event cannot be taken; carries the OpenADR response code
    ├── UnknownError           there is no such VEN, event or opt here
    ├── VtnUnreachableError    no answer: connection refused, time out, connection lost
    ├── VtnError               the VTN answered this message with an HTTP or OpenADR error code
    ├── NotRegisteredError     the VTN does not know us (any more): register again
    ├── RegistrationCancelledError  the registration was cancelled: a person decides whether to register again
    └── VtnRefusedError        the VTN, or we, will not go on until a person changes something
"""

from __future__ import annotations

from grid.errors import NegawattError


class VenError(NegawattError):
    """Anything between a VEN and its VTN."""


class WireError(VenError):
    """A message cannot be read or written, or fails the schema."""


class SignatureError(WireError):
    """A message's signature does not hold."""


class EventError(VenError):
    """One event cannot be taken, whatever becomes of the others."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        """OpenADR 2.0b responseCode of the answer."""


class UnknownError(VenError):
    """There is no such VEN, event or opt here."""


class VtnUnreachableError(VenError):
    """The VTN did not answer; it is tried again for ever."""


class VtnError(VenError):
    """The VTN answered one message with an error code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the VTN answered {code}: {reason or 'no description'}")
        self.code = code
        """An HTTP status or, where the VTN sent an eiResponse, its responseCode."""

    @property
    def permanent(self) -> bool:
        """Whether sending the same message again cannot help."""
        return 450 <= self.code < 470

    @property
    def forbidden(self) -> bool:
        """Whether the VTN's HTTP server does not let us in."""
        return self.code in (401, 403)


class NotRegisteredError(VenError):
    """The VTN asks for a new registration."""


class RegistrationCancelledError(VenError):
    """The registration was cancelled, by the VTN or by us."""


class VtnRefusedError(VenError):
    """The VTN does not accept us, or we do not accept it."""

    exit_code = 5
