"""The protocol-neutral grid event and the answer to it.

OpenADR, a file, an API call or a person typing a phone call all become one ``GridEvent``; nothing after the VEN
knows which it was. Power is in kW already; times are UTC; ``duration_s`` None is an event open until cancelled
(OpenADR 2.0b rule 47). Identity is (enrolment_id, event_id); a higher modification_number replaces a lower one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import TypeAdapter

from grid.intervals import Interval


class EventStatus(StrEnum):
    """eventStatus of OpenADR 2.0b, ``none`` left out."""

    FAR = "far"
    NEAR = "near"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class OptType(StrEnum):
    """optType of OpenADR 2.0b."""

    OPT_IN = "optIn"
    OPT_OUT = "optOut"


class SignalUnit(StrEnum):
    """What a signal's values mean once scale codes are gone."""

    KW = "kW"
    KWH = "kWh"
    LEVEL = "level"
    """A number whose meaning is programme data: SIMPLE 0-3, LOAD_DISPATCH levels."""
    MULTIPLIER = "multiplier"
    """A share of the baseline, of a capacity or of a price."""
    PERCENT = "percent"
    PRICE_PER_KWH = "price_per_kwh"
    PRICE_PER_KW = "price_per_kw"
    DEVICE = "device"
    """Units of the controlled device (LOAD_CONTROL set-points)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalInterval:
    """One value of a signal."""

    start: datetime
    duration_s: float | None
    """None in the last interval of an open-ended event."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSignal:
    """One eiEventSignal."""

    signal_id: str
    name: str
    """signalName, e.g. LOAD_DISPATCH."""
    type: str
    """signalType, e.g. delta, setpoint, level."""
    unit: SignalUnit
    intervals: tuple[SignalInterval, ...]
    currency: str | None = None
    """ISO 4217 code, of prices."""
    resource_ids: tuple[str, ...] = ()
    """Resources the signal's own target names; empty means all of the event's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEvent:
    """A request from the grid to one enrolment."""

    enrolment_id: str
    event_id: str
    modification_number: int
    status: EventStatus
    source: str
    """Where it came from: openadr, file, api, phone."""
    received_at: datetime
    created_at: datetime
    start: datetime
    duration_s: float | None
    signals: tuple[EventSignal, ...]
    market_context: str
    priority: int = 0
    """1 is the highest, 0 is none."""
    test_event: bool = False
    response_required: bool = True
    resource_ids: tuple[str, ...] = ()
    """Resources the targets name; empty means all of the enrolment."""
    raw_ref: str | None = field(default=None)
    """Where the message as received is archived."""
    start_offset_s: float = 0.0
    """How much of ``start`` is our own random delay within the startafter tolerance (rules 30 and 65)."""
    startafter_s: float = 0.0
    """The tolerance itself."""
    cancel_at: datetime | None = None
    """Of a cancelled event: when it ends, within the startafter tolerance from when we heard."""
    notification_s: float | None = None
    """x-eiNotification; this and the next two as the utility sent them, for programmes that give them a meaning."""
    ramp_up_s: float | None = None
    recovery_s: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.enrolment_id, self.event_id)

    @property
    def active_period(self) -> Interval | None:
        """The active period, or None while it is open-ended."""
        if self.duration_s is None:
            return None
        return Interval(start=self.start, end=self.start + timedelta(seconds=self.duration_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What we answer to a GridEvent, and why."""

    opt: OptType
    reason: str
    decided_at: datetime
    committed_kw: float | None = None
    """kW of reduction owed over the hold; None when opted out."""


GRID_EVENT = TypeAdapter(GridEvent)
"""JSON in and out of a GridEvent, for journals and stores."""

DECISION = TypeAdapter(Decision)
"""JSON in and out of a Decision."""
