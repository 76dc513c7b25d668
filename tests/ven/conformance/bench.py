"""One VEN of the process that runs, its VTN, and what is seen from outside: messages, the sink's file, admin HTTP."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from grid.events import EventStatus
from tests.ven.conformance.marks import PeerSpec
from tests.ven.conformance.peers import OpenleadrVtn, OurVtn, Peer, ScriptedVtn, serving
from tests.ven.conformance.process import CLOCK, MUTATION, VenEndedError, VenProcess, ven_process
from tests.ven.conftest import free_port
from tests.ven.simulation.conftest import CONTEXT, Domain
from ven.endpoint import PREFIX
from ven.wire.event import CreatedEvent, EventResponse, SignalPoint, WireEvent, WireSignal

T = TypeVar("T")
M = TypeVar("M")

WITHIN_S = 20.0 if MUTATION not in os.environ else 6.0
"""How long anything may take: a few polls on a busy machine. A mutated VEN is alone and mostly fails."""
READY_WITHIN_S = 3 * WITHIN_S


def level(value: float = 1, lasts_s: float = 600, **more: Any) -> dict[str, Any]:
    """A SIMPLE signal of one interval."""
    return {"name": "SIMPLE", "type": "level", "intervals": [{"duration_s": lasts_s, "value": value}], **more}


def body(event_id: str, **more: Any) -> dict[str, Any]:
    """An event far ahead, as POST /events of our VTN takes it."""
    duration_s = more.pop("duration_s", 600)
    usual = {"lead_s": 3600, "market_context": CONTEXT, "signals": [level(lasts_s=duration_s)]}
    return {"event_id": event_id, "duration_s": duration_s, **usual, **more}


def wire_event(event_id: str, *, lead_s: float = 3600.0, value: float = 1.0, **more: Any) -> WireEvent:
    """The same, for the scripted VTN."""
    duration_s = more.get("duration_s", 600.0)
    signal = WireSignal(
        signal_id="signal", name="SIMPLE", type="level", intervals=(SignalPoint(duration_s=duration_s, value=value),)
    )
    event = WireEvent(
        event_id=event_id,
        modification_number=0,
        status=EventStatus.FAR,
        created_at=CLOCK.now(),
        market_context=CONTEXT,
        start=(CLOCK.now() + timedelta(seconds=lead_s)).replace(microsecond=0),
        duration_s=duration_s,
        signals=(signal,),
    )
    return replace(event, **more)


@dataclass(frozen=True)
class Bench:
    """What one test has."""

    name: str
    """Of the VEN, and its enrolment_id."""
    peer: Peer
    ven: VenProcess

    @property
    def ours(self) -> OurVtn:
        assert isinstance(self.peer, OurVtn)
        return self.peer

    @property
    def openleadr(self) -> OpenleadrVtn:
        assert isinstance(self.peer, OpenleadrVtn)
        return self.peer

    @property
    def script(self) -> ScriptedVtn:
        assert isinstance(self.peer, ScriptedVtn)
        return self.peer

    def event_id(self, short: str) -> str:
        """Events of one VTN have different IDs, whatever VEN they are for."""
        return f"{self.name}:{short}"

    async def eventually(self, probe: Callable[[], Awaitable[T | None]], what: str, within_s: float = WITHIN_S) -> T:
        """What ``probe`` finds, once it finds something."""
        deadline_s = CLOCK.monotonic() + within_s
        while True:
            found = await probe()
            if found:
                return found
            assert CLOCK.monotonic() < deadline_s, f"{self.name}: not within {within_s:g} s: {what}"
            await CLOCK.sleep(0.05)

    # --- the VEN's session

    async def ready(self) -> None:
        """The VEN is registered, offered its reports, and polls."""

        async def serving() -> bool:
            status = await self.ven.status(self.name)
            return status["state"] == "serving" and not status["stale"]

        await self.eventually(serving, "the VEN serves", READY_WITHIN_S)

    async def polls(self, count: int = 2) -> None:
        """So many more polls are answered: what was to be said by now has been said."""
        last = (await self.ven.status(self.name))["last_poll"]
        for _ in range(count):

            async def polled(last: str | None = last) -> str | None:
                now: str | None = (await self.ven.status(self.name))["last_poll"]
                return now if now != last else None

            last = await self.eventually(polled, "the VEN polls")

    # --- what it said

    async def sent(self, kind: type[M]) -> list[M]:
        """Its messages of one type, oldest first."""
        return [message for message in await self.peer.heard(self.name) if isinstance(message, kind)]

    async def sends(self, kind: type[M], *, count: int = 1, where: Callable[[M], bool] = lambda _: True) -> list[M]:
        """Its messages of one type, once there are as many."""

        async def enough() -> list[M] | None:
            found = [message for message in await self.sent(kind) if where(message)]
            return found if len(found) >= count else None

        return await self.eventually(enough, f"{count} {kind.__name__}")

    def raw(self) -> list[bytes]:
        """Its messages as they were on the wire; our VTN does not keep them so."""
        assert isinstance(self.peer, ScriptedVtn | OpenleadrVtn)
        return self.peer.raw(self.name)

    async def answers(self, event_id: str) -> list[EventResponse]:
        """To one event, oldest first."""
        found = await self.sent(CreatedEvent)
        return [one for message in found for one in message.responses if one.event_id == event_id]

    async def answer(self, event_id: str, *, modification: int | None = None, count: int = 1) -> EventResponse:
        """The last answer to an event (to one modification of it), once there are as many."""

        async def answered() -> EventResponse | None:
            found = await self.answers(event_id)
            fitting = [one for one in found if modification in (None, one.modification_number)]
            return fitting[-1] if len(fitting) >= count else None

        return await self.eventually(answered, f"an answer to {event_id}")

    # --- what it did

    def decisions(self, event_id: str) -> list[dict[str, Any]]:
        """Events as they were put to the sink, oldest first."""
        lines = [line["event"] for line in self.ven.lines(self.name) if "event" in line]
        return [event for event in lines if event["event_id"] == event_id]

    async def decision(self, event_id: str, **facts: Any) -> dict[str, Any]:
        """The event as it was put to the sink with these facts."""

        async def put() -> dict[str, Any] | None:
            fitting = [
                one for one in self.decisions(event_id) if all(one[name] == value for name, value in facts.items())
            ]
            return fitting[-1] if fitting else None

        return await self.eventually(put, f"{event_id} with {facts} is put to the sink")

    def in_force(self) -> list[dict[str, Any]]:
        """Each change of what is in force: ``at`` and ``in_force``."""
        return [line for line in self.ven.lines(self.name) if "in_force" in line]

    def running(self) -> dict[str, dict[str, Any]]:
        """What is in force now, by event."""
        told = self.in_force()
        return {one["event_id"]: one for one in told[-1]["in_force"]} if told else {}

    async def runs(self, event_id: str) -> dict[str, Any]:
        """The event in force, once it is."""

        async def found() -> dict[str, Any] | None:
            return self.running().get(event_id)

        return await self.eventually(found, f"{event_id} runs")

    async def ends(self, event_id: str) -> datetime:
        """When it was told that the event is in force no more."""

        async def over() -> bool:
            return event_id not in self.running()

        await self.eventually(over, f"{event_id} ends")
        return datetime.fromisoformat(self.in_force()[-1]["at"])

    async def alarms(self) -> float:
        """How many there were."""
        metrics: str = await self.ven.admin.get("/metrics")
        found = re.search(rf'^ven_alarms_total{{enrolment_id="{re.escape(self.name)}"}} (\S+)$', metrics, re.MULTILINE)
        return 0.0 if found is None else float(found[1])


Scenario = Callable[[Bench], Awaitable[None]]

AT_A_TIME = 6
"""Tests that run side by side: each waits for polls of its own VEN most of the time."""


@dataclass(frozen=True)
class Stand:
    """Every bench of a test session, by node ID, and its test, which runs beside others before its turn comes."""

    benches: dict[str, Bench]
    outcomes: dict[str, asyncio.Task[None]]

    @classmethod
    @asynccontextmanager
    async def beginning(cls, benches: dict[str, Bench], scenarios: dict[str, Scenario]) -> AsyncIterator[Stand]:
        """Begin every test; stop those that nobody waited for."""
        turns = asyncio.Semaphore(AT_A_TIME)

        async def play(nodeid: str) -> None:
            async with turns:
                try:
                    await scenarios[nodeid](benches[nodeid])
                except Exception as error:
                    if benches[nodeid].ven.ended():
                        raise VenEndedError("see ven.log") from error
                    raise

        outcomes = {nodeid: asyncio.create_task(play(nodeid)) for nodeid in benches}
        try:
            yield cls(benches, outcomes)
        finally:
            for outcome in outcomes.values():
                outcome.cancel()
            await asyncio.gather(*outcomes.values(), return_exceptions=True)


def _name(item: pytest.Item, place: int) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", item.name.removeprefix("test_").lower()).strip("-")
    return f"v{place}-{words}"[:60].strip("-")


def _settings(name: str, spec: PeerSpec, url: str, domain: Domain, more: dict[str, Any]) -> dict[str, Any]:
    pushed = more.pop("pushed", False)
    identity = domain.both_ways(name) if pushed else domain.ven(name, spec.key_type)
    settings = {
        "enrolment_id": name,
        "ven_name": name,
        "vtn_url": url,
        "certificate": str(identity.certificate),
        "key_file": str(identity.key),
        "vtn_roots": str(identity.roots),
        "xml_signature": spec.signed,
        "default_opt": "optIn",
        "resources": [{"resource_id": "site-1", "rid": "site-1-kw"}, {"resource_id": "site-2", "rid": "site-2-kw"}],
        "report_granularity_min_s": 1,
        "report_lateness_s": 1,
        # openleadr knows no other report than this, and one rID an interval.
        **({"reports": ["TELEMETRY_USAGE"], "report_payloads_apart": True} if spec.kind == "openleadr" else {}),
        **more,
    }
    if pushed:
        port = free_port()
        settings["push"] = {"url": f"https://127.0.0.1:{port}{PREFIX}", "port": port}
    return settings


@asynccontextmanager
async def stand(
    items: Sequence[pytest.Item], scenarios: dict[str, Scenario], domain: Domain, folder: Path
) -> AsyncIterator[Stand]:
    """The VTNs that these tests ask for, and one VEN process with a VEN for each test."""
    wanted: dict[str, tuple[str, PeerSpec, dict[str, Any]]] = {}
    for place, item in enumerate(items):
        marker = item.get_closest_marker("ven")
        if item.nodeid in scenarios and isinstance(item, pytest.Function) and marker is not None:
            spec = cast(PeerSpec, item.callspec.params["peer"])
            wanted[item.nodeid] = (_name(item, place), spec, dict(marker.kwargs["settings"]))
    async with AsyncExitStack() as stack:
        specs = list(dict.fromkeys(spec for _, spec, _ in wanted.values()))
        served = [serving(spec, domain, folder) for spec in specs]
        peers = dict(zip(specs, await asyncio.gather(*map(stack.enter_async_context, served)), strict=True))
        vens = [_settings(name, spec, peers[spec].url, domain, more) for name, spec, more in wanted.values()]
        ven = await stack.enter_async_context(ven_process(folder / "ven", vens))
        benches = {nodeid: Bench(name=name, peer=peers[spec], ven=ven) for nodeid, (name, spec, _) in wanted.items()}
        yield await stack.enter_async_context(Stand.beginning(benches, scenarios))
