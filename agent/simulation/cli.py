"""``negawatt plant``: one AI factory in software."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from agent.simulation.scenario import PlantSettings
from agent.simulation.service import run_plant
from grid.clock import SystemClock
from grid.process.config import load
from grid.process.logging import configure
from grid.process.running import run_until_stopped


def register(parser: argparse.ArgumentParser) -> None:
    """Add the noun's verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="simulate a site: GPUs behind NVML, meter and battery behind Modbus")
    run.add_argument("--config", type=Path, required=True, help="TOML file of PlantSettings")
    run.add_argument("--ready-file", type=Path, help="written with pid, ports and paths once the site is served")
    run.add_argument("--arrivals", type=Path, help="CSV of recorded requests for the serving jobs")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, PlantSettings)
    if arguments.arrivals is not None:
        settings = settings.model_copy(update={"arrivals_file": arguments.arrivals})
    configure("plant", site_id=settings.site_id)
    logging.getLogger("pymodbus").setLevel(logging.WARNING)
    return run_until_stopped(run_plant(settings, SystemClock(), arguments.ready_file))
