"""Children are real processes here: started once, stopped whatever happens, and free of the person's overrides."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from aggregator.demo import children as module
from aggregator.demo.children import Child, Children, reserve_port
from aggregator.demo.errors import DemoError
from grid.clock import SystemClock

CLOCK = SystemClock()
SERVE = """
import json, os, pathlib, signal, sys
ready = pathlib.Path(sys.argv[1])
def stop(*_):
    print("asked to stop", flush=True)
    if sys.argv[2] != "stubborn":
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
ready.with_suffix(".partial").write_text(json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}))
ready.with_suffix(".partial").rename(ready)
while True:
    signal.pause()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script(Child):
    """A child that is one small script."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", SERVE, str(self.ready_file), *self.words]


def script(folder: Path, name: str, word: str = "willing") -> Script:
    home = folder / name
    home.mkdir(exist_ok=True)
    return Script(name=name, words=(word,), folder=home, environment={"NEGAWATT_NVML_STATE": "x"})


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_child_that_runs_is_not_started_again_and_a_killed_one_is(tmp_path: Path) -> None:
    async with Children(CLOCK) as children:
        first = await children.start(script(tmp_path, "agent"))
        with pytest.raises(DemoError, match="agent runs already"):
            await children.start(script(tmp_path, "agent"))
        await children.kill("agent")
        second = await children.start(script(tmp_path, "agent"))
    assert first["pid"] != second["pid"]
    assert is_gone(first["pid"])
    assert is_gone(second["pid"])


async def test_overrides_of_the_persons_own_configuration_do_not_reach_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEGAWATT_GATEWAY_PORT", "1")
    async with Children(CLOCK) as children:
        ready = await children.start(script(tmp_path, "agent"))
    ours = {name: value for name, value in ready["environment"].items() if name.startswith("NEGAWATT_")}
    assert ours == {"NEGAWATT_NVML_STATE": "x"}


async def test_one_that_does_not_stop_is_killed_and_the_others_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_WITHIN_S", 1.0)
    async with Children(CLOCK) as children:
        stage = [script(tmp_path, "plant"), script(tmp_path, "stubborn", "stubborn")]
        pids = [ready["pid"] for ready in await children.start_stage(stage)]
    assert all(map(is_gone, pids))
    assert "asked to stop" in stage[0].log.read_text()


async def test_a_stop_signal_during_the_stop_leaves_nobody_behind(tmp_path: Path) -> None:
    in_exit = asyncio.Event()
    stubborn = script(tmp_path, "stubborn", "stubborn")
    pids: list[int] = []

    async def demo() -> None:
        async with Children(CLOCK) as children:
            pids.append((await children.start(stubborn))["pid"])
            in_exit.set()

    task = asyncio.create_task(demo())
    await in_exit.wait()
    async with CLOCK.timeout(10):
        while "asked to stop" not in stubborn.log.read_text():
            await CLOCK.sleep(0.02)
    task.cancel()
    await CLOCK.sleep(0)
    assert not task.done()
    os.kill(pids[0], signal.SIGKILL)
    await asyncio.wait([task])
    assert is_gone(pids[0])


async def test_a_child_that_dies_says_its_last_words_and_where_the_others_are(tmp_path: Path) -> None:
    child = script(tmp_path, "plant")
    async with Children(CLOCK) as children:
        ready = await children.start(child)
        os.kill(ready["pid"], signal.SIGTERM)
        async with CLOCK.timeout(10):
            while not is_gone(ready["pid"]):
                await CLOCK.sleep(0.02)
        with pytest.raises(DemoError, match=f"plant ended with exit code 0: asked to stop .see {child.log}"):
            children.check_all()


async def test_a_reserved_port_is_nobodys_but_the_one_who_knows_it() -> None:
    with reserve_port() as held:
        port = held.getsockname()[1]
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
