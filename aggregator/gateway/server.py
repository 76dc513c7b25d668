"""The uplink's server end: an HTTPS server on the site PKI whose one path is a WebSocket, ``/uplink``.

A connection without a certificate of the site PKI fails in the handshake; one whose certificate names no site of
ours gets 403. A site has one session: a newer connection replaces the older one, whose peer may have died unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from aggregator.board import NowBoard
from aggregator.gateway.frames import FrameKeeper
from aggregator.gateway.session import SiteSession
from aggregator.portfolio.config import GatewaySettings
from aggregator.storage.store import Store
from certs.identity import site_of_peer
from certs.tls import check_identity, server_context
from grid.clock import Clock
from grid.process.listen import listen

PATH = "/uplink"
HEARTBEAT_S = 10.0
"""A site that answers no ping for this long is taken for gone."""
MAX_FRAME_BYTES = 1 << 20


class Gateway:
    """Every site's uplink. Use as an async context manager; ``port`` is set once entered."""

    def __init__(
        self,
        settings: GatewaySettings,
        sites: Collection[str],
        store: Store,
        board: NowBoard,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._sites = frozenset(sites)
        self._store = store
        self._board = board
        self._clock = clock
        self._keeper = FrameKeeper(store, board, clock, registry)
        self._sessions: dict[str, SiteSession] = {}
        self.port = settings.port
        app = web.Application()
        app.router.add_get(PATH, self._uplink)
        app.on_shutdown.append(self._leave)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        connected = Gauge("negawatt_uplink_sites", "Sites with an open uplink", registry=registry)
        connected.set_function(lambda: len(self._sessions))

    async def __aenter__(self) -> Gateway:
        """Serve. Raises CertificateError for an identity no site would accept, AddressInUseError."""
        identity = self._settings.identity
        check_identity(identity, self._clock)
        self.port = await listen(self._runner, self._settings.host, self._settings.port, server_context(identity))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def wake(self, site_id: str) -> None:
        """A budget was issued: send it now if the site is connected, else when it comes."""
        session = self._sessions.get(site_id)
        if session is not None:
            session.wake()

    async def _uplink(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        site_id = site_of_peer(transport.get_extra_info("peercert") if transport else None)
        if site_id is None or site_id not in self._sites:
            await self._keeper.refused(site_id or "unnamed", "its certificate names no site of this aggregator")
            raise web.HTTPForbidden(
                text="your certificate names no site of this aggregator: have it added to [[sites]]"
            )
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_FRAME_BYTES)
        await socket.prepare(request)
        session = SiteSession(site_id, socket, self._store, self._board, self._keeper, self._clock)
        older = self._sessions.get(site_id)
        self._sessions[site_id] = session
        try:
            async with asyncio.TaskGroup() as group:
                if older is not None:
                    # Beside the new session: a dead peer answers no close, and waiting for it would hold this one up.
                    group.create_task(older.close("replaced by a newer connection of this site"))
                await session.run()
        finally:
            if self._sessions.get(site_id) is session:
                del self._sessions[site_id]
                self._board.link(site_id, connected=False)
        return socket

    async def _leave(self, _: web.Application) -> None:
        for session in list(self._sessions.values()):
            await session.close("the aggregator is stopping")
