"""Kills a VEN at every journal write and every send: ``python -m tests.campaigns.ven_crash --rounds N --seed S``.

A round enrols a VEN with a VTN of ours, calls, modifies and cancels events, asks for reports, makes opts, has it
register again, puts it out or lets it leave, and enrols it again. In each stage the VEN is killed (SIGKILL) at a named
point and at random instants, and the life that follows has to bring everything to its end. What must hold is in
``checks.py``. ``--mutations`` takes each journal write out in turn instead, and demands that a check fails.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Its imports are here because a VEN process imports this module again."""
    import argparse
    import asyncio
    import logging
    import tempfile
    from pathlib import Path

    import structlog

    from tests.campaigns.campaign import CampaignResult, campaign_parser, run_campaign
    from tests.campaigns.ven_crash.points import STATEMENTS, WRITES
    from tests.campaigns.ven_crash.runs import SPEED, crashes, mutations, setting

    def campaign(wanted: argparse.Namespace) -> CampaignResult:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        with tempfile.TemporaryDirectory(prefix="ven-crash-") as scratch:
            shared = setting(Path(scratch) if wanted.keep is None else wanted.keep, wanted.speed)
            if wanted.mutations is None:
                return asyncio.run(crashes(shared, rounds=wanted.rounds, seed=wanted.seed, jobs=wanted.jobs))
            writes = wanted.mutations or (*WRITES, *STATEMENTS)
            return asyncio.run(mutations(shared, writes, seed=wanted.seed, jobs=wanted.jobs))

    parser = campaign_parser("ven_crash", __doc__, rounds=200)
    parser.add_argument("--jobs", type=int, default=4, help="rounds at a time")
    parser.add_argument("--speed", type=float, default=SPEED, help="times the machine's clock")
    parser.add_argument(
        "--mutations",
        nargs="*",
        choices=(*WRITES, *STATEMENTS),
        metavar="WRITE",
        help="take these journal writes out, or all",
    )
    parser.add_argument("--keep", type=Path, help="leave journals, evidence and logs in this folder")
    return run_campaign(parser, campaign, arguments)


if __name__ == "__main__":
    sys.exit(main())
