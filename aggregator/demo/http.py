"""HTTP to the demo's own processes: a document, or an error that names the process that does not give it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from aggregator.demo.errors import DemoError

ANSWER_WITHIN_S = 10.0


class Http:
    """Asks the processes of a scene. Every method raises DemoError."""

    def __init__(
        self, session: aiohttp.ClientSession, name_of: Mapping[str, str], check_alive: Callable[[], None]
    ) -> None:
        """``name_of``: process by base URL. ``check_alive`` raises the last words of a process that is dead."""
        self._session = session
        self._name_of = name_of
        self._check_alive = check_alive

    async def get(self, url: str) -> Any:
        """A JSON document."""
        return json.loads(await self.text(url))

    async def text(self, url: str) -> str:
        return await self._ask("GET", url)

    async def post(self, url: str, body: Mapping[str, Any]) -> Any:
        """Send JSON, get JSON."""
        return json.loads(await self._ask("POST", url, body))

    async def _ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> str:
        name = next(name for base, name in self._name_of.items() if url.startswith(f"{base}/"))
        try:
            async with self._session.request(method, url, json=body) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._check_alive()
            why = "it hangs" if isinstance(error, TimeoutError) else error
            raise DemoError(f"{name} does not answer {method} {url}: {why}") from error
        if answer.status not in (200, 201):
            raise DemoError(f"{name} answered {answer.status} to {method} {url}: {text}")
        return text


def session(answer_within_s: float = ANSWER_WITHIN_S) -> aiohttp.ClientSession:
    """What an Http asks with: no question waits longer than this."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=answer_within_s))
