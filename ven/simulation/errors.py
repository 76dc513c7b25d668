"""What the utility's VTN refuses.

NegawattError
└── UtilityError
    ├── ProtocolError      a VEN's message is answered with an OpenADR response code
    ├── UnknownError       the operator named a VEN, event or request that is not in the book
    ├── NotReadyError      the book cannot say yet
    ├── CallError          the operator asked for something that makes no sense
    ├── FaultError         a fault was set for this call (faults.py)
    ├── PushError          a push VEN did not take a message
    └── AdminError         the admin HTTP of a VTN does not answer, or refuses
"""

from __future__ import annotations

from grid.errors import NegawattError


class UtilityError(NegawattError):
    """Anything between the utility and its VENs or its operator."""


class ProtocolError(UtilityError):
    """A VEN's message that is not accepted."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        """OpenADR 2.0b responseCode of the answer."""


class UnknownError(UtilityError):
    """A VEN, event or request that is not in the book."""


class NotReadyError(UtilityError):
    """The book cannot say yet."""


class CallError(UtilityError):
    """An operator's wish that cannot be put into a message."""


class AdminError(UtilityError):
    """The admin HTTP of a running VTN does not answer, or refuses what was asked."""


class PushError(UtilityError):
    """A push VEN answered a message with an HTTP error, or in another's name."""
