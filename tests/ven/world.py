"""Our VEN gateway and our VTN in one process and in virtual time: bytes pass between them over memory, not sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grid.clock import VirtualClock
from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval
from ven.config import VenSettings
from ven.errors import VtnError, VtnUnreachableError
from ven.journal import VenJournal
from ven.ports import Quality, Reading, ResourceState, Unobserved
from ven.service import VenGateway
from ven.simulation.bodies import EventCall, EventChange
from ven.simulation.calling import changed, explicit
from ven.simulation.config import VtnSettings
from ven.simulation.faults import Fault, FaultError, FaultKind
from ven.simulation.records import VenRecord
from ven.simulation.vtn import UtilityVtn
from ven.status import VenStatus
from ven.timeline import InForce
from ven.wire.payload import Message, Service, decode, encode
from ven.wire.signature import unsigned

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


class MemoryTransport:
    """``ven.transport.Transport`` straight into a VTN; ``down`` is an outage."""

    def __init__(self, vtn: UtilityVtn, fingerprint: str | None) -> None:
        self.vtn = vtn
        self._fingerprint = fingerprint
        self.down = False
        self.tamper: Callable[[bytes], bytes] = bytes
        """What becomes of the VTN's answers on their way."""
        self.sent: list[tuple[datetime, Message]] = []
        """What the VEN sent, with when."""

    def named(self, kind: type[Any]) -> list[Any]:
        """What the VEN sent of one type."""
        return [message for _, message in self.sent if isinstance(message, kind)]

    async def post(self, service: Service, content: bytes) -> bytes:
        if self.down:
            raise VtnUnreachableError("no VTN here")
        message = decode(content)
        self.sent.append((self.vtn.clock.now(), message))
        try:
            answer = await self.vtn.handle(service, message, self._fingerprint)
        except FaultError as fault:
            if fault.kind in (FaultKind.SERVER_ERROR, FaultKind.REFUSE):
                raise VtnError(503 if fault.kind is FaultKind.SERVER_ERROR else 403, "on purpose") from fault
            if fault.kind is FaultKind.EMPTY:
                return b""
            raise VtnUnreachableError("the reply was lost") from fault
        return b"" if answer is None else self.tamper(unsigned(encode(answer)))


class Decider:
    """``EventSink`` that remembers; ``slow`` and ``failing`` are event IDs."""

    def __init__(self, clock: VirtualClock, opt: OptType = OptType.OPT_IN) -> None:
        self._clock = clock
        self.opt = opt
        self.accepted: list[GridEvent] = []
        self.accepted_at: list[datetime] = []
        self.slow: dict[str, float] = {}
        self.failing: set[str] = set()

    async def accept(self, event: GridEvent) -> Decision:
        self.accepted.append(event)
        self.accepted_at.append(self._clock.now())
        if event.event_id in self.slow:
            await self._clock.sleep(self.slow[event.event_id])
        if event.event_id in self.failing:
            raise RuntimeError("on purpose")
        return Decision(opt=self.opt, reason="test", decided_at=self._clock.now(), committed_kw=1.0)


class Meters:
    """``ReportSource`` of constant power per resource; what is in ``missing`` was not measured."""

    def __init__(self, kw: Mapping[str, float]) -> None:
        self.kw = dict(kw)
        self.missing: set[tuple[str, datetime]] = set()
        self.uncertain: set[tuple[str, datetime]] = set()
        self.reads = 0

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | None]:
        self.reads += 1
        return {one: self._reading(one, interval.start) for one in resource_ids}

    def _reading(self, resource_id: str, start: datetime) -> Reading | None:
        if (resource_id, start) in self.missing:
            return None
        quality = Quality.UNCERTAIN if (resource_id, start) in self.uncertain else Quality.GOOD
        return Reading(kw=self.kw[resource_id], quality=quality)

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        return {one: ResourceState(online=True, kw=self.kw[one]) for one in resource_ids}


@dataclass
class Watcher(Unobserved):
    """``VenObserver`` that remembers."""

    alarms: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    told: list[tuple[datetime, tuple[InForce, ...]]] = field(default_factory=list)

    async def alarmed(self, *, enrolment_id: str, what: str, at: datetime) -> None:
        self.alarms.append(what)

    async def failed(self, *, enrolment_id: str, why: str, at: datetime) -> None:
        self.failures.append(why)

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        self.told.append((at, tuple(events)))


def settings(folder: Path, name: str = "ven-a", **more: Any) -> VenSettings:
    """A VEN with two resources, unsigned: certificates are another test's subject."""
    values: dict[str, Any] = {
        "enrolment_id": name,
        "ven_name": name,
        "vtn_url": "https://vtn.test/OpenADR2/Simple/2.0b",
        "certificate": folder / "none.pem",
        "key_file": folder / "none.key",
        "vtn_roots": folder / "none-roots.pem",
        "xml_signature": False,
        "resources": ({"resource_id": "site-1", "rid": "site-1-kw"}, {"resource_id": "site-2", "rid": "site-2-kw"}),
        "reports": ("TELEMETRY_USAGE",),
    }
    return VenSettings.model_validate(values | more)


def dispatch(*intervals: float) -> dict[str, Any]:
    """A LOAD_DISPATCH delta as POST /events takes it: seconds and kW in turn."""
    points = zip(intervals[::2], intervals[1::2], strict=True)
    return {
        "name": "LOAD_DISPATCH",
        "type": "delta",
        "unit": {"name": "powerReal", "units": "W", "si_scale": "k"},
        "intervals": [{"duration_s": lasting_s, "value": kw} for lasting_s, kw in points],
    }


class World:
    """One VEN, one VTN, one clock."""

    def __init__(self, folder: Path, vtn_settings: Mapping[str, Any], ven_settings: Mapping[str, Any]) -> None:
        self.clock = VirtualClock(START)
        values = {"vtn_id": "utility", "tls": False, "xml_signature": False, "poll_interval_s": 10, **vtn_settings}
        self.vtn = UtilityVtn(VtnSettings.model_validate(values), self.clock)
        self.settings = settings(folder, **ven_settings)
        self.transport = MemoryTransport(self.vtn, "AA:BB")
        self.sink = Decider(self.clock)
        self.meters = Meters(dict.fromkeys(self.settings.resource_ids, 100.0))
        self.watcher = Watcher()
        self.journal_path = folder / "ven.sqlite"
        self.gateway = self.gateway_on(self.journal_path)
        self._running: asyncio.Task[None] | None = None

    def gateway_on(self, journal: Path | VenJournal) -> VenGateway:
        """Our VEN on a journal that may be open already."""

        async def connect(_: VenSettings) -> MemoryTransport:
            return self.transport

        return VenGateway([self.settings], journal, self.sink, self.meters, self.watcher, self.clock, connect=connect)

    @property
    def ven_id(self) -> str:
        (ven,) = self.vtn.journal.vens()
        return ven.ven_id

    @property
    def ven(self) -> VenRecord:
        """Our VEN, as the VTN knows it."""
        return self.vtn.registrations.named(self.settings.ven_name)

    def call(self, event_id: str = "event-1", *, duration_s: float = 600.0, kw: float = -30.0, **more: Any) -> None:
        """The operator calls an event of one LOAD_DISPATCH delta; ``more`` is what POST /events takes."""
        body = {
            "ven_name": self.settings.ven_name,
            "event_id": event_id,
            "market_context": "urn:programme:test",
            "duration_s": duration_s,
            "lead_s": 60,
            "signals": [dispatch(duration_s, kw)],
            **more,
        }
        call = EventCall.model_validate(body)
        with self.operator():
            self.vtn.events.call(explicit(call, self.ven, self.vtn.settings, self.clock.now()))

    def modify(self, event_id: str = "event-1", **change: Any) -> None:
        """The operator changes an event; ``change`` is what PATCH /events/ID takes."""
        wanted = EventChange.model_validate(change)
        with self.operator():
            self.vtn.events.modify(event_id, lambda event: changed(event, wanted))

    def cancel(self, event_id: str = "event-1") -> None:
        """The operator cancels an event."""
        with self.operator():
            self.vtn.events.cancel(event_id)

    def operator(self) -> AbstractContextManager[object]:
        """What the operator does is one transaction."""
        return self.vtn.journal.transaction()

    def fault(self, kind: FaultKind, service: Service | None = None, times: int | None = None, **more: Any) -> None:
        """Make something go wrong from now on."""
        self.vtn.faults.set(Fault(fault_id=kind.value, kind=kind, left=times, service=service, **more))

    def answers(self, event_id: str = "event-1") -> list[tuple[int, str, int]]:
        """What the VTN was answered: modification, opt, code."""
        return [(one.modification_number, one.opt.value, one.code) for one in self.vtn.events.answers(event_id)]

    @property
    def status(self) -> VenStatus:
        """How our VEN fares."""
        (status,) = self.gateway.status()
        return status

    def forget(self) -> None:
        """The VTN loses its memory: another takes its place."""
        self.vtn.close()
        self.vtn = UtilityVtn(self.vtn.settings, self.clock)
        self.transport.vtn = self.vtn

    async def start(self) -> None:
        self._running = asyncio.create_task(self.gateway.run())
        await self.clock.advance(0.0)

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def restart(self) -> None:
        """The process dies and another takes its place."""
        await self.stop()
        self.gateway = self.gateway_on(self.journal_path)
        await self.start()

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let virtual time pass until ``condition`` holds."""
        for _ in range(round(seconds * 4)):
            if condition():
                return
            await self.clock.advance(0.25)
        raise AssertionError(f"not within {seconds} s: {self.watcher.failures}")


@asynccontextmanager
async def world(folder: Path, *, vtn: Mapping[str, Any] | None = None, **ven: Any) -> AsyncIterator[World]:
    """A world whose VEN runs."""
    made = World(folder, vtn or {}, ven)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        made.vtn.close()
