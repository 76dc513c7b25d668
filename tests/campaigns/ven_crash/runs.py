"""Rounds side by side, every named point in turn, and what came of it all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from certs.authority import Authority
from certs.issuance import Role, issue
from grid.clock import SystemClock
from tests.campaigns.campaign import CampaignResult
from tests.campaigns.ven_crash.fast import FastClock
from tests.campaigns.ven_crash.points import POINTS
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
MUTATED_SETTLED_WITHIN_S = 30.0
SHOWN = 10
"""Failures of one round that are told."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashResult(CampaignResult):
    """With what was killed where, and what was noticed of each write that was taken out."""

    kills: Mapping[str, int] = field(default_factory=dict)
    """Random and named ones, the points reached, the fewest kills at any point."""
    by_point: Mapping[str, int] = field(default_factory=dict)
    mutations: Mapping[str, str | None] = field(default_factory=dict)
    """By write that was taken out, what failed first."""


async def crashes(shared: Setting, *, rounds: int, seed: int, jobs: int) -> CrashResult:
    """``rounds`` rounds, ``jobs`` at a time."""
    turns = Turns()
    reports: dict[int, Report] = {}
    numbers = iter(range(rounds))

    async def work() -> None:
        for number in numbers:
            reports[number] = await Round(number, shared, seed).run(stages(number), turns.next)
            turns.missed(reports[number].missed)

    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work())
    named = _sum(report.named_kills for report in reports.values())
    missed = _sum(report.missed for report in reports.values())
    return CrashResult(
        rounds=rounds,
        seed=seed,
        failures=[f"round {number}: {what}" for number in sorted(reports) for what in reports[number].failures[:SHOWN]],
        counts=dict(sorted(_sum(report.counts for report in reports.values()).items())),
        kills={
            "at random": sum(report.random_kills for report in reports.values()),
            "at named points": named.total(),
            "points": len(POINTS),
            "fewest at a point": min(named[point] for point in POINTS),
            "points not reached in their turn": missed.total(),
        },
        by_point={point: named[point] for point in POINTS},
    )


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())


async def mutations(shared: Setting, writes: Sequence[str], *, seed: int, jobs: int) -> CrashResult:
    """Each of the writes taken out in turn; a failure is one that nobody noticed."""
    noticed: dict[str, str | None] = {}
    left = iter(writes)

    async def work() -> None:
        for write in left:
            noticed[write] = await _mutated(shared, write, seed)

    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work())
    return CrashResult(
        rounds=len(writes),
        seed=seed,
        failures=[f"nobody noticed that {write} writes nothing" for write in writes if noticed[write] is None],
        mutations={write: noticed[write] for write in writes},
    )


async def _mutated(shared: Setting, write: str, seed: int) -> str | None:
    mutated = replace(
        shared,
        folder=shared.folder / f"without-{write}".replace(" ", "-"),
        removed=write,
        settled_within_s=MUTATED_SETTLED_WITHIN_S,
    )
    turns = Turns()
    for number in range(MUTATED_ROUNDS):
        report = await Round(number, mutated, seed).run(stages(number), turns.next)
        if report.failures:
            return report.failures[0]
    return None
