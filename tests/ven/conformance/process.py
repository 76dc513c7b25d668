"""The processes: one ``negawatt ven run`` with all the VENs, and ``negawatt vtn run``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import tomli_w

from grid.clock import SystemClock

CLOCK = SystemClock()
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
MUTATION = "NEGAWATT_MUTATION"
"""Environment variable that names what is switched off in the VEN (``tests.ven.conformance.mutations``)."""


class VenEndedError(Exception):
    """The VEN's process is gone, so nothing can be said about rules."""


class Admin:
    """Plain HTTP on loopback."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self._base}{path}", json=body) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def get(self, path: str) -> Any:
        status, answer = await self.ask("GET", path)
        assert status == 200, answer
        return answer

    async def do(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        status, answer = await self.ask(method, path, body)
        assert status in (200, 201, 202), answer
        return answer


Ended = Callable[[], bool]


@asynccontextmanager
async def negawatt(
    folder: Path, noun: str, config: Mapping[str, Any], module: Sequence[str]
) -> AsyncIterator[tuple[Any, Ended]]:
    """``negawatt NOUN run``; gives what its ready file says and whether it ended by itself, and ends it."""
    folder.mkdir(parents=True)
    file, ready, log = folder / f"{noun}.toml", folder / "ready.json", folder / f"{noun}.log"
    file.write_text(tomli_w.dumps(config))
    words = [*module, noun, "run", "--config", str(file), "--ready-file", str(ready)]
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", *words, stderr=errors)
    try:
        async with CLOCK.timeout(START_TIMEOUT_S):
            while not ready.exists():
                assert process.returncode is None, log.read_text()
                await CLOCK.sleep(0.02)
        yield json.loads(ready.read_text()), lambda: process.returncode is not None
    finally:
        if process.returncode is None:
            process.terminate()
        async with CLOCK.timeout(STOP_TIMEOUT_S):
            await process.wait()


class VenProcess:
    """Every VEN of the tests."""

    def __init__(self, folder: Path, admin: Admin, ended: Ended) -> None:
        self.admin = admin
        self.ended = ended
        self._events = folder / "events.jsonl"

    def lines(self, enrolment_id: str) -> list[dict[str, Any]]:
        """What the sink was asked, and what came into force, oldest first."""
        if not self._events.exists():
            return []
        found = []
        # A line that is being written has no end yet.
        for text in self._events.read_text().splitlines(keepends=True):
            if text.endswith("\n"):
                line = json.loads(text)
                if enrolment_id == line.get("enrolment_id", line.get("event", {}).get("enrolment_id")):
                    found.append(line)
        return found

    async def status(self, enrolment_id: str) -> dict[str, Any]:
        (found,) = [one for one in await self.admin.get("/vens") if one["enrolment_id"] == enrolment_id]
        return dict(found)


@asynccontextmanager
async def ven_process(folder: Path, vens: Sequence[Mapping[str, Any]]) -> AsyncIterator[VenProcess]:
    """With 40 kW at every resource, from an hour ago for two hours; mutated where the environment says so."""
    folder.mkdir(parents=True)
    begin = CLOCK.now().replace(microsecond=0) - timedelta(hours=1)
    span = {"start": begin.isoformat(), "end": (begin + timedelta(hours=2)).isoformat(), "kw": 40.0}
    resources = sorted({one["resource_id"] for ven in vens for one in ven["resources"]})
    lines = [json.dumps({"resource_id": resource_id, **span}) for resource_id in resources]
    (folder / "readings.jsonl").write_text("".join(f"{line}\n" for line in lines))
    config = {
        "journal": str(folder / "ven.sqlite"),
        "events_file": str(folder / "events.jsonl"),
        "readings_file": str(folder / "readings.jsonl"),
        "vens": list(vens),
    }
    mutation = os.environ.get(MUTATION)
    module = ["grid.process.cli"]
    if mutation is not None:
        module = ["tests.ven.conformance.mutated_ven", mutation, "--"]
    async with negawatt(folder / "process", "ven", config, module) as (ready, ended):
        yield VenProcess(folder, Admin(ready["admin_port"]), ended)


@asynccontextmanager
async def vtn_process(folder: Path, **config: Any) -> AsyncIterator[Any]:
    """Gives ``port`` and ``admin_port``."""
    async with negawatt(folder, "vtn", config, ["grid.process.cli"]) as (ready, _):
        yield ready
