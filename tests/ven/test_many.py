"""Many VENs in one process: sites by utilities, each with its own session, none in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grid.clock import VirtualClock
from grid.errors import ConfigError
from grid.events import OptType
from grid.intervals import Interval
from tests.ven.world import START, Decider, MemoryTransport, Meters, Watcher, dispatch, settings
from ven.config import VenSettings
from ven.service import VenGateway
from ven.simulation.bodies import EventCall
from ven.simulation.calling import explicit
from ven.simulation.config import VtnSettings
from ven.simulation.vtn import UtilityVtn
from ven.wire.party import Poll


@dataclass
class Fleet:
    """Every site at every utility, and one clock."""

    folder: Path
    sites: int
    utilities: int
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(START))

    def __post_init__(self) -> None:
        values = {"tls": False, "xml_signature": False, "poll_interval_s": 10}
        self.vtns = [
            UtilityVtn(VtnSettings.model_validate({"vtn_id": f"utility-{u}", **values}), self.clock)
            for u in range(self.utilities)
        ]
        self.transports = {
            f"site-{s}-at-{u}": MemoryTransport(self.vtns[u], f"AA:{s}")
            for s in range(self.sites)
            for u in range(self.utilities)
        }
        self.sink, self.watcher = Decider(self.clock), Watcher()
        vens = [settings(self.folder, name) for name in self.transports]
        meters = Meters({"site-1": 1.0, "site-2": 1.0})
        path = self.folder / "fleet.sqlite"
        self.gateway = VenGateway(vens, path, self.sink, meters, self.watcher, self.clock, connect=self._connect)

    async def _connect(self, ven: VenSettings) -> MemoryTransport:
        return self.transports[ven.enrolment_id]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.gateway.run())
        try:
            for _ in range(40):
                await self.clock.advance(0.25)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for vtn in self.vtns:
                vtn.close()

    def states(self) -> dict[str, str]:
        return {one.enrolment_id: one.state for one in self.gateway.status()}

    def call(self, name: str, event_id: str) -> None:
        vtn = self.vtns[int(name[-1])]
        body = {
            "ven_name": name,
            "event_id": event_id,
            "market_context": "urn:programme:test",
            "duration_s": 600,
            "lead_s": 600,
            "signals": [dispatch(600.0, -10.0)],
        }
        call = EventCall.model_validate(body)
        with vtn.journal.transaction():
            vtn.events.call(explicit(call, vtn.registrations.named(name), vtn.settings, self.clock.now()))

    def answers(self, name: str, event_id: str) -> list[str]:
        return [one.opt.value for one in self.vtns[int(name[-1])].events.answers(event_id)]


async def test_each_ven_serves_its_own_vtn_alone(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, sites=3, utilities=2)
    async with fleet.running():
        assert set(fleet.states().values()) == {"serving"}
        assert all(len(vtn.journal.vens()) == 3 for vtn in fleet.vtns)
        one, other = "site-0-at-0", "site-0-at-1"
        fleet.transports[other].down = True
        fleet.sink.slow["slow"] = 1e6
        fleet.call("site-1-at-0", "slow")
        fleet.call(one, "same-id")
        fleet.call("site-2-at-1", "same-id")
        await fleet.clock.advance(30)
        assert fleet.states()[other] == "outage"
        assert [name for name, state in fleet.states().items() if state != "serving"] == [other]
        assert fleet.answers(one, "same-id") == fleet.answers("site-2-at-1", "same-id") == ["optIn"]
        assert fleet.answers("site-1-at-0", "slow") == ["optOut"]
        enrolments = {event.enrolment_id for event in fleet.sink.accepted if event.event_id == "same-id"}
        assert enrolments == {one, "site-2-at-1"}
        fleet.gateway.opt(one, OptType.OPT_OUT, (Interval.lasting(START, 3600),))
        assert [len(fleet.gateway.opts(name)) for name in fleet.transports] == [1, 0, 0, 0, 0, 0]


async def test_a_fleet_polls_each_at_its_rate(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, sites=5, utilities=2)
    async with fleet.running():
        before = {name: len(one.named(Poll)) for name, one in fleet.transports.items()}
        await fleet.clock.advance(100)
        assert {name: len(one.named(Poll)) - before[name] for name, one in fleet.transports.items()} == dict.fromkeys(
            fleet.transports, 10
        )


def test_two_vens_of_one_enrolment_are_refused(tmp_path: Path) -> None:
    twice = [settings(tmp_path), settings(tmp_path)]
    clock = VirtualClock(START)
    with pytest.raises(ConfigError, match="same enrolment_id"):
        VenGateway(twice, tmp_path / "v.sqlite", Decider(clock), Meters({}), Watcher(), clock)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"resources": ()}, "at least 1"),
        (
            {"resources": ({"resource_id": "a", "rid": "x"}, {"resource_id": "b", "rid": "x"})},
            "every rid",
        ),
        ({"resources": ({"resource_id": "a", "rid": "x"}, {"resource_id": "a", "rid": "y"})}, "every resource_id"),
        (
            {"resources": ({"resource_id": "a", "rid": "x", "energy": True}, {"resource_id": "b", "rid": "x-energy"})},
            "x-energy is the rID of",
        ),
        ({"report_granularity_min_s": 60, "report_granularity_max_s": 10}, "is above"),
        ({"vtn_url": "http://vtn.test/"}, "must be an https URL"),
        ({"push": {"url": "http://ven.test/", "port": 0}}, "must be an https URL"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        settings(tmp_path, **change)
