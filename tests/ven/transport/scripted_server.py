"""A server that answers request by request as it is told, over TLS or plainly, and remembers what came over what."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG_UP = b""
"""In the place of an answer: read the request and close."""
SILENCE = b"-"
"""In the place of an answer: nothing, for ever."""


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A response with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*parts: bytes) -> bytes:
    """A response in chunks."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@dataclass
class ScriptedServer:
    """Takes the next answer for each request, whichever connection it comes over."""

    answers: list[bytes]
    port: int = 0
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    """The connection's number, from 0, and the body."""
    heads: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    """One for each connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.writers)
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.heads.append(head)
                self.requests.append((number, await reader.readexactly(length)))
                reply = self.answers.pop(0)
                if reply == SILENCE:
                    await asyncio.Event().wait()
                if reply == HANG_UP:
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def scripted_server(answers: Sequence[bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """Serves on a free port of loopback."""
    script = ScriptedServer(list(answers))
    async with asyncio.TaskGroup() as group:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(group.create_task(script.serve(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        script.port = server.sockets[0].getsockname()[1]
        try:
            yield script
        finally:
            server.close()
            for task in tasks:
                task.cancel()
