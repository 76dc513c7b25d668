"""Tasks that run beside a test."""

from __future__ import annotations

import asyncio
import contextlib


async def stopped(task: asyncio.Task[None]) -> None:
    """Cancel it; raises what it failed of by itself."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
