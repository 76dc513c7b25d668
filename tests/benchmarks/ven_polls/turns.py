"""A process that works when it is told to, so that contenders on a busy machine can be timed in turn.

The child says ``ready``, then for each number on stdin does so many steps and answers with what they cost it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.ven_polls.modes import CLOCK

WITHIN_S = 120.0


def tell(**facts: Any) -> None:
    """One line for the parent."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def rss_kb() -> float:
    """What the process holds in memory now. Unit: KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


async def take_turns(work: Callable[[int], Awaitable[None]]) -> None:
    """The child's part: ``work`` does the given number of steps. Ends with stdin."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell(what="ready")
    while line := await reader.readline():
        steps = int(line)
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        await work(steps)
        tell(what="done", cpu_s=time.process_time() - cpu_s, wall_s=time.perf_counter() - wall_s)


@dataclass(frozen=True)
class Cost:
    """Of one step in one turn."""

    cpu_us: float
    wall_us: float


class Worker:
    """The parent's end of a child."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def hear(self, what: str) -> dict[str, Any]:
        """Its next line, which is of that kind."""
        assert self._process.stdout is not None
        async with CLOCK.timeout(WITHIN_S):
            line = await self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line or "{}")
        assert told.get("what") == what, f"{told}: {self._log.read_text()}"
        return told

    async def turn(self, steps: int) -> Cost:
        """Have it do ``steps``."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % steps)
        await self._process.stdin.drain()
        told = await self.hear("done")
        return Cost(cpu_us=told["cpu_s"] / steps * 1e6, wall_us=told["wall_s"] / steps * 1e6)


@asynccontextmanager
async def worker(module: str, options: Sequence[str | Path], log: Path) -> AsyncIterator[Worker]:
    """A child that is ready or about to be; it is killed in the end."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"tests.benchmarks.ven_polls.{module}",
            *options,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield Worker(process, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
