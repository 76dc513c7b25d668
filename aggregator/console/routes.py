"""The console over HTTP: the page "Now", its assets, and the snapshot behind it as JSON and as a live stream.

Everything shown comes from ``NowBoard.snapshot()``; nothing is computed here, so what the board calls unknown stays
unknown. The stream is server-sent events (WHATWG HTML, section 9.2): ``snapshot`` once, then ``delta`` with the parts
that changed, or ``heartbeat`` when none did. No answer allows inline script or foreign content.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aggregator.board import NowBoard
from aggregator.console.delta import delta

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_CONTENT_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    "": "text/plain",  # LICENSE and NOTICE of what we ship
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_LIVE_HEADERS = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
_RECONNECT_MS = 2000
"""How long a browser waits before it asks for the stream again."""


def console_routes(board: NowBoard, stopping: asyncio.Event | None = None) -> list[web.AbstractRouteDef]:
    """Routes of the console. Setting ``stopping`` ends every open stream; see ``add_console``."""
    pages = Pages(board)
    stream = Stream(board, stopping or asyncio.Event())
    return [
        web.get("/", pages.now),
        web.get("/static/{path:.+}", pages.asset),
        web.get("/api/v1/now", pages.snapshot),
        web.get("/api/v1/now/stream", stream.handle),
    ]


def add_console(app: web.Application, board: NowBoard) -> None:
    """Serve the console from ``app``, and end its streams as soon as the app shuts down."""
    stopping = asyncio.Event()

    async def stop(_: web.Application) -> None:
        stopping.set()

    app.add_routes(console_routes(board, stopping))
    app.on_shutdown.append(stop)


class Pages:
    """What is answered at once: the page, its assets and the snapshot."""

    def __init__(self, board: NowBoard) -> None:
        self._board = board
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def now(self, _: web.Request) -> web.Response:
        page = self._templates.get_template("now.html").render(self._board.snapshot())
        return web.Response(text=page, content_type="text/html", headers=_LIVE_HEADERS)

    async def snapshot(self, _: web.Request) -> web.Response:
        return web.json_response(self._board.snapshot(), headers=_LIVE_HEADERS)

    async def asset(self, request: web.Request) -> web.StreamResponse:
        path = (_STATIC / request.match_info["path"]).resolve()
        if not path.is_relative_to(_STATIC.resolve()) or not path.is_file() or path.suffix not in _CONTENT_TYPES:
            raise web.HTTPNotFound(headers=SECURITY_HEADERS)
        # no-cache: the browser asks each time and gets 304 by ETag, so an upgrade shows at the next load.
        response = web.FileResponse(path, headers={**SECURITY_HEADERS, "Cache-Control": "no-cache"})
        response.content_type = _CONTENT_TYPES[path.suffix]
        response.charset = "utf-8"
        return response


class Stream:
    """The live stream, one subscription of the board a browser."""

    def __init__(self, board: NowBoard, stopping: asyncio.Event) -> None:
        self._board = board
        self._stopping = stopping

    async def handle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_LIVE_HEADERS, "X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        await response.prepare(request)
        try:
            async with asyncio.TaskGroup() as group:
                pushing = group.create_task(self._push(response))
                await self._stopping.wait()
                pushing.cancel()
            await response.write_eof()
        except* ConnectionResetError:
            pass  # the browser has left, which is how most streams end
        return response

    async def _push(self, response: web.StreamResponse) -> None:
        await response.write(f"retry: {_RECONNECT_MS}\n\n".encode())
        sent: dict[str, Any] | None = None
        # It is a generator: closed here, it leaves the board's listeners at once and not when it is collected.
        subscription = cast("AsyncGenerator[None, None]", self._board.subscribe())
        async with aclosing(subscription) as changes:
            async for _ in changes:
                snapshot = self._board.snapshot()
                name, body = ("snapshot", snapshot) if sent is None else delta(sent, snapshot)
                await response.write(_sse(name, body))
                sent = snapshot


def _sse(name: str, body: Mapping[str, Any]) -> bytes:
    # JSON without indentation holds no line break, so it is one data line.
    return f"event: {name}\ndata: {json.dumps(body, separators=(',', ':'))}\n\n".encode()
