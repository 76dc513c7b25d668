"""The OpenADR 2.0b messages a pull VEN sends and receives, as typed values.

Names are the standard's without its prefix (oadrCreatedEvent is ``CreatedEvent``); identifiers are strings, times
aware UTC, durations seconds. What a message does not need today is left out: fields are added when they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from grid.events import EventStatus, OptType
from ven.ports import Quality

OK = 200
OUT_OF_SEQUENCE = 450
INVALID_ID = 452
NOT_RECOGNIZED = 453
INVALID_DATA = 454
SIGNAL_NOT_SUPPORTED = 460
REPORT_NOT_SUPPORTED = 461
TARGET_MISMATCH = 462
NOT_REGISTERED = 463

TELEMETRY_USAGE = "TELEMETRY_USAGE"


class Service(StrEnum):
    """The last part of an endpoint's path."""

    REGISTER_PARTY = "EiRegisterParty"
    REPORT = "EiReport"
    EVENT = "EiEvent"
    POLL = "OadrPoll"


@dataclass(frozen=True, slots=True, kw_only=True)
class EiResponse:
    """eiResponse: how a message fared."""

    code: int
    description: str = ""
    request_id: str = ""


# --- VEN to VTN ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartyRegistration:
    """Register; with the known identifiers, register again."""

    request_id: str
    ven_name: str
    ven_id: str | None = None
    registration_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """Anything for us?"""

    ven_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent:
    """Every event that concerns us, again."""

    request_id: str
    ven_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedEvent:
    """The answer to one event. ``request_id`` is that of the oadrDistributeEvent which carried it."""

    ven_id: str
    request_id: str
    event_id: str
    modification_number: int
    opt: OptType
    code: int = OK
    description: str = "OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerChannel:
    """Mean real power of one resource that we can report. Unit: kW."""

    rid: str
    resource_id: str
    min_period_s: int
    max_period_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterReport:
    """METADATA_TELEMETRY_USAGE: what we can report."""

    request_id: str
    ven_id: str
    specifier_id: str
    created_at: datetime
    channels: tuple[PowerChannel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedReport:
    """The answer to report requests: which requests are pending now."""

    ven_id: str
    response: EiResponse
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledReport:
    """The answer to a cancelled report request: which requests are pending now."""

    ven_id: str
    response: EiResponse
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPoint:
    """The mean power of one channel over one interval."""

    rid: str
    start: datetime
    duration_s: int
    kw: float
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """TELEMETRY_USAGE data of one report request."""

    request_id: str
    ven_id: str
    report_id: str
    report_request_id: str
    specifier_id: str
    created_at: datetime
    points: tuple[ReportPoint, ...]
    """At least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """oadrResponse, either way: nothing more to say than how it fared."""

    ven_id: str
    response: EiResponse


Outgoing = (
    CreatePartyRegistration
    | Poll
    | RequestEvent
    | CreatedEvent
    | RegisterReport
    | CreatedReport
    | CanceledReport
    | UpdateReport
    | Response
)

# --- VTN to VEN ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedPartyRegistration:
    """The VTN's answer to a registration; without a registration_id it did not register us."""

    response: EiResponse
    vtn_id: str
    ven_id: str | None
    registration_id: str | None
    poll_interval_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReregistration:
    """The VTN wants a new registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The unit of a signal's values."""

    name: str
    """Element name, e.g. powerReal."""
    units: str
    si_scale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WireInterval:
    """One interval of a signal, in order; the start follows from the intervals before it."""

    duration_s: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSignal:
    """One eiEventSignal."""

    signal_id: str
    name: str
    type: str
    measure: Measure | None
    intervals: tuple[WireInterval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEvent:
    """One oadrEvent that could be read. ``duration_s`` 0 is open-ended."""

    event_id: str
    modification_number: int
    status: EventStatus
    created_at: datetime
    market_context: str
    priority: int
    test_event: bool
    start: datetime
    duration_s: float
    signals: tuple[WireSignal, ...]
    ven_ids: tuple[str, ...]
    resource_ids: tuple[str, ...]
    other_targets: bool
    """Whether targets of kinds we do not know are named (groups, parties, assets)."""
    response_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableEvent:
    """One oadrEvent whose content makes no sense; the others of its message are not touched."""

    event_id: str
    modification_number: int
    reason: str
    response_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributeEvent:
    """Events from the VTN."""

    request_id: str
    vtn_id: str
    events: tuple[WireEvent | UnreadableEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """The VTN wants data of a registered report, every ``back_duration_s``, in steps of ``granularity_s``."""

    report_request_id: str
    specifier_id: str
    rids: tuple[str, ...]
    granularity_s: float
    back_duration_s: float
    start: datetime | None
    duration_s: float | None
    """None: until cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredReport:
    """Our report offer is known; the VTN may ask for data at once."""

    response: EiResponse
    requests: tuple[ReportRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReport:
    """The VTN asks for data."""

    request_id: str
    requests: tuple[ReportRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReport:
    """The VTN wants no more data for these requests."""

    request_id: str
    report_request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedReport:
    """Our data arrived; a cancel may ride along."""

    response: EiResponse
    cancel: CancelReport | None


Incoming = (
    Response
    | CreatedPartyRegistration
    | RequestReregistration
    | DistributeEvent
    | RegisteredReport
    | CreateReport
    | CancelReport
    | UpdatedReport
)
