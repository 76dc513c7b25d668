"""The site's end of the uplink: one outbound WebSocket over mutual TLS, kept open for ever.

Telemetry goes out of the spool in order and is forgotten only when the aggregator says it is committed; on connect
the aggregator says what it already has. A budget is journalled by the host before it is acknowledged. Live values
travel beside, unacknowledged. A lost link is retried with jittered back-off and never stops control.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import aiohttp
import structlog

from agent.errors import UplinkError
from agent.spool import Spool
from certs.tls import Identity, check_identity, client_context
from grid.clock import AnchoredClock, Clock
from grid.errors import MessageError
from grid.messages import (
    METER_STREAM,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    AuditHead,
    BudgetAck,
    Capability,
    Hello,
    Live,
    Message,
    Refused,
    SiteBudget,
    TelemetryAck,
    Welcome,
    decode_from_aggregator,
    encode,
)

CAPABILITY_EVERY_S = 10.0
METER_STEP_S = 1.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
ANSWER_WITHIN_S = 10.0
HEARTBEAT_S = 10.0

_log = structlog.get_logger()


class UplinkHost(Protocol):
    """What the agent gives the uplink, and takes from it."""

    def take_budget(self, budget: SiteBudget) -> BudgetAck:
        """Journal the budget, or refuse it with a reason; durable when it returns."""

    def budget_revision(self) -> int:
        """The revision in the journal; 0 for none."""

    def capability(self) -> Capability | None:
        """What the site could give now; None while that is not known."""

    def live(self) -> Live | None:
        """The latest values; None before the first."""

    def audit_head(self) -> AuditHead | None:
        """The newest signed head of the site's own audit chain."""

    def clock_set(self, behind: timedelta) -> None:
        """The grid clock, which was ``behind`` the aggregator's, has been set to it; no row is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How the link stands."""

    connected: bool
    why: str | None
    """Why it is not connected."""
    since_s: float
    """Monotonic time since which it is connected, or is not: a retry that fails changes nothing."""


class Uplink:
    """Keeps the link; ``notify`` after every new row or budget change."""

    def __init__(
        self,
        *,
        site_id: str,
        url: str,
        identity: Identity,
        software: str,
        simulated: bool,
        host: UplinkHost,
        spool: Spool,
        clock: Clock,
        grid_clock: AnchoredClock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._site_id = site_id
        self._url = url
        self._identity = identity
        self._software = software
        self._simulated = simulated
        self._host = host
        self._spool = spool
        self._clock = clock
        self._grid_clock = grid_clock
        self._jitter = jitter
        self._new_rows = asyncio.Event()
        self.state = LinkState(connected=False, why="not connected yet", since_s=clock.monotonic())

    def notify(self) -> None:
        """There are new rows or live values to send."""
        self._new_rows.set()

    def lost(self, *, after_s: float) -> bool:
        """Whether the link has been down for longer than ``after_s``, however often it was tried meanwhile."""
        return not self.state.connected and self._clock.monotonic() - self.state.since_s > after_s

    async def run(self) -> None:
        """Connect, serve, reconnect, for ever. Raises CertificateError when our own certificate cannot be used."""
        check_identity(self._identity, self._clock)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_WITHIN_S)
        connector = aiohttp.TCPConnector(ssl=client_context(self._identity))
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            failures = 0
            while True:
                try:
                    await self._connect_once(http)
                except* (UplinkError, MessageError, aiohttp.ClientError, OSError, TimeoutError) as errors:
                    # A link that had been up starts over with a short wait; one that never came up waits longer.
                    was_up = self.state.connected
                    failures = 1 if was_up else failures + 1
                    self._down(_why(errors, was_up=was_up))
                _heed_cancellation()
                wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10)) * (0.5 + self._jitter() / 2)
                await self._clock.sleep(wait_s)

    async def _connect_once(self, http: aiohttp.ClientSession) -> None:
        """Serve one connection; its end is always an error, in a group when it had been up."""
        async with http.ws_connect(self._url, heartbeat=HEARTBEAT_S) as socket:
            welcome = await self._hello(socket)
            behind = self._grid_clock.anchor(welcome.server_time)
            sent = self._spool.resume(METER_STREAM, welcome.high_water)
            self._host.clock_set(behind)
            self.state = LinkState(connected=True, why=None, since_s=self._clock.monotonic())
            _log.info("uplink open", site_id=self._site_id, clock_behind_s=round(behind.total_seconds(), 3))
            async with asyncio.TaskGroup() as group:
                sending = [
                    group.create_task(self._send_rows(socket, sent)),
                    group.create_task(self._send_capability(socket)),
                ]
                try:
                    await self._receive(socket)
                finally:
                    for task in sending:
                        task.cancel()

    async def _hello(self, socket: aiohttp.ClientWebSocketResponse) -> Welcome:
        hello = Hello(
            site_id=self._site_id,
            software=self._software,
            sent_at=self._clock.now(),
            budget_revision=self._host.budget_revision(),
            simulated=self._simulated,
        )
        await socket.send_str(encode(hello))
        async with self._clock.timeout(ANSWER_WITHIN_S):
            answer = await _next(socket)
        if not isinstance(answer, Welcome):
            raise UplinkError(f"the aggregator answered hello with {answer.type}")
        if not PROTOCOL_MIN <= answer.protocol <= PROTOCOL_MAX:
            raise UplinkError(
                f"the aggregator speaks protocol {answer.protocol}, this agent {PROTOCOL_MIN} to {PROTOCOL_MAX}: "
                "update the older of the two"
            )
        return answer

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await _next(socket)
            match frame:
                case SiteBudget():
                    ack = self._host.take_budget(frame)
                    await socket.send_str(encode(ack))
                    await self._send_head(socket)
                case TelemetryAck() if frame.spool_id == self._spool.spool_id:
                    self._spool.acknowledge(frame.stream, frame.seq)
                case TelemetryAck() | Welcome():
                    raise UplinkError(f"the aggregator sent a {frame.type} that answers nothing of ours")

    async def _send_rows(self, socket: aiohttp.ClientWebSocketResponse, sent: int) -> None:
        """Everything spooled, oldest first, then each new row as it comes; at most one wait behind live."""
        while True:
            self._new_rows.clear()
            while (frame := self._spool.frame(METER_STREAM, after=sent, dt_s=METER_STEP_S)) is not None:
                await socket.send_str(encode(frame))
                sent = frame.seq + frame.rows - 1
            await _send_if_any(socket, self._host.live())
            await self._new_rows.wait()

    async def _send_capability(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await _send_if_any(socket, self._host.capability())
            await self._send_head(socket)
            await self._clock.sleep(CAPABILITY_EVERY_S)

    async def _send_head(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await _send_if_any(socket, self._host.audit_head())

    def _down(self, why: str) -> None:
        if self.state.connected or self.state.why != why:
            _log.warning("uplink down", site_id=self._site_id, why=why)
        since_s = self._clock.monotonic() if self.state.connected else self.state.since_s
        self.state = LinkState(connected=False, why=why, since_s=since_s)


def _heed_cancellation() -> None:
    """Before Python 3.13 a task group that fails while its task is being cancelled hides the cancellation."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _send_if_any(socket: aiohttp.ClientWebSocketResponse, message: Message | None) -> None:
    if message is not None:
        await socket.send_str(encode(message))


async def _next(socket: aiohttp.ClientWebSocketResponse) -> Welcome | SiteBudget | TelemetryAck:
    """The next frame. Raises UplinkError when there is none, or when the aggregator refuses us."""
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        closed = f" (code {socket.close_code})" if socket.close_code else ""
        raise UplinkError(f"the aggregator closed the link{closed}")
    frame = decode_from_aggregator(message.data)
    if isinstance(frame, Refused):
        raise UplinkError(f"the aggregator refused us: {frame.reason}")
    return frame


def _why(errors: BaseExceptionGroup[BaseException], *, was_up: bool) -> str:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the aggregator's certificate is not of our site PKI: check the roots in [uplink] ({error})"
        case ConnectionResetError() | aiohttp.ServerDisconnectedError() if not was_up:
            # Under TLS 1.3 a refused client certificate shows only as a disconnect after the handshake.
            return "the aggregator hung up: it probably refused our certificate; compare its roots with our issuer"
        case aiohttp.WSServerHandshakeError():
            return f"the aggregator refused the uplink with {error.status}: is this site in its [[sites]]?"
        case TimeoutError():
            return f"no answer within {ANSWER_WITHIN_S:.0f} s"
        case _:
            return str(error)
