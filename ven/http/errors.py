"""What can go wrong with HTTP; ``ven.transport`` makes of it what a person reads.

HttpError
├── CannotConnectError   nobody listens there, or the way there is barred
├── ConnectionLostError  the connection ended before the response did
├── NotHttpError         what came back is not an HTTP response
└── TooLongError         a response is longer than is read

A TLS handshake that fails raises ``ssl.SSLError``.
"""

from __future__ import annotations


class HttpError(Exception):
    """Anything between a request and its response."""


class CannotConnectError(HttpError):
    """Nobody listens there, or the way there is barred."""


class ConnectionLostError(HttpError):
    """The connection ended before the response did."""

    def __init__(self, why: str, *, carried: int, answering: bool) -> None:
        super().__init__(why)
        self.carried = carried
        """Responses that came over the connection before."""
        self.answering = answering
        """A part of the response had come."""

    @property
    def stale(self) -> bool:
        """Whether the server may just have given up a connection that was kept, and never have seen the request."""
        return self.carried > 0 and not self.answering


class NotHttpError(HttpError):
    """What came back is not an HTTP response."""


class TooLongError(HttpError):
    """A response is longer than is read."""
