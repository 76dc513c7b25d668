"""Child processes of the demo: started, watched, killed on purpose, and never left behind.

A child is ready when its ready file is there. It runs in a session of its own, so that Ctrl-C reaches only the
demo, which then stops its children in the reverse of their order; should the demo itself die, the kernel ends them.
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

READY_WITHIN_S = 45.0
STOP_WITHIN_S = 15.0
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
    """The demo's processes. Use as an async context manager: leaving it stops all of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[str, tuple[Child, asyncio.subprocess.Process]] = {}
        self._expected_dead: set[str] = set()

    async def __aenter__(self) -> Children:
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            await self.stop(name)

    async def start(self, child: Child) -> dict[str, Any]:
        """Run a child and wait until it serves; returns its ready file. Raises DemoError with its own last words."""
        child.ready_file.unlink(missing_ok=True)
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **child.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),
            )
        self._running[child.name] = (child, process)
        self._expected_dead.discard(child.name)
        try:
            async with self._clock.timeout(READY_WITHIN_S):
                while not child.ready_file.exists():
                    self.check(child.name)
                    await self._clock.sleep(0.05)
        except TimeoutError as error:
            raise DemoError(f"{child.name} did not serve within {READY_WITHIN_S:.0f} s: see {child.log}") from error
        ready: dict[str, Any] = json.loads(child.ready_file.read_text())
        return ready

    def check(self, name: str) -> None:
        """Raise DemoError when a child is dead that should not be."""
        child, process = self._running[name]
        if process.returncode is not None and name not in self._expected_dead:
            raise DemoError(f"{name} ended with exit code {process.returncode}: {_last_line(child.log)}")

    def check_all(self) -> None:
        for name in self._running:
            self.check(name)

    async def kill(self, name: str) -> None:
        """SIGKILL: the process gets no chance to tidy up."""
        _, process = self._running[name]
        self._expected_dead.add(name)
        process.kill()
        await process.wait()

    async def stop(self, name: str) -> None:
        """SIGTERM, and SIGKILL for one that does not end."""
        _, process = self._running.pop(name)
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with self._clock.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


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
    return lines[-1] if lines else f"it said nothing in {log}"
