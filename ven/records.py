"""What the journal keeps, as values: registrations, events and decisions, opts, report requests, what is owed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

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
    cancelled_at: datetime | None = None
    """When the VTN, or we, cancelled it; it is kept so that nobody registers again unasked."""
    asked_anew: bool = False
    """The VTN asked for a new registration, and this one is used no more but to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalledEvent:
    """The newest modification of an event."""

    event: GridEvent
    request_id: str
    """requestID of the message that carried it last."""
    decision: Decision | None
    provisional: bool
    """The decision is the default opt; the sink has yet to say."""
    answered: OptType | None
    """The opt the VTN acknowledged last."""
    completed: bool
    """The VTN called it completed: it may be gone from its list without having been cancelled."""


class Lane(StrEnum):
    """Messages of one lane are independent of those of the other."""

    ANSWERS = "answers"
    """Answers to events and to other messages of the VTN, opts: by subject, side by side."""
    DATA = "data"
    """Report data: one after the other, oldest first."""


class Kind(StrEnum):
    """What an owed message does, once acknowledged."""

    EVENT_ANSWER = "event_answer"
    REPLY = "reply"
    CREATE_OPT = "create_opt"
    CANCEL_OPT = "cancel_opt"
    METADATA = "metadata"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A message the VTN has not acknowledged: the exact bytes, but for the signature around them."""

    seq: int
    kind: Kind
    subject: str
    """What it is about; of several of one lane and subject the newest counts, save data."""
    payload: bytes
    facts: dict[str, object]
    """What is needed once it is acknowledged."""


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
    """A whole multiple of the granularity; 0: one report and no more."""
    next_start: datetime
    """Everything before has been journalled as data or is missing for good."""
    until: datetime | None
    refusal: str | None = None
    """Why it will not be served."""

    def period(self) -> Interval | None:
        """What the next report covers; None when it has come to its end."""
        if self.until is not None and self.next_start >= self.until:
            return None
        if self.back_duration_s == 0:
            return None if self.until is None else Interval(start=self.next_start, end=self.until)
        following = Interval.lasting(self.next_start, self.back_duration_s)
        if self.until is not None and self.until < following.end:
            return Interval(start=following.start, end=self.until)
        return following


class OptState(StrEnum):
    """Where an opt of ours stands."""

    OWED = "owed"
    """In force for us; the VTN has yet to acknowledge it."""
    HELD = "held"
    CANCELLED = "cancelled"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOpt:
    """An opt of ours over stretches of time, or of one event."""

    opt_id: str
    opt: OptType
    reason: str
    """optReason."""
    periods: tuple[Interval, ...]
    resource_ids: tuple[str, ...]
    """Empty: all of the enrolment."""
    event_id: str | None
    state: OptState
    created_at: datetime

    def covers(self, resource_id: str, period: Interval) -> bool:
        """Whether any of its stretches touches ``period`` for the resource."""
        if self.resource_ids and resource_id not in self.resource_ids:
            return False
        return any(stretch.intersection(period) is not None for stretch in self.periods)
