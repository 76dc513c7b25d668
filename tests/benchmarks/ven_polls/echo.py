"""The least a VTN does, in a process of its own: reads a POST and writes fixed bytes, over asyncio's streams."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from certs.tls import Identity, server_context
from tests.benchmarks.ven_polls.modes import HOST, Mode
from tests.benchmarks.ven_polls.turns import tell
from ven.endpoint import PREFIX
from ven.wire.common import EiResponse
from ven.wire.party import CreatedPartyRegistration, Response
from ven.wire.payload import encode
from ven.wire.signature import unsigned

REGISTRATION = CreatedPartyRegistration(
    response=EiResponse(request_id="1"), vtn_id="echo", ven_id="ven", registration_id="registration"
)
NOTHING_NEW = Response(response=EiResponse(), ven_id="ven")


def _http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def run(options: argparse.Namespace) -> None:
    registered, nothing = (_http(unsigned(encode(message))) for message in (REGISTRATION, NOTHING_NEW))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                start = head.index(b"Content-Length: ") + 16
                await reader.readexactly(int(head[start : head.index(b"\r", start)]))
                writer.write(registered if b"/EiRegisterParty " in head[:100] else nothing)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    tls = None
    if options.mode.tls:
        tls = server_context(Identity(certificate=options.certificate, key=options.key, roots=options.roots))
    server = await asyncio.start_server(serve, HOST, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    url = f"{'http' if tls is None else 'https'}://{HOST}:{port}{PREFIX}"
    tell(what="serving", url=url)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(prog="echo")
    parser.add_argument("--mode", type=Mode, choices=list(Mode), required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--roots", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
