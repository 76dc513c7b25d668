"""The VTNs that are polled, each in a process of its own on a free port of loopback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certs.tls import Identity
from tests.benchmarks.ven_polls.modes import CLOCK, HOST, Mode
from ven.endpoint import PREFIX

WITHIN_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """One that serves."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """What its process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@asynccontextmanager
async def openleadr(identity: Identity, mode: Mode, folder: Path) -> AsyncIterator[Server]:
    """Stock openleadr."""
    async with _told("stock", identity, mode, folder) as server:
        yield server


@asynccontextmanager
async def echo(identity: Identity, mode: Mode, folder: Path) -> AsyncIterator[Server]:
    """A bare server that says what a VTN says when there is nothing new."""
    async with _told("echo", identity, mode, folder) as server:
        yield server


@asynccontextmanager
async def ours(identity: Identity, mode: Mode, folder: Path, **more: Any) -> AsyncIterator[Server]:
    """``negawatt vtn run``, its book in a file."""
    ready, config = folder / f"ready-{mode}.json", folder / f"vtn-{mode}.toml"
    ready.unlink(missing_ok=True)
    settings = {
        "vtn_id": "utility",
        "certificate": str(identity.certificate),
        "key_file": str(identity.key),
        "roots": str(identity.roots),
        "tls": mode.tls,
        "xml_signature": mode.signed,
        **more,
    }
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    command: list[str | Path] = ["-m", "grid.process.cli", "vtn", "run", "--config", config, "--ready-file", ready]
    async with _process(command, folder / "vtn.log") as process:
        async with CLOCK.timeout(WITHIN_S):
            while not ready.exists():
                assert process.returncode is None, (folder / "vtn.log").read_text()
                await CLOCK.sleep(0.02)
        port = json.loads(ready.read_text())["port"]
        yield Server(f"{'https' if mode.tls else 'http'}://{HOST}:{port}{PREFIX}", process.pid)


@asynccontextmanager
async def _told(module: str, identity: Identity, mode: Mode, folder: Path) -> AsyncIterator[Server]:
    log = folder / f"{module}.log"
    command: list[str | Path] = ["-m", f"tests.benchmarks.ven_polls.{module}", "--mode", mode.value]
    command += ["--certificate", identity.certificate, "--key", identity.key, "--roots", identity.roots]
    async with _process(command, log) as process:
        assert process.stdout is not None
        async with CLOCK.timeout(WITHIN_S):
            line = await process.stdout.readline()
        told = json.loads(line or "{}")
        assert told.get("what") == "serving", f"{told}: {log.read_text()}"
        yield Server(told["url"], process.pid)


@asynccontextmanager
async def _process(arguments: Sequence[str | Path], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Python with these arguments; killed in the end."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
