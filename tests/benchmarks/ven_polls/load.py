"""A load on a VTN: polls of one VEN over several kept connections at once, as fast as the VTN answers."""

from __future__ import annotations

import argparse
import asyncio

from certs.tls import client_context
from tests.benchmarks.ven_polls.modes import CLOCK, HOST, codec_of, identity_of, parser_of
from tests.benchmarks.ven_polls.turns import take_turns
from ven.http.connection import ReadBuffer
from ven.transport import HttpsTransport, pool
from ven.wire.party import CreatedPartyRegistration, CreatePartyRegistration, Poll
from ven.wire.payload import Service, encode, service_of

CONNECTIONS = 4


async def run(options: argparse.Namespace) -> None:
    mode, identity = options.mode, identity_of(options)
    codec, tls, buffer = codec_of(mode, identity), client_context(identity) if mode.tls else None, ReadBuffer()
    transport = HttpsTransport(options.url, HOST, pool(options.url, tls, buffer, CLOCK), CLOCK)
    registration = CreatePartyRegistration(request_id="1", ven_name="load", xml_signature=mode.signed)
    answer = codec.read(
        await transport.post(service_of(registration), codec.write(registration, CLOCK.now())), CLOCK.now()
    )
    assert isinstance(answer, CreatedPartyRegistration)
    poll = encode(Poll(ven_id=answer.ven_id or ""))

    async def turn(polls: int) -> None:
        async def repeat() -> None:
            for _ in range(polls // CONNECTIONS):
                assert await transport.post(Service.POLL, codec.seal(poll, CLOCK.now()))

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(repeat())

    await turn(5 * CONNECTIONS)
    await take_turns(turn)


def main() -> None:
    asyncio.run(run(parser_of("load").parse_args()))


if __name__ == "__main__":
    main()
