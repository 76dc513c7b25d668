"""The VEN's host in the campaign: everything it says follows from the question, so that every life says the same."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from grid.events import GRID_EVENT, Decision, EventStatus, GridEvent, OptType
from grid.intervals import Interval
from tests.campaigns.ven_crash.evidence import Evidence
from ven.ports import Missing, Reading, ResourceState, Unobserved
from ven.timeline import InForce

RESOURCES = {"site-1-kw": "site-1", "site-2-kw": "site-2"}
"""Resource by rID."""
OPTED_OUT = "out-"
"""How the eventIDs begin that are opted out of."""
IN_FORCE = TypeAdapter(tuple[InForce, ...])


def opt_of(event_id: str, *, cancelled: bool) -> OptType:
    """The sink's decision."""
    return OptType.OPT_OUT if event_id.startswith(OPTED_OUT) and not cancelled else OptType.OPT_IN


def kw(resource_id: str, start: datetime) -> float | None:
    """What was measured in the second from ``start``; None where nothing ever is."""
    dice = zlib.crc32(f"{resource_id} {start:%Y%m%dT%H%M%S}".encode())
    return None if dice % 17 == 0 else float(dice % 1000) / 8.0


class Sink:
    """``EventSink``."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    async def accept(self, event: GridEvent) -> Decision:
        self._evidence.asked(GRID_EVENT.dump_json(event).decode())
        opt = opt_of(event.event_id, cancelled=event.status is EventStatus.CANCELLED)
        return Decision(opt=opt, reason="campaign", decided_at=event.received_at, committed_kw=1.0)


class Source:
    """``ReportSource``."""

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | Missing | None]:
        return {one: _reading(kw(one, interval.start)) for one in resource_ids}

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        return {one: ResourceState(online=True) for one in resource_ids}


def _reading(value: float | None) -> Reading | Missing:
    return Missing() if value is None else Reading(kw=value)


class Observer(Unobserved):
    """``VenObserver`` that writes down what is in force."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        self._evidence.told(IN_FORCE.dump_json(tuple(events)).decode())
