"""The openleadr peer as a test sees it: a process that tells what it heard."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from certs.tls import Identity
from grid.clock import SystemClock

CLOCK = SystemClock()
WITHIN_S = 30.0
LONGEST_LINE = 2**22
"""It holds a whole message."""


class OpenleadrPeer:
    """One running peer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.url = ""
        self.heard: list[dict[str, Any]] = []
        """Every line so far."""

    async def hear(self, what: str, **facts: Any) -> dict[str, Any]:
        """The next line that says so; earlier ones are kept in ``heard``."""
        assert self._process.stdout is not None
        async with CLOCK.timeout(WITHIN_S):
            while line := await self._process.stdout.readline():
                told: dict[str, Any] = json.loads(line)
                self.heard.append(told)
                if told["what"] == what and all(told[name] == value for name, value in facts.items()):
                    return told
        raise AssertionError(f"openleadr ended before it told {what}")

    async def listen(self) -> None:
        """Hear all it has to tell, until it ends; in place of ``hear``."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.heard.append(json.loads(line))

    async def order(self, **order: Any) -> None:
        """See the peer's own description."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def openleadr_vtn(
    log: Path,
    *,
    identity: Identity | None = None,
    sign: bool = False,
    event: dict[str, Any] | None = None,
    report_interval_s: float = 10.0,
) -> AsyncIterator[OpenleadrPeer]:
    """Serves over mutual TLS with an identity, else plainly; its own log goes to ``log``."""
    options = ["--report-interval-s", str(report_interval_s)]
    if identity is not None:
        options += ["--certificate", str(identity.certificate), "--key", str(identity.key)]
        options += ["--roots", str(identity.roots), "--tls"]
    if sign:
        options.append("--sign")
    if event is not None:
        options += ["--event", json.dumps(event)]
    async with _peer("openleadr_vtn", options, log) as peer:
        peer.url = (await peer.hear("serving"))["url"]
        yield peer


@asynccontextmanager
async def openleadr_ven(log: Path, url: str, *, identity: Identity | None = None) -> AsyncIterator[OpenleadrPeer]:
    """A VEN that has registered; with an identity it signs."""
    options = ["--url", url]
    if identity is not None:
        options += ["--certificate", str(identity.certificate), "--key", str(identity.key)]
        options += ["--roots", str(identity.roots)]
    async with _peer("openleadr_ven", options, log) as peer:
        await peer.hear("registered")
        yield peer


@asynccontextmanager
async def _peer(module: str, options: list[str], log: Path) -> AsyncIterator[OpenleadrPeer]:
    """The process ends when its stdin does."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"tests.ven.peers.{module}",
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LONGEST_LINE,
        )
    try:
        yield OpenleadrPeer(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with CLOCK.timeout(WITHIN_S):
            await process.wait()
