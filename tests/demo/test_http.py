"""A process that hangs, is dead or refuses is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from aggregator.demo.errors import DemoError
from aggregator.demo.http import Http, session
from grid.process.listen import listen


def alive() -> None:
    """No process is dead."""


@asynccontextmanager
async def asking(handler: Callable[[web.Request], object]) -> AsyncIterator[tuple[Http, str]]:
    app = web.Application()
    app.router.add_route("*", "/x", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    url = f"http://127.0.0.1:{await listen(runner, '127.0.0.1', 0)}"
    try:
        async with session(answer_within_s=0.3) as client:
            yield Http(client, {url: "plant-tempe"}, alive), url
    finally:
        await runner.cleanup()


async def test_a_process_that_hangs_is_named_in_one_line() -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with asking(hang) as (http, url):
        with pytest.raises(DemoError, match=f"plant-tempe does not answer GET {url}/x: it hangs"):
            await http.get(f"{url}/x")


async def test_a_refusal_is_told_with_its_words() -> None:
    async def refuse(_: web.Request) -> web.Response:
        raise web.HTTPConflict(text="not ready")

    async with asking(refuse) as (http, url):
        with pytest.raises(DemoError, match=r"plant-tempe answered 409 to POST .*: not ready"):
            await http.post(f"{url}/x", {})


async def test_a_dead_process_says_its_own_last_words() -> None:
    def dead() -> None:
        raise DemoError("plant-tempe ended with exit code 1: no gcc")

    async with session() as client:
        http = Http(client, {"http://127.0.0.1:9": "plant-tempe"}, dead)
        with pytest.raises(DemoError, match="no gcc"):
            await http.text("http://127.0.0.1:9/x")
