"""``negawatt agent``: run one site's agent."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.config import read_config
from agent.service import serve
from grid.clock import SystemClock
from grid.process import logging
from grid.process.running import run_until_stopped


def register(parser: argparse.ArgumentParser) -> None:
    """Add ``run``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="hold a site's meter to its budget")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument("--ready-file", type=Path, help="written once it serves: pid and ports as JSON")
    run.add_argument("--budget", type=Path, help="hold the SiteBudget in this JSON file")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = read_config(arguments.config)
    logging.configure("agent", site_id=settings.site.id)
    return run_until_stopped(
        serve(settings, SystemClock(), ready_file=arguments.ready_file, budget_file=arguments.budget)
    )
