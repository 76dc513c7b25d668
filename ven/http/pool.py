"""The connections of one identity to one server: kept between requests, few at a time."""

from __future__ import annotations

import asyncio
import ssl

from grid.clock import Clock
from ven.http.connection import Connection, ReadBuffer
from ven.http.errors import CannotConnectError, ConnectionLostError
from ven.http.response import Response


class Pool:
    """Lends connections, the one used last first."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        buffer: ReadBuffer,
        clock: Clock,
        *,
        limit: int,
        keep_s: float,
        body_longest: int,
    ) -> None:
        """``limit``: of connections in use. ``tls``: None speaks plain HTTP, for benchmarks."""
        self._host = host
        self._port = port
        self._tls = tls
        self._buffer = buffer
        self._clock = clock
        self._keep_s = keep_s
        self._body_longest = body_longest
        self._lendable = asyncio.Semaphore(limit)
        self._kept: list[tuple[Connection, float]] = []

    async def ask(self, request: bytes, *, repeatable: bool) -> Response:
        """Send a whole request and return what comes back.

        A server may give up a kept connection just when a request is on its way. Where nothing came back, a
        ``repeatable`` request, one that the server may get twice, is sent once more over a new connection.
        Raises HttpError, ssl.SSLError.
        """
        async with self._lendable:
            connection = self._take()
            if connection is not None:
                try:
                    return await self._ask(connection, request)
                except ConnectionLostError as error:
                    if not (repeatable and error.stale):
                        raise
            return await self._ask(await self._connect(), request)

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop()[0].close()

    async def _ask(self, connection: Connection, request: bytes) -> Response:
        response = await connection.ask(request)
        if not connection.closed:
            self._kept.append((connection, self._clock.monotonic()))
        return response

    def _take(self) -> Connection | None:
        """A kept connection that is still good, as far as can be told."""
        oldest_s = self._clock.monotonic() - self._keep_s
        while self._kept:
            connection, kept_at_s = self._kept.pop()
            if connection.closed:
                continue
            if kept_at_s >= oldest_s:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        connection = Connection(self._tls, self._host, self._buffer, self._body_longest)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port)
        except OSError as error:
            raise CannotConnectError(error.strerror or str(error)) from error
        try:
            await connection.secure()
        except BaseException:
            connection.abort()
            raise
        return connection
