"""``negawatt aggregator``: run the aggregator."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from aggregator.portfolio.config import read_config
from aggregator.service import Aggregator
from grid.clock import SystemClock
from grid.process.logging import configure
from grid.process.running import run_until_stopped


def register(parser: argparse.ArgumentParser) -> None:
    """Add ``run``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="serve sites, VENs, console and API")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument(
        "--ready-file", type=Path, help="written once serving: pid, console_port, gateway_port, admin_port"
    )
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = read_config(arguments.config)
    configure("aggregator", level=settings.aggregator.log_level)
    # openleadr warns of every message it reads in its own words; ours name the VEN.
    logging.getLogger("openleadr").setLevel(logging.ERROR)
    return run_until_stopped(Aggregator(settings, SystemClock()).run(arguments.ready_file))
