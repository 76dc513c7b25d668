"""The real aggregator in a process of its own, between a utility's VTN process and small real sites."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import tomli_w

from certs.authority import Authority
from certs.issuance import Role, issue
from certs.tls import Identity
from grid.clock import SystemClock
from grid.intervals import floor_to
from grid.messages import BudgetAck, Live, SiteBudget, TelemetryAck, decode_from_aggregator, encode
from tests.aggregator.site_client import capability, connect, meter_frame
from tests.ven.conftest import VtnProcess

CLOCK = SystemClock()
START_WITHIN_S = 40.0
PROGRAMME = """
programme_id = "quick"
name = "Seconds instead of minutes"
market_context = "urn:programme:quick"
source = "a test"
verified = false
valid_from = 2026-01-01
default_opt = "optOut"
stacking = "exclusive"

[dispatch]
signal_name = "LOAD_DISPATCH"
signal_type = "delta"
delta_sign = -1
min_notice_s = 0
ramp_s = 1
release_s = 1
max_duration_s = 60
on_link_loss = "follow"

[settlement]
baseline = "meter_before"
baseline_s = 3
interval_s = 1
price_usd_per_kwh = "1000"
rounding = "half_up"
kw_places = 3
kwh_places = 9
lateness_s = 10
performance = [{ ratio_from = "0", ratio_to = "1", a = "0", b = "1" }, { ratio_from = "1", a = "1", b = "0" }]
"""
SITES = ("a", "b")
ENROLMENT = "portfolio"
BASE_KW = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where everything is."""

    folder: Path
    utility: Authority
    gateway: Identity
    sites: Mapping[str, Identity]

    @property
    def config(self) -> Path:
        return self.folder / "aggregator.toml"


def make_world(folder: Path) -> World:
    """Certificates of both domains."""
    ours = Authority.create(folder / "site-pki", name="Site PKI", clock=CLOCK)
    return World(
        folder=folder,
        utility=Authority.create(folder / "utility-pki", name="Utility PKI", clock=CLOCK),
        gateway=issue(ours, role=Role.GATEWAY, name="gateway", folder=folder / "gw", clock=CLOCK),
        sites={s: issue(ours, role=Role.SITE, name=s, folder=folder / s, clock=CLOCK) for s in SITES},
    )


@asynccontextmanager
async def utility(world: World) -> AsyncIterator[VtnProcess]:
    """A serving VTN that wants reports every second."""
    identity = issue(world.utility, role=Role.VTN, name="vtn", folder=world.folder / "vtn", clock=CLOCK)
    settings = {"report_interval_s": 1, "baseline_s": 3.0, "release_s": 1.0}
    vtn = VtnProcess(world.folder / "vtn", identity, 0, settings)
    try:
        await vtn.start()
        yield vtn
    finally:
        vtn.stop()


def configure(world: World, vtn_url: str) -> None:
    """Write the programme and the aggregator's configuration."""
    (world.folder / "quick.toml").write_text(PROGRAMME)
    gateway = world.gateway
    ven = issue(world.utility, role=Role.VEN, name=ENROLMENT, folder=world.folder / "ven", clock=CLOCK)
    config: dict[str, Any] = {
        "aggregator": {"state_dir": "state", "audit_key_file": "audit.key"},
        "gateway": {
            "certificate": str(gateway.certificate), "key_file": str(gateway.key), "roots": str(gateway.roots),
        },
        "sites": [{"id": s} for s in SITES],
        "enrolments": [
            {
                "programme_file": "quick.toml",
                "resources": [{"resource_id": s, "site_id": s} for s in SITES],
                "ven": {
                    "enrolment_id": ENROLMENT, "ven_name": ENROLMENT, "vtn_url": vtn_url,
                    "certificate": str(ven.certificate), "key_file": str(ven.key), "vtn_roots": str(ven.roots),
                    "resources": [{"resource_id": s, "rid": f"{s}-kw"} for s in SITES],
                    "report_granularity_min_s": 1.0, "report_lateness_s": 3.0,
                },
            }
        ],
    }  # fmt: skip
    world.config.write_text(tomli_w.dumps(config))


class AggregatorProcess:
    """``negawatt aggregator run``, or a script that starts it."""

    def __init__(self, world: World, launcher: Sequence[str] = ("-m", "grid.process.cli")) -> None:
        self._world = world
        self._launcher = launcher
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, int] = {}

    async def start(self) -> None:
        ready_file = self._world.folder / "aggregator-ready.json"
        process = self._spawn(ready_file)
        async with CLOCK.timeout(START_WITHIN_S):
            while not ready_file.exists():
                assert process.poll() is None, self.log()
                await CLOCK.sleep(0.05)
        self.ready = json.loads(ready_file.read_text())

    def _spawn(self, ready_file: Path) -> subprocess.Popen[bytes]:
        ready_file.unlink(missing_ok=True)
        words = ["aggregator", "run", "--config", str(self._world.config), "--ready-file", str(ready_file)]
        with (self._world.folder / "aggregator.log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, *self._launcher, *words], stdout=log, stderr=log)
        return self._process

    async def died(self) -> int:
        """Its exit code, once it ends by itself."""
        assert self._process is not None
        async with CLOCK.timeout(START_WITHIN_S):
            while (code := self._process.poll()) is None:
                await CLOCK.sleep(0.05)
        return code

    def stop(self) -> int:
        if self._process is None:
            return 0
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(20)
        self._process = None
        return code

    def log(self) -> str:
        return (self._world.folder / "aggregator.log").read_text()

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as http, http.get(self.url(path)) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ready['console_port']}{path}"


@dataclass(slots=True, kw_only=True)
class SmallSite:
    """A site that obeys its budget exactly and never forgets: telemetry is kept until acknowledged."""

    site_id: str
    rows: list[float | None] = field(default_factory=list)
    """Every second since ``began``."""
    began: Any = None
    budget: SiteBudget | None = None
    budgets: list[SiteBudget] = field(default_factory=list)
    """Every budget frame received, repeats too."""
    acked: int = -1

    async def live(self, identity: Identity, port_of: Any) -> None:
        """Measure every second, and keep an uplink open whatever happens to the aggregator."""
        self.began = floor_to(CLOCK.now(), 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._measure())
            while True:
                with suppress(aiohttp.ClientError, ConnectionError):
                    await self._uplink(identity, port_of())
                await CLOCK.sleep(0.2)

    async def _measure(self) -> None:
        while True:
            due = self.began + timedelta(seconds=len(self.rows) + 1)
            await CLOCK.sleep((due - CLOCK.now()).total_seconds())
            moment = due - timedelta(seconds=1)
            interval = self.budget.at(moment) if self.budget else None
            self.rows.append(BASE_KW if interval is None else min(BASE_KW, interval.limit_at(moment)))

    async def _uplink(self, identity: Identity, port: int) -> None:
        async with connect(port, identity, self.site_id, CLOCK) as client:
            welcome = await client.hello(self.budget.revision if self.budget else 0)
            sent = max((mark.seq for mark in welcome.high_water), default=-1)
            reading = asyncio.create_task(self._read(client.socket))
            try:
                while not reading.done():
                    await client.send(capability(self.site_id, CLOCK.now(), BASE_KW, (20, 0.1), (20, 0.2)))
                    if fresh := self.rows[sent + 1 :]:
                        start = self.began + timedelta(seconds=sent + 1)
                        await client.send(meter_frame(self.site_id, sent + 1, start, fresh, spool_id="small"))
                        sent += len(fresh)
                        values = {"site_kw": fresh[-1]}
                        await client.send(Live(site_id=self.site_id, at=CLOCK.now(), values=values))
                    await CLOCK.sleep(0.25)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            frame = decode_from_aggregator(message.data)
            if isinstance(frame, TelemetryAck):
                self.acked = max(self.acked, frame.seq)
            elif isinstance(frame, SiteBudget):
                self.budgets.append(frame)
                if self.budget is None or frame.revision > self.budget.revision:
                    self.budget = frame
                ack = BudgetAck(site_id=self.site_id, revision=frame.revision, accepted=True, at=CLOCK.now())
                await socket.send_str(encode(ack))


@asynccontextmanager
async def living_sites(world: World, aggregator: AggregatorProcess) -> AsyncIterator[dict[str, SmallSite]]:
    """Both sites alive until the body ends."""
    sites = {site_id: SmallSite(site_id=site_id) for site_id in SITES}
    tasks = [
        asyncio.create_task(site.live(world.sites[site.site_id], lambda: aggregator.ready["gateway_port"]))
        for site in sites.values()
    ]
    try:
        yield sites
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def reported(vtn: VtnProcess, *, intervals: int) -> None:
    """Return once the utility has that many intervals of every site."""
    async with CLOCK.timeout(40):
        while True:
            received = (await vtn.get("/reports")).get(ENROLMENT, {})
            if all(received.get(f"{s}-kw", {}).get("intervals", 0) >= intervals for s in SITES):
                return
            await CLOCK.sleep(0.2)


async def settled(aggregator: AggregatorProcess) -> list[dict[str, Any]]:
    """The statements, once there is one."""
    async with CLOCK.timeout(60):
        while not (statements := await aggregator.get("/api/v1/settlements")):
            await CLOCK.sleep(0.2)
    found: list[dict[str, Any]] = statements
    return found


async def delivered(vtn: VtnProcess, event_id: str) -> dict[str, Any]:
    """What the utility counts, once it has every interval it expects."""
    async with CLOCK.timeout(40):
        while True:
            found: dict[str, Any] = await vtn.get(f"/deliveries/{event_id}")
            if found["intervals_received"] >= found["intervals_expected"] > 0:
                return found
            await CLOCK.sleep(0.2)
