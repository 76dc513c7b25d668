"""One connected site: hello, frames in, budgets out until acknowledged, and why it ends.

The site is who its certificate says; a frame that names another one ends the session and is kept in the audit.
Budgets come from the outbox: what is unacknowledged is sent on connect, when a new revision is issued, and again
every few seconds with the same revision. One that has expired is not sent.
"""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from aggregator.board import NowBoard
from aggregator.errors import SiteRefusedError
from aggregator.gateway.frames import FrameKeeper
from aggregator.storage.budgets import newest_budget, unacknowledged
from aggregator.storage.sites import raise_revision_floor
from aggregator.storage.store import Store
from aggregator.storage.telemetry import marks
from grid.clock import Clock
from grid.errors import MessageError
from grid.messages import (
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    AuditHead,
    BudgetAck,
    Capability,
    FromSite,
    Hello,
    Live,
    Message,
    Refused,
    TelemetryFrame,
    Welcome,
    decode_from_site,
    encode,
)

HELLO_WITHIN_S = 10.0
RESEND_S = 5.0
"""How long an unacknowledged budget waits before it is sent again."""

_log = structlog.get_logger()


class SiteSession:
    """One WebSocket of one site."""

    def __init__(
        self,
        site_id: str,
        socket: web.WebSocketResponse,
        store: Store,
        board: NowBoard,
        keeper: FrameKeeper,
        clock: Clock,
    ) -> None:
        self.site_id = site_id
        self._socket = socket
        self._store = store
        self._board = board
        self._keeper = keeper
        self._clock = clock
        self._wake = asyncio.Event()
        self._streams: set[tuple[str, str]] = set()

    def wake(self) -> None:
        """Something new may be in the outbox."""
        self._wake.set()

    async def close(self, why: str, code: WSCloseCode = WSCloseCode.GOING_AWAY) -> None:
        """End the session from our side."""
        await self._socket.close(code=code, message=why.encode()[:120])

    async def run(self) -> None:
        """Serve the site until it leaves or breaks a rule."""
        try:
            if not await self._hello():
                return
            async with asyncio.TaskGroup() as group:
                pushing = group.create_task(self._push_budgets())
                try:
                    await self._receive()
                finally:
                    pushing.cancel()
        except* (SiteRefusedError, MessageError) as errors:
            await self._refuse(str(errors.exceptions[0]))

    async def _hello(self) -> bool:
        """Agree on a version and say what we have; False when the site left instead. Raises SiteRefusedError."""
        try:
            async with self._clock.timeout(HELLO_WITHIN_S):
                hello = await self._next()
        except TimeoutError as error:
            raise SiteRefusedError(f"no hello within {HELLO_WITHIN_S:.0f} s") from error
        if hello is None:
            return False
        if not isinstance(hello, Hello):
            raise SiteRefusedError("the first frame must be a hello")
        protocol = min(PROTOCOL_MAX, hello.protocol_max)
        if protocol < max(PROTOCOL_MIN, hello.protocol_min):
            raise SiteRefusedError(
                f"no common protocol version: you speak {hello.protocol_min} to {hello.protocol_max}, "
                f"we speak {PROTOCOL_MIN} to {PROTOCOL_MAX}: upgrade the older side"
            )
        async with self._store.reading() as connection:
            known = await marks(connection, self.site_id)
            newest = await newest_budget(connection, self.site_id)
        if hello.budget_revision > (newest.budget.revision if newest else 0):
            await self._keep_revision_floor(hello.budget_revision)
        self._board.link(self.site_id, connected=True, simulated=hello.simulated)
        _log.info("site connected", site_id=self.site_id, software=hello.software, protocol=protocol)
        await self._send(Welcome(protocol=protocol, server_time=self._clock.now(), high_water=known))
        return True

    async def _keep_revision_floor(self, revision: int) -> None:
        """The site has journalled a budget we do not know, so ours was restored from a backup: number on from there."""
        async with self._store.transaction() as tx:
            await raise_revision_floor(tx.connection, self.site_id, revision)
            await tx.record(
                actor=f"site:{self.site_id}",
                action="budget.unknown",
                subject=f"{self.site_id}/{revision}",
                facts={"revision": revision},
            )

    async def _receive(self) -> None:
        while (frame := await self._next()) is not None:
            match frame:
                case TelemetryFrame():
                    stream = (frame.spool_id, frame.stream)
                    ack = await self._keeper.telemetry(frame, first_of_stream=stream not in self._streams)
                    self._streams.add(stream)
                    await self._send(ack)
                case Capability():
                    await self._keeper.capability(frame)
                case BudgetAck():
                    await self._keeper.budget_ack(frame)
                case Live():
                    self._board.live(frame)
                case AuditHead():
                    await self._keeper.audit_head(frame)
                case Hello():
                    raise SiteRefusedError("a second hello on one connection")

    async def _next(self) -> FromSite | None:
        """The next frame, None when the site has left. Raises MessageError, and SiteRefusedError for another's."""
        message = await self._socket.receive()
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            return None
        if message.type is not WSMsgType.TEXT:
            raise SiteRefusedError("frames are text")
        frame = decode_from_site(message.data)
        if frame.site_id != self.site_id:
            raise SiteRefusedError(f"your certificate is of site {self.site_id}, your frame names {frame.site_id}")
        return frame

    async def _push_budgets(self) -> None:
        while True:
            self._wake.clear()
            async with self._store.reading() as connection:
                budget = await unacknowledged(connection, self.site_id)
            if budget is None or budget.not_after <= self._clock.now():
                await self._wake.wait()
                continue
            await self._send(budget)
            try:
                async with self._clock.timeout(RESEND_S):
                    await self._wake.wait()
            except TimeoutError:
                _log.warning("budget not acknowledged", site_id=self.site_id, revision=budget.revision)

    async def _send(self, message: Message) -> None:
        try:
            await self._socket.send_str(encode(message))
        except ConnectionResetError:
            # The site is gone: the receiving side sees that too and ends the session.
            _log.info("site left while we sent", site_id=self.site_id)

    async def _refuse(self, reason: str) -> None:
        _log.warning("site refused", site_id=self.site_id, reason=reason)
        await self._keeper.refused(self.site_id, reason)
        await self._send(Refused(reason=reason))
        await self.close("refused", WSCloseCode.POLICY_VIOLATION)
