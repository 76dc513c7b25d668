"""The admin port of a process: /livez, /readyz (each dependency by name) and /metrics.

Loopback and plain by default; what else a process shows a person on its admin port it adds as routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from grid.process.listen import listen

Check = Callable[[], str | None]
"""None when the dependency is ready, else one line that says what is missing."""


class AdminServer:
    """Health, readiness and metrics over HTTP. Use as an async context manager; ``port`` is set once entered."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        registry: CollectorRegistry,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        self._checks = checks
        self._registry = registry
        self._host = host
        self.port = port
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.add_routes(routes)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> AdminServer:
        self.port = await listen(self._runner, self._host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting = {name: why for name, check in self._checks.items() if (why := check()) is not None}
        body = {"status": "waiting" if waiting else "ready", "waiting_for": waiting}
        return web.json_response(body, status=503 if waiting else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": "text/plain; version=0.0.4"})
