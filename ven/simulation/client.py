"""A thin client of the admin HTTP of a running VTN."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from grid.clock import Clock
from ven.simulation.errors import AdminError

ANSWER_WITHIN_S = 30.0


def ask(
    clock: Clock, url: str, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str]
) -> Any:
    """The JSON that is answered. Raises AdminError."""
    return asyncio.run(_ask(clock, f"{url.rstrip('/')}{path}", method, body, query))


async def _ask(clock: Clock, url: str, method: str, body: Mapping[str, Any] | None, query: Mapping[str, str]) -> Any:
    try:
        async with (
            clock.timeout(ANSWER_WITHIN_S),
            aiohttp.ClientSession() as session,
            session.request(method, url, json=body, params=query) as response,
        ):
            content = await response.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise AdminError(
            f"{url} does not answer ({str(error) or 'timeout'}): start `negawatt vtn run`, and give its admin_port"
        ) from error
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise AdminError(f"{url} answered {response.status} without JSON: is it the admin port of a VTN?") from error
    if response.status >= 400:
        raise AdminError(str(answer.get("error", answer)))
    return answer
