"""A demo in a process of its own, with or without a terminal: read line by line, and gone when the test is over."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from grid.clock import SystemClock

CLOCK = SystemClock()
STOPS_WITHIN_S = 40.0
CTRL_C = b"\x03"


class DemoProcess:
    """A running demo."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader, terminal: int | None) -> None:
        self._process = process
        self._output = output
        self._terminal = terminal
        self.lines: list[str] = []

    async def until(self, words: str) -> str:
        """The first line from here on that holds ``words``."""
        async for line in self._rest():
            if words in line:
                return line
        raise AssertionError("\n".join(self.lines))

    async def end(self) -> int:
        """Read on to the end; returns the exit code."""
        async for _ in self._rest():
            pass
        return await self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def press(self, keys: bytes) -> None:
        assert self._terminal is not None
        os.write(self._terminal, keys)

    async def _rest(self) -> AsyncIterator[str]:
        while line := await self._read():
            self.lines.append(line.decode().rstrip())
            yield self.lines[-1]

    async def _read(self) -> bytes:
        try:
            return await self._output.readline()
        except OSError:  # what a terminal says when its last process is gone
            return b""


@asynccontextmanager
async def running(
    *options: str, within_s: float, terminal: bool = False, environment: Mapping[str, str] | None = None
) -> AsyncIterator[DemoProcess]:
    """``negawatt demo``, which must be over ``within_s`` from now; leaving it stops it in any case."""
    source, sink = pty.openpty() if terminal else os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grid.process.cli", "demo", *options,
        stdin=sink if terminal else asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink,
        env={**os.environ, **(environment or {})},
        start_new_session=True, preexec_fn=_take_terminal if terminal else None,
    )  # fmt: skip
    os.close(sink)
    output = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(output), os.fdopen(source, "rb", buffering=0)
    )
    demo = DemoProcess(process, output, source if terminal else None)
    try:
        async with CLOCK.timeout(within_s):
            yield demo
    finally:
        transport.close()
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with CLOCK.timeout(STOPS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise


def _take_terminal() -> None:
    """In the child, the leader of its new session: Ctrl-C on the terminal on its stdin is a signal to it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def left_running(folder: Path) -> list[str]:
    """Processes of the demo in ``folder`` that are still there."""
    return [ready.parent.name for ready in started(folder) if _is_alive(json.loads(ready.read_text())["pid"])]


def started(folder: Path) -> list[Path]:
    """Ready files of the demo in ``folder``."""
    return list(folder.glob("*/ready.json"))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
