"""What the VEN gateway asks of its host: someone to decide on events, readings for reports, someone to watch.

The aggregator implements all three; ``negawatt ven run`` has JSON-lines ones of its own. Nothing of OpenADR crosses
here: events and decisions are ``grid.events``, readings are kW per resource.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval
from ven.timeline import InForce


class Quality(StrEnum):
    """How far a reading can be trusted; becomes oadrDataQuality."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    """Measured, but flagged: a skewed clock, a meter that reported a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The mean power of one resource over one interval."""

    kw: float
    """Import is positive. Finite: what was not measured is None, not NaN."""
    quality: Quality = Quality.GOOD

    def __post_init__(self) -> None:
        if not math.isfinite(self.kw):
            raise ValueError(f"{self.kw} kW is no reading: a missing reading is None")


@dataclass(frozen=True, slots=True)
class Missing:
    """In the place of a reading: this interval's data can never become complete, so nobody need wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceState:
    """Whether a resource is there and who controls it, for TELEMETRY_STATUS."""

    online: bool
    manual_override: bool = False
    """Somebody on site took it out of our hands."""
    kw: float | None = None
    """What it draws now."""
    max_kw: float | None = None


class EventSink(Protocol):
    """Decides on events."""

    async def accept(self, event: GridEvent) -> Decision:
        """Decide on ``event``, durably before returning.

        Idempotent on (enrolment_id, event_id, modification_number, whether it is cancelled): the gateway asks again
        after a crash, and the same question has the same answer. A call that takes longer than the enrolment's
        decision timeout is not cancelled: the default opt goes out meanwhile, and this decision follows it when it
        comes.
        """


class ReportSource(Protocol):
    """Knows what the resources measured."""

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | Missing | None]:
        """The reading of every resource over ``interval``, by resource_id.

        None (or no key) is an interval whose data may still become complete; the gateway asks again, for as long as
        the enrolment's report lateness. Missing is one that never will. Neither is ever filled, here or later.
        """

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        """How every resource is now; one that nothing is known of is left out."""


class VenObserver(Protocol):
    """Is told what passed between the VENs and their VTNs, for the console and the audit.

    Every call happens before the gateway marks the step as done in its journal: a crash between the two repeats
    it, so each is told at least once. An exception out of here stops the gateway.
    """

    async def registered(self, *, enrolment_id: str, ven_id: str, vtn_id: str, at: datetime) -> None:
        """The VTN accepted a registration (not told again when a restart resumes it)."""

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        """The VTN answered a poll."""

    async def failed(self, *, enrolment_id: str, why: str, at: datetime) -> None:
        """The VTN cannot be reached or refuses us; ``why`` says what to do. Told once per distinct reason."""

    async def alarmed(self, *, enrolment_id: str, what: str, at: datetime) -> None:
        """Something happened that a person should look at, e.g. an event that vanished from the VTN's list."""

    async def opt_sent(
        self, *, enrolment_id: str, event_id: str, modification_number: int, opt: OptType, at: datetime
    ) -> None:
        """The VTN acknowledged an oadrCreatedEvent."""

    async def report_acknowledged(
        self, *, enrolment_id: str, interval: Interval, resource_ids: Sequence[str], at: datetime
    ) -> None:
        """The VTN acknowledged an oadrUpdateReport over ``interval`` with readings of ``resource_ids``."""

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        """From ``at`` on these events count and no others, by the VTN's priorities; told at each change."""


class Unobserved:
    """``VenObserver`` for when nobody watches; others override what they want to hear."""

    async def registered(self, *, enrolment_id: str, ven_id: str, vtn_id: str, at: datetime) -> None:
        """Nothing."""

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        """Nothing."""

    async def failed(self, *, enrolment_id: str, why: str, at: datetime) -> None:
        """Nothing."""

    async def alarmed(self, *, enrolment_id: str, what: str, at: datetime) -> None:
        """Nothing."""

    async def opt_sent(
        self, *, enrolment_id: str, event_id: str, modification_number: int, opt: OptType, at: datetime
    ) -> None:
        """Nothing."""

    async def report_acknowledged(
        self, *, enrolment_id: str, interval: Interval, resource_ids: Sequence[str], at: datetime
    ) -> None:
        """Nothing."""

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        """Nothing."""
