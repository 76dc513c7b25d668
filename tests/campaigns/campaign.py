"""What campaigns share: their arguments, and the JSON that says how they went."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """How a campaign went; it holds when there are no failures."""

    rounds: int
    seed: int
    failures: Sequence[str] = ()
    """What broke, each with what it takes to see it again."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How often what happened, so that a campaign that tried nothing is seen."""

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


Campaign = Callable[[argparse.Namespace], CampaignResult]


def campaign_parser(name: str, description: str | None, rounds: int) -> argparse.ArgumentParser:
    """``--rounds`` and ``--seed``, which every campaign has; ``rounds`` is the default."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.campaigns.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def run_campaign(parser: argparse.ArgumentParser, campaign: Campaign, arguments: Sequence[str] | None = None) -> int:
    """Run, print the result as JSON, return the exit code."""
    result = campaign(parser.parse_args(arguments))
    sys.stdout.write(json.dumps(asdict(result), indent=2) + "\n")
    return result.exit_code
