"""``negawatt ven``: VENs on their own, events to and readings from JSON lines."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import Field

from grid.clock import SystemClock
from grid.process.config import FilePath, Settings, load
from grid.process.health import AdminServer
from grid.process.logging import configure
from grid.process.running import run_until_stopped, write_ready_file
from ven.config import VenSettings
from ven.jsonlines import JsonLinesSink, JsonLinesSource
from ven.metrics import MetricsObserver
from ven.service import VenGateway


class VenProcessSettings(Settings):
    """The whole configuration file of ``negawatt ven run``."""

    journal: FilePath
    """SQLite file with everything that must not be forgotten."""
    events_file: FilePath
    """Where events and our answers are written, as JSON lines."""
    readings_file: FilePath
    """Where whoever measures writes readings, as JSON lines."""
    admin_port: int = Field(default=0, ge=0, le=65535)
    vens: tuple[VenSettings, ...] = Field(min_length=1)


def register(parser: argparse.ArgumentParser) -> None:
    """Add ``run``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="serve VENs: events to and readings from JSON lines")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument("--ready-file", type=Path, help="written once running: pid, admin_port")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VenProcessSettings)
    configure("ven")
    # openleadr warns of every message it reads in its own words; ours name the VEN.
    logging.getLogger("openleadr").setLevel(logging.ERROR)
    return run_until_stopped(_serve(settings, arguments.ready_file))


async def _serve(settings: VenProcessSettings, ready_file: Path | None) -> None:
    clock = SystemClock()
    registry = CollectorRegistry()
    gateway = VenGateway(
        settings.vens,
        settings.journal,
        JsonLinesSink(settings.events_file, {one.enrolment_id: one.default_opt for one in settings.vens}, clock),
        JsonLinesSource(settings.readings_file),
        MetricsObserver(registry),
        clock,
    )

    def waiting() -> str | None:
        status = gateway.status()
        ailing = [f"{one.enrolment_id}: {one.why or 'no answer yet'}" for one in status if one.stale]
        return "; ".join(ailing) or (None if status else "starting")

    async with AdminServer({"vtn": waiting}, registry, port=settings.admin_port) as admin, asyncio.TaskGroup() as group:
        group.create_task(gateway.run())
        write_ready_file(ready_file, admin_port=admin.port)
