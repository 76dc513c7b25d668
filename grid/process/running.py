"""How a long-running process of ours lives and ends.

It runs until SIGTERM or SIGINT, which cancel its tasks so that every ``finally`` runs, and exits 0; one more signal
does not cut those short. Once it serves, it writes a ready file with its pid and ports, atomically, for whoever
started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from grid.errors import NegawattError


def run_until_stopped(service: Coroutine[Any, Any, None]) -> int:
    """Run ``service`` to its end or a stop signal; returns the exit code."""
    return asyncio.run(_supervise(service))


async def _supervise(service: Coroutine[Any, Any, None]) -> int:
    task = asyncio.create_task(service)
    loop = asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping:
            raise
    except BaseExceptionGroup as group:
        ours, defects = group.split(NegawattError)
        if ours is None or defects is not None:
            raise
        raise _first_of(ours) from group
    return 0


def _first_of(error: BaseException) -> NegawattError:
    """The first of our own errors inside a task group's failure."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, NegawattError)
    return error


def write_ready_file(path: Path | None, **facts: Any) -> None:
    """Tell whoever started us that we serve: ``{"pid": ..., **facts}``. No path, nothing to tell."""
    if path is None:
        return
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"pid": os.getpid(), **facts}))
    partial.replace(path)
