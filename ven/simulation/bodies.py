"""What the operator may ask over the admin HTTP: the bodies of its requests. Durations in seconds, times with zone."""

from __future__ import annotations

from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ven.simulation.faults import FaultKind
from ven.wire.common import Measure, Target
from ven.wire.event import SignalPoint, WireSignal
from ven.wire.payload import Service


class Body(BaseModel):
    """Base of every body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SizedCall(Body):
    """POST /events: ask for a share of what a VEN reported lately."""

    ven_name: str
    share: float = Field(default=0.2, gt=0, le=1)
    """Of the power the VEN reported lately."""
    lead_s: float = Field(default=15.0, ge=0)
    active_s: float = Field(default=110.0, gt=0)
    ramp_s: float = Field(default=20.0, ge=0)
    granularity_s: int = Field(default=10, ge=1)
    market_context: str


class UnitBody(Body):
    """itemBase of a signal."""

    name: str
    """Element name: powerReal, energyReal, currencyPerKWh ..."""
    units: str
    """W, Wh, USD ..."""
    si_scale: str = "none"


class PointBody(Body):
    """One interval of a signal."""

    duration_s: float = Field(default=0.0, ge=0)
    """0: to the end of the event."""
    value: float


class TargetBody(Body):
    """eiTarget; several are alternatives."""

    ven_ids: tuple[str, ...] = ()
    resource_ids: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    party_ids: tuple[str, ...] = ()

    def wire(self) -> Target:
        return Target(**self.model_dump())


class SignalBody(Body):
    """eiEventSignal."""

    name: str
    """LOAD_DISPATCH, SIMPLE, ELECTRICITY_PRICE ..."""
    type: str
    """delta, level, price ..."""
    intervals: tuple[PointBody, ...] = Field(min_length=1)
    unit: UnitBody | None = None
    signal_id: str | None = None
    targets: TargetBody = TargetBody()

    def wire(self, place: int) -> WireSignal:
        """``place``: from 0, among the signals of the event."""
        return WireSignal(
            signal_id=self.signal_id or f"signal-{place}",
            name=self.name,
            type=self.type,
            intervals=tuple(SignalPoint(duration_s=point.duration_s, value=point.value) for point in self.intervals),
            measure=None if self.unit is None else Measure(**self.unit.model_dump()),
            target=self.targets.wire(),
        )


class EventChange(Body):
    """PATCH /events/ID: what is named changes."""

    start: AwareDatetime | None = None
    duration_s: float | None = Field(default=None, ge=0)
    """0: open until cancelled."""
    signals: tuple[SignalBody, ...] | None = Field(default=None, min_length=1)
    targets: TargetBody | None = None
    market_context: str | None = None
    priority: int | None = Field(default=None, ge=0)
    response_required: bool | None = None
    test_event: str | None = None
    """Any text but "false" is a test; null takes it out."""
    startafter_s: float | None = Field(default=None, ge=0)
    notification_s: float | None = Field(default=None, ge=0)
    ramp_up_s: float | None = Field(default=None, ge=0)
    recovery_s: float | None = Field(default=None, ge=0)
    vtn_comment: str | None = None
    modification_reason: str | None = None


class EventCall(EventChange):
    """POST /events with ``signals``: this very event."""

    ven_name: str
    """Name or venID."""
    event_id: str | None = Field(default=None, min_length=1)
    lead_s: float = Field(default=15.0, ge=0)
    """From now to the start, where ``start`` is not given."""
    duration_s: float = Field(ge=0)
    signals: tuple[SignalBody, ...] = Field(min_length=1)
    market_context: str
    ramp_s: float = Field(default=0.0, ge=0)
    """The part of the active period that our count of deliveries leaves out."""


class ReportCall(Body):
    """POST /reports/requests."""

    ven_name: str
    """Name or venID."""
    specifier_id: str = Field(min_length=1)
    """reportSpecifierID of an offer; METADATA asks for the offer again."""
    rids: tuple[str, ...] = ()
    """Empty: all of the report."""
    granularity_s: float = Field(default=0.0, ge=0)
    back_duration_s: float = Field(default=0.0, ge=0)
    """0: once."""
    start: AwareDatetime | None = None
    duration_s: float = Field(default=0.0, ge=0)
    """Of the period from ``start``; 0: open."""


class FaultCall(Body):
    """POST /faults."""

    kind: FaultKind
    count: int | None = Field(default=None, ge=1)
    """How often; left out, once without a probability and for ever with one."""
    probability: float | None = Field(default=None, gt=0, le=1)
    service: Service | None = None
    ven_name: str | None = None
    """Name or venID; left out, every VEN."""
    delay_s: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _delays(self) -> Self:
        if (self.kind is FaultKind.DELAY) != (self.delay_s > 0):
            raise ValueError("a delay, and nothing else, has a delay_s above 0")
        return self
