"""Stock openleadr's VTN: it registers any VEN and has nothing for it. Its log of every message is off."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from openleadr import OpenADRServer

from grid.process.listen import listen
from tests.benchmarks.ven_polls.modes import HOST, Mode
from tests.benchmarks.ven_polls.turns import tell
from ven.endpoint import PREFIX


async def run(options: argparse.Namespace) -> None:
    """Serve until stdin ends."""
    mode = options.mode
    vens: dict[str, dict[str, Any]] = {}

    def register(payload: dict[str, Any]) -> tuple[str, str]:
        name = str(payload["ven_name"])
        vens[name] = {
            "ven_id": name,
            "ven_name": name,
            "fingerprint": payload.get("fingerprint"),
            "registration_id": name,
        }
        return name, name

    def look_up(ven_id: str) -> dict[str, Any] | None:  # openleadr matches the argument's name.
        return vens.get(str(ven_id))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", web.NotAppKeyWarning)
        server = OpenADRServer(
            vtn_id="openleadr",
            cert=options.certificate if mode.signed else None,
            key=options.key if mode.signed else None,
            http_cert=options.certificate if mode.tls else None,
            http_key=options.key if mode.tls else None,
            http_ca_file=options.roots if mode.tls else None,
            verify_message_signatures=mode.signed,
            show_fingerprint=False,
            requested_poll_freq=timedelta(hours=1),
            ven_lookup=look_up,
        )
    server.add_handler("on_create_party_registration", register)
    runner = web.AppRunner(server.app, access_log=None, shutdown_timeout=1.0)
    port = await listen(runner, HOST, 0, server.ssl_context)
    tell(what="serving", url=f"{'https' if mode.tls else 'http'}://{HOST}:{port}{PREFIX}")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="stock")
    parser.add_argument("--mode", type=Mode, choices=list(Mode), required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--roots", type=Path, required=True)
    # openleadr sets its own level when it is imported.
    logging.getLogger("openleadr").setLevel(logging.WARNING)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
