"""Messages between our own processes: site agent <-> aggregator.

One JSON text per WebSocket message. Fields are only ever added and unknown ones ignored; ``Hello`` carries the
range of protocol versions its sender speaks. Power at the meter is in kW, positive for import; battery power is
positive for discharge. One golden frame per version is kept in tests for ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from grid.errors import MessageError
from grid.intervals import Interval

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

METER_STREAM = "meter_1s"
"""Durable stream of one-second site samples; its columns are METER_COLUMNS."""

METER_COLUMNS = ("site_kw", "gpu_kw", "battery_kw", "soc_pct", "limit_kw")
"""site_kw is the meter's; gpu_kw NVML's sum; battery_kw discharge > 0; limit_kw the budget in force (null: none)."""


class Message(BaseModel):
    """Base of every frame."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OnLinkLoss(StrEnum):
    """What an agent does with its budget while the aggregator cannot be reached."""

    FOLLOW = "follow"
    HOLD = "hold"
    RELEASE = "release"


class BudgetInterval(Message):
    """A ceiling on the site's meter over ``[start, end)``."""

    start: AwareDatetime
    end: AwareDatetime
    limit_kw: float
    """The ceiling at ``end`` and, without a ramp, throughout."""
    ramp_from_kw: float | None = None
    """When set, the ceiling goes linearly from this at ``start`` to ``limit_kw`` at ``end``."""
    target_kw: float | None = None
    """When set, what the meter should draw (turn-up); never above limit_kw."""
    dispatch_ids: tuple[str, ...] = ()
    """The dispatches this interval serves."""

    @model_validator(mode="after")
    def _ordered(self) -> BudgetInterval:
        if self.end <= self.start:
            raise ValueError("a budget interval ends before it starts")
        return self

    @property
    def interval(self) -> Interval:
        return Interval(start=self.start, end=self.end)

    def limit_at(self, moment: datetime) -> float:
        """The ceiling at an instant inside the interval. Unit: kW."""
        if self.ramp_from_kw is None:
            return self.limit_kw
        share = (moment - self.start) / (self.end - self.start)
        return self.ramp_from_kw + (self.limit_kw - self.ramp_from_kw) * share


class SiteBudget(Message):
    """Everything one site must hold; a higher revision replaces it whole."""

    type: Literal["site_budget"] = "site_budget"
    site_id: str
    revision: int = Field(ge=1)
    issued_at: AwareDatetime
    intervals: tuple[BudgetInterval, ...]
    not_after: AwareDatetime
    """Nothing of this budget is executed from here on."""
    on_link_loss: OnLinkLoss = OnLinkLoss.FOLLOW
    release_ramp_s: float = Field(default=300.0, ge=0)
    """How long the way back to the baseline takes when the budget ends or is released."""

    @model_validator(mode="after")
    def _consecutive(self) -> SiteBudget:
        for before, after in zip(self.intervals, self.intervals[1:], strict=False):
            if after.start < before.end:
                raise ValueError(f"budget intervals overlap at {after.start.isoformat()}")
        return self

    def at(self, moment: datetime) -> BudgetInterval | None:
        """The interval in force at ``moment``, or None (no limit)."""
        if moment >= self.not_after:
            return None
        return next((i for i in self.intervals if i.start <= moment < i.end), None)


class BudgetAck(Message):
    """The agent has journalled (or refuses) a budget revision."""

    type: Literal["budget_ack"] = "budget_ack"
    site_id: str
    revision: int
    accepted: bool
    reason: str = ""
    at: AwareDatetime


class CapabilitySegment(Message):
    """One step of a site's marginal cost curve."""

    kw: float = Field(ge=0)
    """Further reduction at the meter this step gives."""
    usd_per_kwh: float = Field(ge=0)
    """What each of those kWh costs the site."""


class Capability(Message):
    """What a site could give now: at hello and every 10 s."""

    type: Literal["capability"] = "capability"
    site_id: str
    at: AwareDatetime
    baseline_kw: float
    """What the meter would read uncurtailed: the agent's own short forecast."""
    deliverable_kw: float = Field(ge=0)
    """Reduction at the meter the site can reach and hold; the sum of the segments."""
    deliverable_p10_kw: float | None = Field(default=None, ge=0)
    """Reached with a probability of 90%: jobs and losses differ from what is predicted of them."""
    deliverable_p50_kw: float | None = Field(default=None, ge=0)
    deliverable_p90_kw: float | None = Field(default=None, ge=0)
    """Reached with a probability of 10%."""
    segments: tuple[CapabilitySegment, ...]
    """Convex: usd_per_kwh never falls."""


class HighWater(Message):
    """The last row of a stream that is committed at the server."""

    spool_id: str
    stream: str
    seq: int = Field(ge=-1)


class Hello(Message):
    """First frame of a site."""

    type: Literal["hello"] = "hello"
    site_id: str
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    software: str
    sent_at: AwareDatetime
    budget_revision: int = 0
    """The revision in the agent's journal; 0 for none."""
    simulated: bool | None = None
    """Whether the site's GPUs are the simulator's, by the driver's own name; None where the agent does not say."""


class Welcome(Message):
    """First frame of the aggregator: version chosen, its time, what it already has."""

    type: Literal["welcome"] = "welcome"
    protocol: int
    server_time: AwareDatetime
    high_water: tuple[HighWater, ...] = ()


class TelemetryFrame(Message):
    """Consecutive durable rows of one stream, column by column.

    Row i is at ``t0 + i * dt_s`` and has sequence number ``seq + i``; its durable key is
    (site_id, spool_id, stream, seq + i). Sequence numbers grow by one a row within a spool and stream;
    missing seconds start a new frame with a later t0 and the next seq.
    """

    type: Literal["telemetry"] = "telemetry"
    site_id: str
    spool_id: str
    stream: str
    seq: int = Field(ge=0)
    t0: AwareDatetime
    dt_s: float = Field(gt=0)
    columns: dict[str, list[float | None]]
    quality: list[int] = []
    """ESPI quality code per row (0 valid, 8 estimated, 17 validated ...); empty means all 0."""

    @model_validator(mode="after")
    def _rectangular(self) -> TelemetryFrame:
        lengths = {len(c) for c in self.columns.values()} | ({len(self.quality)} if self.quality else set())
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError("columns of a telemetry frame differ in length or are empty")
        return self

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def time_of(self, row: int) -> datetime:
        return self.t0 + timedelta(seconds=row * self.dt_s)


class TelemetryAck(Message):
    """Everything up to and including ``seq`` is committed."""

    type: Literal["telemetry_ack"] = "telemetry_ack"
    spool_id: str
    stream: str
    seq: int


class Live(Message):
    """Latest values for people to watch; never acknowledged, never settled."""

    type: Literal["live"] = "live"
    site_id: str
    at: AwareDatetime
    values: dict[str, float | None]


class AuditHead(Message):
    """The newest signed head of a site's own audit chain, for the aggregator's chain to anchor."""

    type: Literal["audit_head"] = "audit_head"
    site_id: str
    chain: str
    seq: int
    hash: str
    signature: str
    public_key: str


class Refused(Message):
    """Why the aggregator closes this connection."""

    type: Literal["refused"] = "refused"
    reason: str


FromSite = Hello | TelemetryFrame | Capability | BudgetAck | Live | AuditHead
FromAggregator = Welcome | SiteBudget | TelemetryAck | Refused

_FROM_SITE: TypeAdapter[FromSite] = TypeAdapter(Annotated[FromSite, Field(discriminator="type")])
_FROM_AGGREGATOR: TypeAdapter[FromAggregator] = TypeAdapter(Annotated[FromAggregator, Field(discriminator="type")])


def encode(message: Message) -> str:
    """The message as one JSON text."""
    return message.model_dump_json()


def decode_from_site(text: str | bytes) -> FromSite:
    """Read a frame a site sent. Raises MessageError."""
    try:
        return _FROM_SITE.validate_json(text)
    except ValidationError as error:
        raise MessageError(f"unreadable frame from a site: {_brief(error)}") from error


def decode_from_aggregator(text: str | bytes) -> FromAggregator:
    """Read a frame the aggregator sent. Raises MessageError."""
    try:
        return _FROM_AGGREGATOR.validate_json(text)
    except ValidationError as error:
        raise MessageError(f"unreadable frame from the aggregator: {_brief(error)}") from error


def _brief(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
