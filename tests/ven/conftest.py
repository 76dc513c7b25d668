"""Two trust domains, VEN settings, and a utility's VTN in a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certs.authority import Authority
from certs.issuance import Role, issue
from certs.tls import Identity
from grid.clock import SystemClock
from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval
from ven.config import ReportName, ResourceSettings, VenSettings
from ven.ports import Missing, Reading, ResourceState, Unobserved
from ven.timeline import InForce

CLOCK = SystemClock()
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Pki:
    """The utility's domain and ours."""

    folder: Path
    utility: Authority
    sites: Authority

    def ven(self, name: str) -> Identity:
        return self._issue(self.utility, Role.VEN, name)

    def vtn(self, name: str = "utility") -> Identity:
        return self._issue(self.utility, Role.VTN, name)

    def foreign_vtn(self) -> Identity:
        return self._issue(self.sites, Role.VTN, "foreign-vtn")

    def site(self, name: str) -> Identity:
        return self._issue(self.sites, Role.SITE, name)

    def _issue(self, authority: Authority, role: Role, name: str) -> Identity:
        folder = self.folder / name
        if (folder / f"{name}.pem").exists():
            return Identity(
                certificate=folder / f"{name}.pem", key=folder / f"{name}.key", roots=folder / f"{name}-roots.pem"
            )
        return issue(authority, role=role, name=name, folder=folder, clock=CLOCK)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    return Pki(
        folder=folder,
        utility=Authority.create(folder / "utility-ca", name="Utility", clock=CLOCK),
        sites=Authority.create(folder / "sites-ca", name="Sites", clock=CLOCK),
    )


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class VtnProcess:
    """``negawatt vtn run`` and its admin HTTP."""

    def __init__(self, folder: Path, identity: Identity, port: int, settings: Mapping[str, object]) -> None:
        self._folder = folder
        self._identity = identity
        self.port = port
        self.admin_port = 0
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/OpenADR2/Simple/2.0b"

    async def start(self) -> None:
        ready = self._folder / "ready.json"
        process = self._spawn(ready)

        def serving() -> bool:
            assert process.poll() is None, self.log()
            return ready.exists()

        await until(serving, START_TIMEOUT_S)
        facts = json.loads(ready.read_text())
        self.port, self.admin_port = facts["port"], facts["admin_port"]

    def log(self) -> str:
        return (self._folder / "vtn.log").read_text()

    def _spawn(self, ready: Path) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        ready.unlink(missing_ok=True)
        values = {
            "vtn_id": "utility",
            "port": self.port,
            "certificate": str(self._identity.certificate),
            "key_file": str(self._identity.key),
            "roots": str(self._identity.roots),
            **self._settings,
        }
        config = self._folder / "vtn.toml"
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        with (self._folder / "vtn.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "grid.process.cli", "vtn", "run", "--config", config, "--ready-file", ready],
                stderr=log,
            )
        return self._process

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        if self._process is None:
            return 0
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(20)
        self._process = None
        return code

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self._admin(path)) as response:
            return await response.json()

    async def post(self, path: str, body: Mapping[str, object]) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.post(self._admin(path), json=body) as response:
            return response.status, await response.json()

    def _admin(self, path: str) -> str:
        return f"http://127.0.0.1:{self.admin_port}{path}"


VtnFactory = Callable[..., VtnProcess]


@pytest.fixture
def make_vtn(pki: Pki, tmp_path: Path) -> Iterator[VtnFactory]:
    """Makes VTN processes that are not started yet; stops them in the end."""
    made: list[VtnProcess] = []

    def make(identity: Identity | None = None, port: int = 0, **settings: object) -> VtnProcess:
        vtn = VtnProcess(tmp_path / f"vtn{len(made)}", identity or pki.vtn(), port, settings)
        made.append(vtn)
        return vtn

    yield make
    for vtn in made:
        vtn.stop()


@pytest.fixture
async def vtn(make_vtn: VtnFactory) -> VtnProcess:
    """A VTN that serves, with reports every second so that tests are quick."""
    process = make_vtn(report_interval_s=1, baseline_s=3.0, release_s=1.0)
    await process.start()
    return process


def ven_settings(identity: Identity, url: str, name: str = "ven-a", **more: Any) -> VenSettings:
    """A VEN with two resources and reports down to a second."""
    values: dict[str, Any] = {
        "enrolment_id": name,
        "ven_name": name,
        "vtn_url": url,
        "certificate": identity.certificate,
        "key_file": identity.key,
        "vtn_roots": identity.roots,
        "resources": (
            ResourceSettings(resource_id="site-1", rid="site-1-kw"),
            ResourceSettings(resource_id="site-2", rid="site-2-kw"),
        ),
        "reports": (ReportName.TELEMETRY_USAGE,),
        "report_granularity_min_s": 1.0,
        "report_lateness_s": 1.0,
    }
    return VenSettings(**(values | more))


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return once ``condition`` holds; fail after ``seconds``."""
    async with CLOCK.timeout(seconds):
        while not condition():
            await CLOCK.sleep(0.02)


class DecidingSink:
    """``EventSink`` that opts in and remembers."""

    def __init__(self, opt: OptType = OptType.OPT_IN) -> None:
        self.opt = opt
        self.accepted: list[GridEvent] = []

    async def accept(self, event: GridEvent) -> Decision:
        self.accepted.append(event)
        return Decision(opt=self.opt, reason="test", decided_at=CLOCK.now(), committed_kw=1.0)


class SteadySource:
    """``ReportSource`` of constant power, other power from some instant on, and intervals that are not there."""

    def __init__(self, kw: Mapping[str, float]) -> None:
        self._kw = dict(kw)
        self.from_then_on: dict[str, tuple[datetime, float]] = {}
        self.pending: set[tuple[str, datetime]] = set()
        self.missing: set[tuple[str, datetime]] = set()

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | Missing | None]:
        return {resource_id: self._reading(resource_id, interval) for resource_id in resource_ids}

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        return {one: ResourceState(online=True, kw=self._kw[one]) for one in resource_ids if one in self._kw}

    def _reading(self, resource_id: str, interval: Interval) -> Reading | Missing | None:
        if resource_id not in self._kw or (resource_id, interval.start) in self.pending:
            return None
        if (resource_id, interval.start) in self.missing:
            return Missing()
        changed_at, kw = self.from_then_on.get(resource_id, (interval.end, 0.0))
        return Reading(kw=kw if interval.start >= changed_at else self._kw[resource_id])


class RecordingObserver(Unobserved):
    """``VenObserver`` that remembers."""

    def __init__(self) -> None:
        self.registrations: list[str] = []
        self.polls: list[datetime] = []
        self.failures: list[str] = []
        self.alarms: list[str] = []
        self.told: list[tuple[InForce, ...]] = []
        self.opts: list[tuple[str, int, OptType]] = []
        self.reports: list[tuple[Interval, tuple[str, ...]]] = []

    async def registered(self, *, enrolment_id: str, ven_id: str, vtn_id: str, at: datetime) -> None:
        self.registrations.append(ven_id)

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        self.polls.append(at)

    async def failed(self, *, enrolment_id: str, why: str, at: datetime) -> None:
        self.failures.append(why)

    async def alarmed(self, *, enrolment_id: str, what: str, at: datetime) -> None:
        self.alarms.append(what)

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        self.told.append(tuple(events))

    async def opt_sent(
        self, *, enrolment_id: str, event_id: str, modification_number: int, opt: OptType, at: datetime
    ) -> None:
        self.opts.append((event_id, modification_number, opt))

    async def report_acknowledged(
        self, *, enrolment_id: str, interval: Interval, resource_ids: Sequence[str], at: datetime
    ) -> None:
        self.reports.append((interval, tuple(resource_ids)))
