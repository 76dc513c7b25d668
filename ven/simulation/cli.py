"""``negawatt vtn``: a utility's VTN in its own process."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from prometheus_client import CollectorRegistry

from grid.clock import SystemClock
from grid.process.config import load
from grid.process.health import AdminServer
from grid.process.logging import configure
from grid.process.running import run_until_stopped, write_ready_file
from ven.simulation.admin import Admin
from ven.simulation.config import VtnSettings
from ven.simulation.vtn import UtilityVtn


def register(parser: argparse.ArgumentParser) -> None:
    """Add ``run``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="serve VENs and call events")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument("--ready-file", type=Path, help="written once serving: pid, port, admin_port")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VtnSettings)
    configure("vtn", vtn_id=settings.vtn_id)
    # openleadr tells every message it sends at INFO.
    logging.getLogger("openleadr").setLevel(logging.WARNING)
    return run_until_stopped(_serve(settings, arguments.ready_file))


async def _serve(settings: VtnSettings, ready_file: Path | None) -> None:
    vtn = UtilityVtn(settings, SystemClock())
    admin = AdminServer({}, CollectorRegistry(), port=settings.admin_port, routes=Admin(vtn, settings).routes())
    async with vtn.serving() as port, admin:
        write_ready_file(ready_file, port=port, admin_port=admin.port)
        await asyncio.Event().wait()
