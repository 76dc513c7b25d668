"""The site's end of the uplink against a real WebSocket server over mutual TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import WSMsgType, web

from agent.control.tuning import Tuning
from agent.spool import Spool
from agent.uplink import Uplink
from certs.authority import Authority
from certs.errors import CertificateError
from certs.issuance import Role, issue
from certs.tls import Identity, server_context
from grid.clock import AnchoredClock, Clock, SystemClock, VirtualClock
from grid.messages import (
    METER_STREAM,
    PROTOCOL_MAX,
    AuditHead,
    BudgetAck,
    BudgetInterval,
    Capability,
    Hello,
    HighWater,
    Live,
    Message,
    SiteBudget,
    TelemetryAck,
    TelemetryFrame,
    Welcome,
    decode_from_site,
    encode,
)
from grid.process.listen import listen
from tests.agent.tasks import stopped

CLOCK = SystemClock()
M = TypeVar("M", bound=Message)
WITHIN_S = 20.0


class Host:
    """A host with a budget journal of one."""

    def __init__(self) -> None:
        self.taken: SiteBudget | None = None
        self.behind: timedelta | None = None

    def take_budget(self, budget: SiteBudget) -> BudgetAck:
        self.taken = budget
        return BudgetAck(site_id="a", revision=budget.revision, accepted=True, at=CLOCK.now())

    def budget_revision(self) -> int:
        return self.taken.revision if self.taken else 0

    def capability(self) -> Capability:
        return Capability(site_id="a", at=CLOCK.now(), baseline_kw=9.0, deliverable_kw=0.0, segments=())

    def live(self) -> Live:
        return Live(site_id="a", at=CLOCK.now(), values={"site_kw": 9.0})

    def audit_head(self) -> AuditHead | None:
        return None

    def clock_set(self, behind: timedelta) -> None:
        self.behind = behind


class Server:
    """The other end: every connection is handed to ``serve``."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.connections: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        app = web.Application()
        app.router.add_get("/uplink", self._accept)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.port = await listen(runner, "127.0.0.1", 0, server_context(self._identity))
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._done = asyncio.Event()
        await self.connections.put(socket)
        await self._done.wait()
        return socket

    async def welcome(
        self, *marks: HighWater, ahead: timedelta = timedelta(), protocol: int = PROTOCOL_MAX
    ) -> tuple[web.WebSocketResponse, Hello]:
        async with CLOCK.timeout(WITHIN_S):
            socket = await self.connections.get()
            hello = decode_from_site(await socket.receive_str())
        assert isinstance(hello, Hello)
        await send(socket, Welcome(protocol=protocol, server_time=CLOCK.now() + ahead, high_water=marks))
        return socket, hello

    async def hang_up(self, socket: web.WebSocketResponse) -> None:
        await socket.close()
        self._done.set()


async def send(socket: web.WebSocketResponse, message: Message) -> None:
    await socket.send_str(encode(message))


async def expect(socket: web.WebSocketResponse, kind: type[M]) -> M:
    """The next frame of a kind; others pass by."""
    async with CLOCK.timeout(WITHIN_S):
        while not isinstance(frame := decode_from_site(await socket.receive_str()), kind):
            pass
    return frame


class Bench:
    """A server, a spool and an uplink between them."""

    def __init__(self, folder: Path) -> None:
        pki = Authority.create(folder / "pki", name="site PKI", clock=CLOCK)
        gateway = issue(pki, role=Role.GATEWAY, name="gateway", folder=folder, clock=CLOCK)
        self.site = issue(pki, role=Role.SITE, name="a", folder=folder, clock=CLOCK)
        self.server = Server(gateway)
        self.spool = Spool.open(folder / "spool.sqlite", "a")
        self.host = Host()
        self.grid_clock = AnchoredClock(CLOCK)

    def uplink(self, identity: Identity | None = None, *, clock: Clock = CLOCK, port: int | None = None) -> Uplink:
        return Uplink(
            site_id="a", url=f"https://127.0.0.1:{port or self.server.port}/uplink", identity=identity or self.site,
            software="test", simulated=True, host=self.host, spool=self.spool, clock=clock, grid_clock=self.grid_clock,
            jitter=lambda: 0.0,
        )  # fmt: skip

    def row(self, second: int) -> None:
        self.spool.append(
            METER_STREAM, CLOCK.now().replace(microsecond=0) + timedelta(seconds=second), {"site_kw": 1.0}
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    async with made.server.running():
        yield made
    made.spool.close()


async def while_linked(uplink: Uplink, body: Callable[[], Awaitable[None]]) -> None:
    link = asyncio.create_task(uplink.run())
    try:
        await body()
    finally:
        await stopped(link)


async def test_rows_are_kept_until_committed_and_resumed_where_the_server_says(bench: Bench) -> None:
    uplink = bench.uplink()
    bench.row(0)
    bench.row(1)

    async def body() -> None:
        socket, hello = await bench.server.welcome(ahead=timedelta(hours=1))
        assert hello.site_id == "a"
        frame = await expect(socket, TelemetryFrame)
        assert (frame.seq, frame.rows) == (0, 2)
        assert bench.spool.waiting() == 2
        await bench.server.hang_up(socket)  # before anything was acknowledged
        mark = HighWater(spool_id=bench.spool.spool_id, stream=METER_STREAM, seq=0)
        socket, _ = await bench.server.welcome(mark)
        again = await expect(socket, TelemetryFrame)
        assert (again.seq, again.rows) == (1, 1)
        await send(socket, TelemetryAck(spool_id=bench.spool.spool_id, stream=METER_STREAM, seq=1))
        bench.row(5)
        uplink.notify()
        assert (await expect(socket, TelemetryFrame)).seq == 2
        assert bench.spool.waiting() == 1
        await bench.server.hang_up(socket)

    await while_linked(uplink, body)


async def test_the_aggregators_time_is_taken_and_capability_and_live_follow_hello(bench: Bench) -> None:
    async def body() -> None:
        socket, _ = await bench.server.welcome(ahead=timedelta(hours=1))
        assert (await expect(socket, Live)).values == {"site_kw": 9.0}
        assert (await expect(socket, Capability)).baseline_kw == 9.0
        assert timedelta(minutes=59) < bench.grid_clock.now() - CLOCK.now() < timedelta(minutes=61)
        assert bench.host.behind is not None
        assert timedelta(minutes=59) < bench.host.behind < timedelta(minutes=61)
        await bench.server.hang_up(socket)

    await while_linked(bench.uplink(), body)


async def test_a_budget_is_taken_before_it_is_acknowledged_and_told_at_the_next_hello(bench: Bench) -> None:
    start = CLOCK.now()
    end = start + timedelta(minutes=2)
    budget = SiteBudget(
        site_id="a", revision=7, issued_at=start, not_after=end,
        intervals=(BudgetInterval(start=start, end=end, limit_kw=5.0),),
    )  # fmt: skip

    async def body() -> None:
        socket, hello = await bench.server.welcome()
        assert hello.budget_revision == 0
        await send(socket, budget)
        ack = await expect(socket, BudgetAck)
        assert (ack.revision, ack.accepted) == (7, True)
        assert bench.host.taken == budget
        await bench.server.hang_up(socket)
        socket, hello = await bench.server.welcome()
        assert hello.budget_revision == 7
        await bench.server.hang_up(socket)

    await while_linked(bench.uplink(), body)


async def test_a_certificate_of_the_other_domain_never_connects(bench: Bench, tmp_path: Path) -> None:
    utility = Authority.create(tmp_path / "utility", name="utility PKI", clock=CLOCK)
    theirs = issue(utility, role=Role.VEN, name="ven", folder=tmp_path / "theirs", clock=CLOCK)
    wrong = Identity(certificate=theirs.certificate, key=theirs.key, roots=bench.site.roots)
    with pytest.raises(CertificateError, match="does not chain to the roots"):
        await bench.uplink(wrong).run()
    assert bench.server.connections.empty()


async def test_an_aggregator_that_refuses_connections_for_an_hour_is_lost_from_link_loss_s_on(bench: Bench) -> None:
    clock = VirtualClock(CLOCK.now())
    after_s = Tuning().link_loss_s
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and never listens: every connection is refused
        uplink = bench.uplink(clock=clock, port=deaf.getsockname()[1])

        async def body() -> None:
            lost: list[bool] = []
            for _ in range(3600):
                await clock.advance(1.0)
                lost.append(uplink.lost(after_s=after_s))
            assert uplink.state.why != "not connected yet"
            assert lost == [second > after_s for second in range(1, 3601)]

        await while_linked(uplink, body)


async def test_a_version_that_was_not_offered_is_refused_with_what_to_do(bench: Bench) -> None:
    uplink = bench.uplink()

    async def body() -> None:
        first, _ = await bench.server.welcome(protocol=PROTOCOL_MAX + 1)
        message = await first.receive()
        assert message.type is WSMsgType.CLOSE
        await bench.server.hang_up(first)
        second, _ = await bench.server.welcome()
        assert f"protocol {PROTOCOL_MAX + 1}" in (uplink.state.why or "")
        assert "update" in (uplink.state.why or "")
        await bench.server.hang_up(second)

    await while_linked(uplink, body)
