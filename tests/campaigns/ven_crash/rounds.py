"""One round: a VEN is enrolled, used, killed at every turn and, in the end, put out or let go, and enrolled again.

In each stage the operators act, the VEN that ran until now is killed at a random instant, the next one at a named
point, and the third has to bring everything to its end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any

from certs.tls import Identity
from tests.campaigns.ven_crash.checks import Checks, Expected
from tests.campaigns.ven_crash.child import ENROLMENT, Command, Done, Life, live
from tests.campaigns.ven_crash.evidence import EvidenceReader
from tests.campaigns.ven_crash.fast import FastClock
from tests.campaigns.ven_crash.points import OFTEN, Order
from tests.campaigns.ven_crash.stages import Scene, Stage
from tests.campaigns.ven_crash.utility import Utility
from ven.journal import VenJournal

RANDOM_WITHIN_S = 1.0
"""A random kill comes within this long of the operators' acts. Unit: s of the fast clock."""
ACTS_ON_THE_LIVING = 0.3
REACHED_WITHIN_S = 6.0
"""A named point is reached within this long, or not at all."""
SETTLED_WITHIN_S = 160.0
"""Only a round that fails takes so long; a busy machine falls behind a clock that runs fast."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rounds share."""

    folder: Path
    ven: Identity
    vtn: Identity
    clock: FastClock
    removed: str | None = None
    settled_within_s: float = SETTLED_WITHIN_S


@dataclass(kw_only=True)
class Report:
    """What came of a round."""

    failures: list[str] = field(default_factory=list)
    random_kills: int = 0
    named_kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    """Points that were not reached, by how often; that life was killed at a time of its own."""
    counts: Counter[str] = field(default_factory=Counter)


class Round:
    """One round."""

    def __init__(self, number: int, setting: Setting, seed: int) -> None:
        self._dice = Random(f"{seed}:{number}")
        self._setting = setting
        self._folder = setting.folder / f"round-{number}"
        self._folder.mkdir(parents=True)
        self._clock = setting.clock
        self._utility = Utility(setting.vtn, self._clock)
        self._expected = Expected()
        self._scene = Scene(utility=self._utility, expected=self._expected, dice=self._dice)
        self._url = ""
        self._lives = 0
        self._settings = {
            "late_opt": self._dice.choice(["created_event", "create_opt"]),
            "drain_polls": self._dice.random() < 0.5,
        }
        self.report = Report()

    async def run(self, stages: Sequence[Stage], orders: Callable[[Stage, Random], str]) -> Report:
        """``orders`` chooses the named point of a stage. Ends at the first stage that fails."""
        async with self._utility.serving() as self._url:
            alive = None
            try:
                for stage in stages:
                    alive = await self._stage(stage, orders(stage, self._dice), alive)
                    if self.report.failures:
                        break
            finally:
                if alive is not None:
                    await alive.kill()
            self._count()
        return self.report

    async def _stage(self, stage: Stage, point: str, alive: _Alive | None) -> _Alive:
        """The operators' acts meet a VEN that runs, or one that is dead already."""
        if alive is None:
            stage.provoke(self._scene)
        elif self._dice.random() < ACTS_ON_THE_LIVING:
            stage.provoke(self._scene)
            await self._kill_at_random(alive)
        else:
            await self._kill_at_random(alive)
            stage.provoke(self._scene)
        skip = self._dice.randrange(3) if point.partition(" ")[2] in OFTEN else 0
        alive = await self._live(Order(point=point, skip=skip))
        await self._command(alive, REACHED_WITHIN_S, lambda: False)
        reached = alive.dead.done()
        self._died(await alive.kill(), point if reached else None)
        if reached:
            await self._kill_at_random(await self._live(Order()))
        else:
            self.report.missed[point] += 1
        alive = await self._live(Order())
        await self._settle(stage, alive)
        return alive

    async def _kill_at_random(self, alive: _Alive) -> None:
        await alive.until_dead(self._clock, self._dice.uniform(0.0, RANDOM_WITHIN_S))
        self._died(await alive.kill(), None)

    def _died(self, code: int | None, point: str | None) -> None:
        if code != -signal.SIGKILL:
            self.report.failures.append(f"the VEN ended by itself with {code}: {self._folder}/ven.log")
        elif point is None:
            self.report.random_kills += 1
        else:
            self.report.named_kills[point] += 1

    # --- coming to an end

    async def _settle(self, stage: Stage, alive: _Alive) -> None:
        since = self._clock.now()
        left: list[str] = ["nothing was looked at"]
        journal = VenJournal.open(self._folder / "ven.sqlite")
        checks = Checks(
            utility=self._utility,
            journal=journal,
            evidence=EvidenceReader(self._folder / "evidence.jsonl"),
            expected=self._expected,
        )
        self._scene.repeat()

        def settled() -> bool:
            nonlocal left
            journal.refresh()
            left = [f"{command.verb} is not done" for command in self._scene.commands]
            left += self._gone(journal) if stage.leaves else checks.pending(since)
            return not left

        try:
            await self._command(alive, self._setting.settled_within_s, settled)
            if alive.dead.done():
                self._died(await alive.kill(), None)
            if left:
                self.report.failures += [f"{stage.name}: {what}" for what in left]
            if stage.leaves:
                self._expected.away.append((self._clock.now(), None))
            self.report.failures += [f"{stage.name}: {what}" for what in checks.violations()]
        finally:
            journal.close()

    def _gone(self, journal: VenJournal) -> list[str]:
        held, ven = journal.registrations.of(ENROLMENT), self._utility.ven
        left = []
        if held is None or held.cancelled_at is None:
            left.append("the VEN does not know that its registration was cancelled")
        if ven is None or ven.registration_id is not None:
            left.append("the VTN does not know that the registration was cancelled")
        return left

    async def _command(self, alive: _Alive, within_s: float, enough: Callable[[], bool]) -> None:
        """Give the operator's commands one by one, until it is enough or the VEN is dead."""
        asked = None
        try:
            async with self._clock.timeout(within_s):
                while not alive.dead.done():
                    commands = self._scene.commands
                    if commands and asked != commands[0]:
                        asked = commands[0]
                        alive.ask(asked)
                    self._utility.stirred.clear()
                    if (done := alive.answer()) is not None:
                        self._done(commands.pop(0), done)
                        continue
                    if enough():
                        return
                    await alive.stirred(self._utility.stirred)
        except TimeoutError:
            return

    def _done(self, command: Command, done: Done) -> None:
        if "not registered" in done.problem:
            return  # the operator is told that it came too late, and nothing is to be held
        again = command.verb == "cancel_opt"  # a life that died of it may have done it
        if done.problem and not again:
            self.report.failures.append(f"{command.verb}: {done.problem}")
        match command.verb:
            case "opt":
                self._expected.opts[done.opt_id] = False
                self._scene.commands[:] = [
                    Command(key=one.key, verb=one.verb, subject=done.opt_id) if one.subject == command.key else one
                    for one in self._scene.commands
                ]
            case "cancel_opt":
                self._expected.opts[command.subject] = True
            case "redecide":
                self._expected.redecided[command.subject] = command.opt

    async def _live(self, order: Order) -> _Alive:
        self._lives += 1
        life = Life(
            number=self._lives,
            folder=self._folder,
            url=self._url,
            identity=self._setting.ven,
            clock=self._clock,
            settings=self._settings,
            order=order,
            removed=self._setting.removed,
        )
        return await _Alive.begin(life)

    def _count(self) -> None:
        utility, counts = self._utility, self.report.counts
        counts["messages"] += len(utility.heard)
        counts["events"] += len(utility.vtn.events.all())
        counts["opts"] += len(utility.vtn.opts.all())
        counts["lives"] += self._lives
        if utility.ven is not None:
            held = utility.vtn.journal.intervals(utility.ven.ven_id)
            counts["intervals"] += len(held)
            counts["intervals sent again"] += sum(one.duplicates for one in held)


_FORKING: ForkServerContext = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["tests.campaigns.ven_crash.child"])


class _Alive:
    """A VEN process; its parent hears of its death and of what it answers to commands."""

    def __init__(self, process: ForkServerProcess, operator: Connection) -> None:
        self._process = process
        self._operator = operator
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self.dead: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(process.sentinel, self._died)
        self._loop.add_reader(operator.fileno(), self._heard.set)

    @classmethod
    async def begin(cls, life: Life) -> _Alive:
        ours, theirs = _FORKING.Pipe()
        process = _FORKING.Process(target=live, args=(life, theirs), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def ask(self, command: Command) -> None:
        """Unless it is dead."""
        try:
            self._operator.send(command)
        except OSError:
            return

    def answer(self) -> Done | None:
        """What it has answered."""
        self._heard.clear()
        try:
            if not self.dead.done() and self._operator.poll():
                done = self._operator.recv()
                assert isinstance(done, Done)
                return done
        except (EOFError, OSError):
            return None
        return None

    async def stirred(self, other: asyncio.Event) -> None:
        """Return when it answered, died, or ``other`` is set."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(one.wait()) for one in (self._heard, other)]
        try:
            await asyncio.wait([self.dead, *waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def until_dead(self, clock: FastClock, within_s: float) -> None:
        try:
            async with clock.timeout(within_s):
                await asyncio.shield(self.dead)
        except TimeoutError:
            return

    async def kill(self) -> int | None:
        """SIGKILL, if it is not dead already; returns the exit code."""
        if not self.dead.done():
            self._process.kill()
            await self.dead
        self._process.join()
        self._operator.close()
        return self._process.exitcode

    def _died(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._loop.remove_reader(self._operator.fileno())
        if not self.dead.done():
            self.dead.set_result(None)
