"""One connection to a server: TCP, TLS where it is asked for, one request at a time.

asyncio's own TLS (``asyncio.sslproto``) holds, and clears, a buffer of 256 KiB for each connection. Here an
``ssl.SSLObject`` between two ``MemoryBIO`` does the same work, and all connections of a loop read into one buffer,
which each has emptied before the loop goes on.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import cast

from ven.http.errors import ConnectionLostError, HttpError
from ven.http.response import Response, ResponseReader

RECORD = 16_384
"""The most that one TLS record carries."""


class ReadBuffer:
    """Where the connections of one event loop read into, one after the other."""

    def __init__(self, size: int = 4 * RECORD) -> None:
        self.view = memoryview(bytearray(size))


class Connection(asyncio.BufferedProtocol):
    """Made by a ``Pool``. Whoever is done with it calls ``close``, or ``abort`` in the midst of something."""

    __slots__ = (
        "_body_longest",
        "_buffer",
        "_carried",
        "_failure",
        "_incoming",
        "_outgoing",
        "_reader",
        "_secured",
        "_tls",
        "_transport",
        "_waiter",
        "closed",
    )

    def __init__(self, tls: ssl.SSLContext | None, host: str, buffer: ReadBuffer, body_longest: int) -> None:
        """``host``: whom the server's certificate must name."""
        self._buffer = buffer
        self._body_longest = body_longest
        self._transport: asyncio.Transport | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = None if tls is None else tls.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._secured = tls is None
        self._waiter: asyncio.Future[None] | None = None
        """Of whoever waits for the handshake or for a response."""
        self._reader: ResponseReader | None = None
        """Of the response that is awaited."""
        self._carried = 0
        self._failure: Exception | None = None
        """Why it is closed, unless we closed it."""
        self.closed = False
        """It carries no more requests."""

    async def secure(self) -> None:
        """Wait for the end of the handshake. Raises ssl.SSLError, ConnectionLostError."""
        if self._failure is not None:
            raise self._failure
        if not self._secured:
            await self._done()

    async def ask(self, request: bytes) -> Response:
        """Send a request, head and body. Raises HttpError, and is closed then."""
        if self.closed:
            raise self._failure or self._lost(None)
        reader = self._reader = ResponseReader(self._body_longest)
        try:
            self._send(request)
            await self._done()
        except BaseException:
            self.abort()
            raise
        finally:
            self._reader = None
        response = reader.response
        assert response is not None
        self._carried += 1
        if not response.keep_alive:
            self.close()
        return response

    def close(self) -> None:
        """Take leave of the server."""
        if self._tls is not None and self._secured and not self.closed:
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop it."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.Transport, transport)
        if self._tls is not None:
            self._decrypt(self._tls)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return self._buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        content = self._buffer.view[:nbytes]
        try:
            if self._tls is None:
                self._take(content)
            else:
                self._incoming.write(content)
                self._decrypt(self._tls)
        except ssl.SSLError as error:
            self._end(self._lost(error) if self._secured else error)
        except HttpError as error:
            self._end(error)

    def eof_received(self) -> None:
        """The server sends no more."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._end(None if exc is None else self._lost(exc))

    # --- inside

    def _decrypt(self, tls: ssl.SSLObject) -> None:
        try:
            if not self._secured:
                tls.do_handshake()
                self._secured = True
                self._wake(None)
            while self._incoming.pending or tls.pending():
                content = tls.read(RECORD)
                if not content:
                    self._end(None)
                    break
                self._take(content)
        except ssl.SSLWantReadError:
            pass
        finally:
            # Handshakes and key updates have to be answered, failures told.
            self._flush()

    def _take(self, content: bytes | memoryview) -> None:
        reader = self._reader
        if reader is None:
            # Nothing was asked: a server that gives up the connection may say so.
            self._end(None)
            return
        reader.feed(content)
        if reader.response is not None:
            self._wake(None)

    def _send(self, content: bytes) -> None:
        if self._tls is None:
            assert self._transport is not None
            self._transport.write(content)
        else:
            self._tls.write(content)
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())

    def _end(self, error: Exception | None) -> None:
        """No more comes; without an error the response may be whole by that."""
        if self.closed:
            return
        self.closed = True
        whole = error is None and self._reader is not None and self._reader.end()
        self._failure = error or self._lost(None)
        self._wake(None if whole else self._failure)
        if self._transport is not None:
            self._transport.close()

    def _lost(self, error: Exception | None) -> ConnectionLostError:
        answering = self._reader is not None and self._reader.started
        why = "the server closed the connection" if error is None else repr(error)
        lost = ConnectionLostError(why, carried=self._carried, answering=answering)
        lost.__cause__ = error
        return lost

    async def _done(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self, error: Exception | None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)
