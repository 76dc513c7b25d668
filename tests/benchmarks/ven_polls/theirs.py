"""openleadr's VEN in a process of its own, as its documentation has it: certificates, the VTN's fingerprint, no debug.

``OpenADRClient.run`` registers, polls, and has its scheduler poll again; the scheduler's job is called without a pause
here, and the scheduler rests meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from openleadr import OpenADRClient

from certs.fingerprint import openadr_fingerprint
from certs.tls import Identity
from tests.benchmarks.ven_polls.modes import Mode, identities_in, identity_of, parser_of
from tests.benchmarks.ven_polls.turns import rss_kb, take_turns, tell


def client_of(name: str, mode: Mode, url: str, identity: Identity, vtn: Path) -> Any:
    """``vtn``: its certificate, whose fingerprint is what openleadr believes a signature by."""
    tls: dict[str, Any] = {}
    if mode.tls:
        tls = {"cert": str(identity.certificate), "key": str(identity.key), "ca_file": str(identity.roots)}
    if mode.signed:
        tls["vtn_fingerprint"] = openadr_fingerprint(vtn.read_bytes())
    return OpenADRClient(ven_name=name, vtn_url=url, show_fingerprint=False, disable_signature=not mode.signed, **tls)


async def started(client: Any) -> Any:
    # It prints a banner.
    with contextlib.redirect_stdout(sys.stderr):
        await client.run()
    assert client.registration_id, "the VTN did not register openleadr's VEN"
    client.scheduler.pause()
    return client


async def poll_in_turns(client: Any) -> None:
    await started(client)
    answered, _ = await client.poll()
    assert answered == "oadrResponse", answered

    async def turn(polls: int) -> None:
        for _ in range(polls):
            await client._poll()

    await turn(20)
    await take_turns(turn)
    await client.stop()


async def measure() -> float:
    return 5.0


async def weigh(mode: Mode, url: str, identities: Sequence[Identity], vtn: Path) -> None:
    """As ours: each with a report, polled twice, connections open."""
    clients = []
    before_kb = 0.0
    for number, identity in enumerate(identities):
        client = client_of(f"ven-{number}", mode, url, identity, vtn)
        client.add_report(
            callback=measure,
            resource_id="load",
            measurement="power_real",
            unit="W",
            scale="k",
            sampling_rate=timedelta(seconds=10),
            report_duration=timedelta(hours=1),
        )
        clients.append(await started(client))
        await client._poll()
        if number == 0:
            gc.collect()
            before_kb = rss_kb()
    gc.collect()
    tell(what="weighed", vens=len(clients) - 1, kb=(rss_kb() - before_kb) / (len(clients) - 1))
    for client in clients:
        await client.stop()


async def run(options: argparse.Namespace) -> None:
    if options.identities is None:
        identity = identity_of(options)
        await poll_in_turns(client_of("theirs", options.mode, options.url, identity, options.vtn))
    else:
        await weigh(options.mode, options.url, identities_in(options.identities), options.vtn)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("openleadr").setLevel(logging.WARNING)
    asyncio.run(run(parser_of("theirs").parse_args()))


if __name__ == "__main__":
    main()
