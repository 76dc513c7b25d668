"""What the console answers: headers, assets, the snapshot, and the stream from its first message to its end."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import aiohttp
import pytest
from yarl import URL

from grid.clock import SystemClock
from tests.aggregator.console.conftest import Console

CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/api/v1/now", "application/json"),
        ("/api/v1/now/stream", "text/event-stream"),
        ("/static/now.js", "text/javascript"),
        ("/static/now.css", "text/css"),
        ("/static/favicon.svg", "image/svg+xml"),
        ("/static/vendor/echarts/echarts.common.min.js", "text/javascript"),
        ("/static/vendor/echarts/LICENSE", "text/plain"),
        ("/static/vendor/echarts/NOTICE", "text/plain"),
    ],
)
async def test_every_answer_is_typed_and_lets_no_foreign_content_in(
    http: aiohttp.ClientSession, path: str, content_type: str
) -> None:
    async with http.get(path) as answer:
        assert (answer.status, answer.content_type) == (200, content_type)
        assert answer.headers["Content-Security-Policy"] == CSP
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == ("no-cache" if path.startswith("/static/") else "no-store")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../routes.py",
        "/static/%2e%2e/routes.py",
        "/static/..%2f..%2f..%2fLICENSE",
        "/static//etc/passwd",
        "/static/vendor",
        "/static/no.js",
    ],
)
async def test_nothing_but_assets_is_served(console: Console, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(URL(console.url + path, encoded=True)) as answer:
        assert answer.status == 404


async def test_everything_the_page_asks_for_is_served(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        waiting = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', await answer.text()))
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        async with http.get(path) as answer:
            assert answer.status == 200, path
            if path.endswith(".js") and "/vendor/" not in path:
                waiting |= {f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', await answer.text())} - seen
    assert {"/static/now.js", "/static/chart.js", "/static/state.js", "/static/now.css"} <= seen


async def test_an_unchanged_asset_is_not_sent_twice(http: aiohttp.ClientSession) -> None:
    async with http.get("/static/now.js") as first:
        tag = first.headers["ETag"]
    async with http.get("/static/now.js", headers={"If-None-Match": tag}) as second:
        assert second.status == 304


async def test_the_snapshot_is_the_boards(console: Console, http: aiohttp.ClientSession) -> None:
    console.sample("north", 95.5)
    async with http.get("/api/v1/now") as answer:
        body = await answer.json()
    assert body == console.board.snapshot()
    assert body["sites"][0]["site_kw"] == 95.5
    assert body["portfolio"]["site_kw"] is None  # the other site has not reported


async def message(stream: aiohttp.StreamReader) -> tuple[str, dict[str, Any]]:
    """The next server-sent event."""
    fields: dict[str, str] = {}
    while (line := (await stream.readline()).decode().rstrip("\n")) or "event" not in fields:
        name, _, value = line.partition(": ")
        fields[name] = value
    return fields["event"], json.loads(fields["data"])


async def test_the_stream_starts_with_everything_and_goes_on_with_changes(
    console: Console, http: aiohttp.ClientSession
) -> None:
    console.sample("north", 90.0)
    async with http.get("/api/v1/now/stream") as answer:
        assert await message(answer.content) == ("snapshot", console.board.snapshot())
        await console.clock.advance(1.0)
        console.sample("north", 91.0)
        await console.clock.advance(1.0)
        name, body = await message(answer.content)
    assert name == "delta"
    assert body["sites"][0]["site_kw"] == 91.0
    assert [row["sites"]["north"]["site_kw"] for row in body["history"]] == [91.0]
    assert "vens" not in body


async def test_a_quiet_board_still_beats_and_tells_when_a_site_goes_stale(
    console: Console, http: aiohttp.ClientSession
) -> None:
    console.sample("north", 90.0)
    async with http.get("/api/v1/now/stream") as answer:
        await message(answer.content)
        await console.clock.advance(5.0)
        assert (await message(answer.content))[0] == "heartbeat"
        await console.clock.advance(5.0)
        name, body = await message(answer.content)
    assert (name, body["sites"][0]["stale"], body["sites"][0]["site_kw"]) == ("delta", True, None)


async def test_shutdown_ends_open_streams_cleanly_and_at_once(
    console: Console, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with http.get("/api/v1/now/stream") as answer, http.get("/api/v1/now/stream") as abandoned:
        await message(answer.content)
        await message(abandoned.content)
        abandoned.close()
        async with SystemClock().timeout(10.0):  # the runner itself would wait 30 s for a stream left open
            await console.runner.cleanup()
        assert await answer.content.read() == b""
    assert caplog.records == []
