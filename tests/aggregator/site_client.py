"""A small real site for tests: the client end of the uplink, over mutual TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import aiohttp

from certs.tls import Identity, client_context
from grid.clock import Clock
from grid.messages import (
    METER_STREAM,
    BudgetAck,
    Capability,
    CapabilitySegment,
    FromAggregator,
    Hello,
    Message,
    SiteBudget,
    TelemetryFrame,
    Welcome,
    decode_from_aggregator,
    encode,
)

M = TypeVar("M", bound=Message)


class SiteClient:
    """One open uplink of one site."""

    def __init__(self, site_id: str, socket: aiohttp.ClientWebSocketResponse, clock: Clock) -> None:
        self.site_id = site_id
        self.socket = socket
        self.clock = clock

    async def send(self, message: Message) -> None:
        await self.socket.send_str(encode(message))

    async def receive(self) -> FromAggregator | None:
        """The next frame, None when the aggregator closed."""
        async with self.clock.timeout(10):
            message = await self.socket.receive()
        return decode_from_aggregator(message.data) if message.type is aiohttp.WSMsgType.TEXT else None

    async def expect(self, kind: type[M]) -> M:
        frame = await self.receive()
        assert isinstance(frame, kind), frame
        return frame

    async def hello(self, budget_revision: int = 0) -> Welcome:
        await self.send(
            Hello(site_id=self.site_id, software="test", sent_at=self.clock.now(), budget_revision=budget_revision)
        )
        return await self.expect(Welcome)

    async def ack(self, budget: SiteBudget, *, accepted: bool = True, reason: str = "") -> None:
        await self.send(
            BudgetAck(
                site_id=self.site_id,
                revision=budget.revision,
                accepted=accepted,
                reason=reason,
                at=self.clock.now(),
            )
        )


@asynccontextmanager
async def connect(port: int, identity: Identity, site_id: str, clock: Clock) -> AsyncIterator[SiteClient]:
    """An open WebSocket, before its hello."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"https://127.0.0.1:{port}/uplink", ssl=client_context(identity)) as socket,
    ):
        yield SiteClient(site_id, socket, clock)


def capability(site_id: str, at: datetime, baseline_kw: float, *segments: tuple[float, float]) -> Capability:
    """``segments``: (kW, USD per kWh)."""
    return Capability(
        site_id=site_id,
        at=at,
        baseline_kw=baseline_kw,
        deliverable_kw=sum(kw for kw, _ in segments),
        segments=tuple(CapabilitySegment(kw=kw, usd_per_kwh=usd) for kw, usd in segments),
    )


def meter_frame(
    site_id: str, seq: int, start: datetime, site_kw: list[float | None], *, spool_id: str = "spool-1"
) -> TelemetryFrame:
    """Consecutive seconds of the meter."""
    return TelemetryFrame(
        site_id=site_id, spool_id=spool_id, stream=METER_STREAM, seq=seq, t0=start, dt_s=1, columns={"site_kw": site_kw}
    )
