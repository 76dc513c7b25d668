"""The least a poll costs: the same bytes over one kept connection, by blocking sockets; the answer is not read into.

Where messages are signed, the bytes are made anew each time by ``Codec.write``, since no VTN takes them twice.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from certs.tls import client_context
from tests.benchmarks.ven_polls.modes import CLOCK, codec_of, identity_of, parser_of
from tests.benchmarks.ven_polls.turns import take_turns
from ven.wire.party import CreatedPartyRegistration, CreatePartyRegistration, Poll
from ven.wire.payload import Message, Service, encode, service_of


class BareHttp:
    """One connection."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        plain = socket.create_connection((parts.hostname, parts.port or 443))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=parts.hostname)
        self._path = parts.path
        self._host = parts.netloc

    def request(self, service: Service, body: bytes) -> bytes:
        return (
            f"POST {self._path}/{service.value} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def ask(self, request: bytes) -> bytes:
        """The answer's body."""
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._socket.recv(65536)
        head = received[:end].lower()
        start = head.index(b"content-length:") + 15
        length = int(head[start:].split(b"\r\n", 1)[0])
        while len(received) < end + 4 + length:
            received += self._socket.recv(65536)
        assert b" 200 " in head[:16], received
        return received[end + 4 :]


async def run(options: argparse.Namespace) -> None:
    mode, identity = options.mode, identity_of(options)
    codec = codec_of(mode, identity)
    http = BareHttp(options.url, client_context(identity) if mode.tls else None)

    def ask(message: Message) -> Message:
        request = http.request(service_of(message), codec.write(message, CLOCK.now()))
        return codec.read(http.ask(request), CLOCK.now())

    answer = ask(CreatePartyRegistration(request_id="1", ven_name="floor", xml_signature=mode.signed))
    assert isinstance(answer, CreatedPartyRegistration)
    poll = encode(Poll(ven_id=answer.ven_id or ""))
    fixed = http.request(Service.POLL, codec.seal(poll, CLOCK.now()))

    async def turn(polls: int) -> None:
        for _ in range(polls):
            http.ask(http.request(Service.POLL, codec.seal(poll, CLOCK.now())) if mode.signed else fixed)

    await turn(20)
    await take_turns(turn)


def main() -> None:
    asyncio.run(run(parser_of("floor").parse_args()))


if __name__ == "__main__":
    main()
