"""Child processes of the demo: started in stages, watched, killed on purpose, and never left behind.

A child is ready when its ready file is there. It runs in a session of its own, so that Ctrl-C reaches only the
demo, which then stops its children, the last stage first; should the demo itself die, the kernel ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregator.demo.errors import DemoError
from grid.clock import Clock
from grid.process.config import ENV_PREFIX

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
"""All of them together; whoever still runs then is killed."""
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent dies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What to run: ``negawatt WORDS --config ... --ready-file ...`` in its own folder."""

    name: str
    words: Sequence[str]
    """Noun, verb and options."""
    folder: Path
    """Holds config.toml, and gets ready.json and log.jsonl."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready_file(self) -> Path:
        return self.folder / "ready.json"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def command(self) -> list[str]:
        config = ["--config", str(self.folder / "config.toml"), "--ready-file", str(self.ready_file)]
        return [sys.executable, "-m", "grid.process.cli", *self.words, *config]


class Children:
    """The demo's processes. Use as an async context manager: leaving it stops all of them, whatever happens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[str, tuple[Child, asyncio.subprocess.Process]] = {}
        self._stages: list[list[str]] = []
        self._expected_dead: set[str] = set()

    async def __aenter__(self) -> Children:
        return self

    async def __aexit__(self, *_: object) -> None:
        """A stop signal that comes now is about what is happening already, and must not leave a process behind."""
        stopping = asyncio.ensure_future(self._stop_all())
        while not stopping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        await stopping

    async def start(self, child: Child) -> dict[str, Any]:
        """A stage of one; returns its ready file. Raises DemoError with its last words when it does not serve."""
        return (await self.start_stage([child]))[0]

    async def start_stage(self, children: Sequence[Child]) -> list[dict[str, Any]]:
        """Run these side by side and wait until each serves; returns their ready files. Raises DemoError."""
        self._stages.append([child.name for child in children])
        for child in children:
            await self._spawn(child)
        try:
            async with self._clock.timeout(READY_WITHIN_S):
                while waiting := [child for child in children if not child.ready_file.exists()]:
                    self.check_all()
                    await self._clock.sleep(0.05)
        except TimeoutError as error:
            child = waiting[0]
            raise DemoError(f"{child.name} did not serve within {READY_WITHIN_S:.0f} s: see {child.log}") from error
        return [json.loads(child.ready_file.read_text()) for child in children]

    async def _spawn(self, child: Child) -> None:
        if self._alive(child.name):
            raise DemoError(f"{child.name} runs already: one configuration is one process")
        child.ready_file.unlink(missing_ok=True)
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_inherited(), **child.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),
            )
        self._running[child.name] = (child, process)
        self._expected_dead.discard(child.name)

    def check_all(self) -> None:
        """Raise DemoError when a child is dead that should not be."""
        for name, (child, process) in self._running.items():
            if process.returncode is not None and name not in self._expected_dead:
                raise DemoError(f"{name} ended with exit code {process.returncode}: {_last_line(child.log)}")

    async def kill(self, name: str) -> None:
        """SIGKILL: the process gets no chance to tidy up."""
        _, process = self._running[name]
        self._expected_dead.add(name)
        process.kill()
        await process.wait()

    async def stop(self, *names: str) -> None:
        """SIGTERM, side by side; returns when they have ended."""
        self._expected_dead.update(names)
        alive = [self._running[name][1] for name in names if self._alive(name)]
        for process in alive:
            process.terminate()
        for process in alive:
            await process.wait()

    async def _stop_all(self) -> None:
        """The last stage first; SIGKILL for those that do not end in time."""
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(STOP_WITHIN_S):
                for stage in reversed(self._stages):
                    await self.stop(*stage)
        for name in filter(self._alive, self._running):
            await self.kill(name)

    def _alive(self, name: str) -> bool:
        return name in self._running and self._running[name][1].returncode is None


def reserve_port() -> socket.socket:
    """A loopback port for a child that binds it later; close the socket once that child serves.

    Bound but not listening: the kernel gives the port to nobody who asks for any free one, and a server that binds
    it by number with SO_REUSEADDR, as asyncio's do, gets it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def _inherited() -> dict[str, str]:
    """Our environment without overrides of configuration keys: a person's own must not reach every child."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Run in the child between fork and exec: the kernel ends it when the demo dies."""
    prctl = ctypes.CDLL(None).prctl

    def arm() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the demo died before this line
            os._exit(1)

    return arm


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return f"{lines[-1]} (see {log})" if lines else f"it said nothing in {log}"
