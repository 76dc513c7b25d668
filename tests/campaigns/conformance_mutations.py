"""Do the conformance tests notice? ``python -m tests.campaigns.conformance_mutations [--rounds N] [--seed S]``.

A round takes one rule or operation, runs the tests that show it once under each mutation which switches it off in the
VEN's process, and demands that every mutation makes a test fail, and that every test fails under some mutation. A VEN
that does not start, or dies, does not count as noticed. Without ``--rounds`` everything has its round, in an order that
the seed decides.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from xml.etree import ElementTree

from tests.campaigns.campaign import CampaignResult, campaign_parser, run_campaign
from tests.ven.conformance.marks import OPERATIONS, RULES, title
from tests.ven.conformance.mutations import Mark, Mutation, of
from tests.ven.conformance.process import MUTATION, VenEndedError

FOLDER = Path("tests/ven/conformance")
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Round:
    """One thing that tests show, or several that are switched off together."""

    marks: tuple[Mark, ...]
    mutations: tuple[Mutation, ...]

    @property
    def title(self) -> str:
        return ", ".join(map(title, self.marks))


def every_round() -> list[Round]:
    """Marks with the same mutations are one round."""
    together: dict[tuple[str, ...], list[Mark]] = {}
    marks: list[Mark] = [*RULES, *OPERATIONS]
    for mark in marks:
        together.setdefault(tuple(mutation.name for mutation in of(mark)), []).append(mark)
    return [Round(tuple(marks), tuple(of(marks[0]))) for marks in together.values()]


def outcomes(mark: Mark, mutation: str) -> dict[str, str]:
    """How each test that shows ``mark`` went: passed, failed, or error where there was no VEN to look at."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.xml"
        words = [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-p", "no:cacheprovider", "--tb=line"]
        words += ["--shows", title(mark), f"--junitxml={result}", f"--basetemp={folder}/tests"]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, MUTATION: mutation},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if not result.exists():
            raise RuntimeError(f"pytest said nothing of {title(mark)} under {mutation!r}: {done.stdout}{done.stderr}")
        found = ElementTree.parse(result).getroot().iter("testcase")
        return {str(case.get("name")): outcome_of(case) for case in found}


def outcome_of(case: ElementTree.Element) -> str:
    """Of one testcase of JUnit's XML."""
    failure = case.find("failure")
    if case.find("error") is not None or (failure is not None and VenEndedError.__name__ in failure.get("message", "")):
        return "error"
    return "passed" if failure is None else "failed"


def play(one: Round) -> list[str]:
    """What was not noticed."""
    found: list[str] = []
    noticed: dict[str, bool] = {}
    for mutation in one.mutations:
        by_test = outcomes(one.marks[0], mutation.name)
        if "failed" not in by_test.values():
            found.append(f"{one.title}: no test fails when {mutation.name}: {by_test or 'there is none'}")
        for test, outcome in by_test.items():
            noticed[test] = noticed.get(test, False) or outcome == "failed"
    idle = [test for test, failed in noticed.items() if not failed]
    return found + [f"{one.title}: {test} fails under no mutation" for test in idle]


def campaign(arguments: argparse.Namespace) -> CampaignResult:
    rounds = every_round()
    Random(arguments.seed).shuffle(rounds)
    chosen = rounds[: arguments.rounds]
    failures: list[str] = []
    counts: Counter[str] = Counter()
    for one in chosen:
        failures += play(one)
        counts["mutations"] += len(one.mutations)
        counts["rules"] += sum(isinstance(mark, int) for mark in one.marks)
        counts["operations"] += sum(not isinstance(mark, int) for mark in one.marks)
    return CampaignResult(rounds=len(chosen), seed=arguments.seed, failures=failures, counts=dict(counts))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = campaign_parser("conformance_mutations", __doc__, len(every_round()))
    return run_campaign(parser, campaign, arguments)


if __name__ == "__main__":
    sys.exit(main())
