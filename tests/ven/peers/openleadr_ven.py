"""Stock openleadr's VEN in a process of its own, as an independent peer of our VTN.

    python -m tests.ven.peers.openleadr_ven --url URL [--certificate PEM --key PEM --roots PEM]

Registers as ``stock``, reports 5 kW of resource r1 every second, opts in to every event. Prints JSON lines, each with
``what``: registered (ven_id), event (event_id, modification_number, status). Ends when stdin does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import sys
from datetime import timedelta
from typing import Any

from openleadr import OpenADRClient

KW = 5.0


def tell(what: str, **facts: Any) -> None:
    """One line for whoever started us."""
    print(json.dumps({"what": what, **facts}, default=str), flush=True)  # noqa: T201


async def measure() -> float:
    return KW


async def answer(event: dict[str, Any]) -> str:
    descriptor = event["event_descriptor"]
    tell(
        "event",
        event_id=descriptor["event_id"],
        modification_number=descriptor["modification_number"],
        status=descriptor["event_status"],
    )
    return "optIn"


async def run(options: argparse.Namespace) -> None:
    # It prints a banner.
    with contextlib.redirect_stdout(io.StringIO()):
        client = OpenADRClient(
            ven_name="stock",
            vtn_url=options.url,
            cert=options.certificate,
            key=options.key,
            ca_file=options.roots,
            show_fingerprint=False,
        )
    second = timedelta(seconds=1)
    client.add_report(
        callback=measure,
        resource_id="r1",
        measurement="power_real",
        unit="W",
        scale="k",
        sampling_rate=second,
        report_duration=timedelta(hours=1),
    )
    client.add_handler("on_event", answer)
    client.add_handler("on_update_event", answer)
    with contextlib.redirect_stdout(io.StringIO()):
        await client.run()
    tell("registered", ven_id=client.ven_id)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    await client.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="openleadr_ven", description="stock openleadr's VEN")
    parser.add_argument("--url", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--roots")
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
