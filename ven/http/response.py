"""One HTTP/1.1 response out of the bytes of a connection (RFC 9112), by httptools (llhttp) and within a bound."""

from __future__ import annotations

from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ven.http.errors import NotHttpError, TooLongError

HEAD_LONGEST = 65_536
"""Bytes of a status line, headers and the marks between chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server said."""

    status: int
    reason: str
    body: bytes
    keep_alive: bool
    """Whether the connection can carry another request."""


class ResponseReader:
    """Takes bytes until a response is whole. The methods that begin with ``on_`` are httptools'."""

    __slots__ = (
        "_body",
        "_body_longest",
        "_delimited",
        "_headed",
        "_left",
        "_parser",
        "_reason",
        "response",
        "started",
    )

    def __init__(self, body_longest: int) -> None:
        self._parser = HttpResponseParser(self)
        self._body_longest = body_longest
        self._left = body_longest + HEAD_LONGEST
        self._body: list[bytes] = []
        self._delimited = self._headed = False
        self._reason = ""
        self.started = False
        """Something came."""
        self.response: Response | None = None
        """The response, once it is whole."""

    def feed(self, content: bytes | memoryview) -> None:
        """Raises NotHttpError, TooLongError."""
        self.started = True
        self._left -= len(content)
        if self._left < 0:
            raise TooLongError(f"a response of more than {self._body_longest:,} bytes is not read")
        try:
            self._parser.feed_data(content)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.response is None:
                raise NotHttpError(f"this is not HTTP: {error}") from error
            self._spoil()

    def end(self) -> bool:
        """The server sends no more; returns whether that makes the response whole (RFC 9112, 6.3)."""
        if self._headed and not self._delimited and self.response is None:
            self._finish(keep_alive=False)
        return self.response is not None

    def on_message_begin(self) -> None:
        if self.response is not None:
            self._spoil()
        self._delimited = self._headed = False
        self._reason = ""

    def on_status(self, reason: bytes) -> None:
        # It may come in parts.
        self._reason += reason.decode("latin-1")

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._delimited = True

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        # 100 Continue and its like precede the response.
        if self._parser.get_status_code() >= 200 and self.response is None:
            self._finish(keep_alive=self._parser.should_keep_alive())

    def _finish(self, *, keep_alive: bool) -> None:
        self.response = Response(
            status=self._parser.get_status_code(),
            reason=self._reason,
            body=b"".join(self._body),
            keep_alive=keep_alive,
        )

    def _spoil(self) -> None:
        """More came than one request asks for: what follows on this connection could be anybody's answer."""
        found = self.response
        assert found is not None
        self.response = Response(status=found.status, reason=found.reason, body=found.body, keep_alive=False)
