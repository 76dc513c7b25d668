"""``python -m tests.campaigns.ven_crash``: prints one JSON object and exits 1 when anything failed."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """The command line. What it needs is imported here, so that a VEN process does not import it again."""
    import asyncio
    import json
    import logging
    import tempfile
    from pathlib import Path

    import structlog

    from tests.campaigns.ven_crash.campaign import SPEED, campaign, mutations, outcome, setting

    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.ven_crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=3, help="rounds at a time")
    parser.add_argument("--speed", type=float, default=SPEED, help="times the machine's clock")
    parser.add_argument("--mutations", action="store_true", help="take each journal write out in turn")
    parser.add_argument("--keep", type=Path, help="leave journals, evidence and logs in this folder")
    arguments = parser.parse_args()

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="ven-crash-") as scratch:
        shared = setting(Path(scratch) if arguments.keep is None else arguments.keep, arguments.speed)
        run = (
            mutations(shared, seed=arguments.seed, jobs=arguments.jobs)
            if arguments.mutations
            else campaign(shared, rounds=arguments.rounds, seed=arguments.seed, jobs=arguments.jobs)
        )
        result = asyncio.run(run)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return outcome(result)


if __name__ == "__main__":
    sys.exit(main())
