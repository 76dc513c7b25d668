"""What the journal keeps, as values: registrations, events with their decisions, answers and report data owed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What the VTN gave us."""

    enrolment_id: str
    vtn_id: str
    ven_id: str
    registration_id: str
    poll_interval_s: float
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalledEvent:
    """The newest modification of an event."""

    event: GridEvent
    decision: Decision | None
    provisional: bool
    """The decision is the default opt; the sink has yet to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An oadrCreatedEvent, owed until the VTN acknowledges or refuses it."""

    seq: int
    event_id: str
    modification_number: int
    request_id: str
    opt: OptType
    code: int
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """A report request and how far it has been served."""

    report_request_id: str
    message_id: str
    """requestID of the message that carried it, echoed in oadrCreatedReport."""
    specifier_id: str
    rids: tuple[str, ...]
    granularity_s: int
    back_duration_s: int
    """A whole multiple of the granularity."""
    next_start: datetime
    """Everything before has been journalled as an update or is missing for good."""
    until: datetime | None
    refusal: str | None = None
    """Why it will not be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedUpdate:
    """Report data the VTN has not acknowledged."""

    seq: int
    report_request_id: str
    interval: Interval
    resource_ids: tuple[str, ...]
    payload: bytes
    """The unsigned message."""
