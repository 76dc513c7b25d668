"""What the utility's book holds, entry by entry; ``journal.py`` keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from grid.events import EventStatus, OptType
from ven.wire.event import WireEvent
from ven.wire.opt import CreateOpt
from ven.wire.report import ReportRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class VenRecord:
    """One VEN that registered, now or once."""

    ven_id: str
    ven_name: str
    fingerprint: str | None
    """OpenADR fingerprint of its certificate; None where it came without TLS."""
    registration_id: str | None
    """None once the registration is cancelled."""
    registered_at: datetime
    pull: bool = True
    transport_address: str | None = None
    """Where a push VEN is reached."""
    report_only: bool = False
    reports_created_at: datetime | None = None
    """When its first oadrCreatedReport came: from here on we expect data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMessage:
    """One message for a VEN that was not sent yet, or not answered."""

    seq: int
    ven_id: str
    request_id: str
    content: bytes | None
    """What ``encode`` made; None is an oadrDistributeEvent of all events, made when it is sent."""
    sent_at: datetime | None
    """Set while an answer is awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledEvent:
    """One event we called."""

    ven_id: str
    event: WireEvent
    """As it was last modified; its status is told by the clock when it is sent."""
    cancelled_at: datetime | None = None
    vanished: bool = False
    """Left out of every oadrDistributeEvent without a cancel (implied cancel)."""
    ramp_s: float = 0.0
    """The first part of the active period, in which nothing is owed yet."""
    release_s: float
    """How long after the active period reports are expected."""
    granularity_s: int
    requested_kw: float
    """Reduction, positive; 0 where the event does not say kW."""

    @property
    def end(self) -> datetime | None:
        """End of the active period; None while the event is open."""
        seconds = self.event.duration_s
        return self.event.start + timedelta(seconds=seconds) if seconds else None

    def status(self, now: datetime) -> EventStatus:
        """eventStatus at ``now``."""
        if self.cancelled_at is not None:
            return EventStatus.CANCELLED
        start, end = self.event.start, self.end
        if end is not None and now >= end:
            return EventStatus.COMPLETED
        if now >= start:
            return EventStatus.ACTIVE
        near_from = start - timedelta(seconds=self.event.ramp_up_s or 0.0)
        return EventStatus.NEAR if now >= near_from else EventStatus.FAR


@dataclass(frozen=True, slots=True, kw_only=True)
class OptRecord:
    """One answer to an event; an identical one that follows it only counts as a repeat."""

    ven_id: str
    opt: OptType
    modification_number: int
    at: datetime
    repeats: int = 0
    code: int = 200
    """responseCode of the answer."""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptSchedule:
    """One oadrCreateOpt."""

    message: CreateOpt
    received_at: datetime
    cancelled_at: datetime | None = None


class RequestState(StrEnum):
    """Where a report request stands."""

    ASKED = "asked"
    PENDING = "pending"
    """The VEN said so in oadrCreatedReport."""
    CANCELLING = "cancelling"
    """An oadrCancelReport is on its way."""
    CANCELLING_WITH_UPDATE = "cancelling with update"
    """An oadrCancelReport rides in every oadrUpdatedReport until the VEN confirms it."""
    ENDED = "ended"
    """Cancelled and confirmed, or superseded by a new report registration. Late data is still taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One report request we made."""

    ven_id: str
    request: ReportRequest
    state: RequestState
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInterval:
    """One reported value, kept by (reportRequestID, rID, dtstart)."""

    ven_id: str
    report_request_id: str
    rid: str
    start: datetime
    duration_s: float | None
    value: str
    """As JSON: a number, a resource status, or a Green Button feed."""
    kw: float | None
    """Mean power where the rID is power or energy."""
    quality: str | None
    received_at: datetime
    duplicates: int = 0
    """How often it came again with the same value."""
    conflicts: int = 0
    """How often it came again with another value, which was not taken."""
