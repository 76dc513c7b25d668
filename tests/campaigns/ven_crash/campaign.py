"""Rounds side by side, every named point in turn, and what came of it all as one JSON object."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from certs.authority import Authority
from certs.issuance import Role, issue
from grid.clock import SystemClock
from tests.campaigns.ven_crash.fast import FastClock
from tests.campaigns.ven_crash.points import POINTS, WRITES
from tests.campaigns.ven_crash.rounds import Report, Round, Setting
from tests.campaigns.ven_crash.stages import (
    AGAIN,
    ENDS,
    ENROL,
    EVENTS,
    LEAVE,
    OPERATOR,
    PUT_OUT,
    REQUESTS,
    RETURN,
    Stage,
)

SPEED = 4.0
"""Times the machine's clock."""
MUTATED_SETTLED_WITHIN_S = 12.0
MUTATED_ROUNDS = 3
"""A write that is taken out has to show in one of so many rounds."""


def setting(folder: Path, speed: float = SPEED) -> Setting:
    """Keys and a clock."""
    machine = SystemClock()
    utility = Authority.create(folder / "ca", name="Utility", clock=machine)
    return Setting(
        folder=folder,
        ven=issue(utility, role=Role.VEN, name="ven", folder=folder, clock=machine),
        vtn=issue(utility, role=Role.VTN, name="vtn", folder=folder, clock=machine),
        clock=FastClock.starting_now(speed),
    )


class Turns:
    """Gives each stage the point of its own that was used least."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def next(self, stage: Stage, dice: Random) -> str:
        point = min(stage.points, key=lambda one: (self._given[one], dice.random()))
        self._given[point] += 1
        return point

    def missed(self, points: Counter[str]) -> None:
        """They were not reached."""
        self._given -= points


def stages(number: int) -> Sequence[Stage]:
    """The VTN puts the VEN out in even rounds, and the VEN leaves of its own in odd ones."""
    return (ENROL, EVENTS, REQUESTS, OPERATOR, ENDS, AGAIN, (PUT_OUT, LEAVE)[number % 2], RETURN)


async def campaign(shared: Setting, *, rounds: int, seed: int, jobs: int) -> dict[str, Any]:
    """``rounds`` rounds, ``jobs`` at a time."""
    turns, reports = Turns(), []
    numbers = iter(range(rounds))

    async def work() -> None:
        for number in numbers:
            report = await Round(number, shared, seed).run(stages(number), turns.next)
            turns.missed(report.missed)
            report.failures[:] = [f"round {number}: {what}" for what in report.failures]
            reports.append(report)

    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work())
    return summary(reports, rounds, seed)


def summary(reports: Sequence[Report], rounds: int, seed: int) -> dict[str, Any]:
    """The JSON of a run."""
    named: Counter[str] = sum((report.named_kills for report in reports), Counter())
    missed: Counter[str] = sum((report.missed for report in reports), Counter())
    counts: Counter[str] = sum((report.counts for report in reports), Counter())
    return {
        "rounds": rounds,
        "seed": seed,
        "failures": [what for report in reports for what in report.failures],
        "kills": {
            "random": sum(report.random_kills for report in reports),
            "named": named.total(),
            "points": len(POINTS),
            "fewest_at_a_point": min(named[point] for point in POINTS),
            "missed": missed.total(),
            "by_point": {point: named[point] for point in POINTS},
        },
        "counts": dict(sorted(counts.items())),
    }


async def mutations(shared: Setting, *, seed: int, jobs: int) -> dict[str, Any]:
    """Each journal write taken out in turn; what was noticed first, or null."""
    noticed: dict[str, str | None] = {}
    writes = iter(WRITES)

    async def work() -> None:
        for write in writes:
            noticed[write] = await _mutated(shared, write, seed)

    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work())
    return {
        "mutations": {write: noticed[write] for write in WRITES},
        "unnoticed": [write for write in WRITES if noticed[write] is None],
    }


async def _mutated(shared: Setting, write: str, seed: int) -> str | None:
    mutated = Setting(
        folder=shared.folder / f"without-{write}",
        ven=shared.ven,
        vtn=shared.vtn,
        clock=shared.clock,
        removed=write,
        settled_within_s=MUTATED_SETTLED_WITHIN_S,
    )
    turns = Turns()
    for number in range(MUTATED_ROUNDS):
        report = await Round(number, mutated, seed).run(stages(number), turns.next)
        if report.failures:
            return report.failures[0]
    return None


def outcome(result: Mapping[str, Any]) -> int:
    """Exit code."""
    return 1 if result.get("failures") or result.get("unnoticed") else 0
