"""A VTN that answers by a script, over an in-memory transport: for what a well-behaved VTN never does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from certs.files import read_certificates, read_leaf_key
from certs.tls import Identity
from certs.trust import ChainTrust
from grid.clock import Clock
from grid.events import EventStatus
from ven.config import VenSettings
from ven.transport import Transport
from ven.wire.codec import Codec
from ven.wire.common import KILOWATT, EiResponse, Measure, Target
from ven.wire.event import CreatedEvent, DistributeEvent, RequestEvent, SignalPoint, WireEvent, WireSignal
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    Poll,
    QueryRegistration,
    Response,
)
from ven.wire.payload import Message, Service
from ven.wire.replay import ReplayGuard
from ven.wire.report import (
    CanceledReport,
    CreatedReport,
    RegisteredReport,
    RegisterReport,
    ReportRequest,
    SpecifierPayload,
    UpdatedReport,
    UpdateReport,
)
from ven.wire.signature import Signer, Verifier

Answer = Callable[[Any], Message | None]
"""From the message that came to the answer, None for an empty one; may raise what a transport raises."""

Incoming = TypeVar("Incoming")

VTN_ID = "utility"
VEN_ID = "ven-1"


@dataclass(frozen=True)
class Received:
    """One message the VTN got."""

    service: Service
    message: Any
    content: bytes

    @property
    def signed_object(self) -> bytes:
        return self.content[self.content.index(b"<oadr:oadrSignedObject") :]


@dataclass
class ScriptedVtn:
    """``Transport`` and VTN in one; every message is checked against schema and signature."""

    identity: Identity
    clock: Clock
    answers: dict[type[Any], Answer] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._codec = Codec(
            Signer(read_leaf_key(self.identity.key), read_certificates(self.identity.certificate)),
            Verifier(ChainTrust(read_certificates(self.identity.roots)), ReplayGuard()),
        )

    async def connect(self, _: VenSettings) -> Transport:
        return self

    async def post(self, service: Service, content: bytes) -> bytes:
        message = self._codec.read(content, self.clock.now())
        self.received.append(Received(service, message, content))
        answer = self.answers.get(type(message), DEFAULTS[type(message)])(message)
        return b"" if answer is None else self._codec.write(answer, self.clock.now())

    def named(self, kind: type[Incoming]) -> list[Incoming]:
        """What came of one type."""
        return [one.message for one in self.received if isinstance(one.message, kind)]

    def kinds(self) -> list[type[Any]]:
        """The type of everything that came."""
        return [type(one.message) for one in self.received]


def ok(request_id: str = "r") -> EiResponse:
    return EiResponse(request_id=request_id)


def fine(_: object) -> Response:
    return Response(response=ok(), ven_id=VEN_ID)


REGISTERED = CreatedPartyRegistration(
    response=ok(), vtn_id=VTN_ID, ven_id=VEN_ID, registration_id="registration-1", poll_interval_s=1.0
)


def registered(_: object) -> CreatedPartyRegistration:
    return REGISTERED


def asking(*requests: ReportRequest) -> Answer:
    """The answer to oadrRegisterReport that asks for data."""
    return lambda _: RegisteredReport(response=ok(), requests=requests, ven_id=VEN_ID)


def report_request(
    request_id: str,
    *,
    granularity_s: float = 10,
    rids: tuple[str, ...] = ("site-1-kw", "site-2-kw"),
    **more: Any,
) -> ReportRequest:
    values: dict[str, Any] = {
        "request_id": request_id,
        "specifier_id": "telemetry-usage",
        "granularity_s": granularity_s,
        "back_duration_s": granularity_s,
        "payloads": tuple(SpecifierPayload(rid=rid, reading_type="Mean") for rid in rids),
    }
    return ReportRequest(**(values | more))


DEFAULTS: dict[type[Any], Answer] = {
    QueryRegistration: lambda _: replace(REGISTERED, ven_id=None, registration_id=None),
    CreatePartyRegistration: registered,
    CancelPartyRegistration: lambda message: CanceledPartyRegistration(
        response=ok(message.request_id), registration_id=message.registration_id, ven_id=VEN_ID
    ),
    CanceledPartyRegistration: fine,
    RegisterReport: asking(),
    RegisteredReport: fine,
    CreatedReport: fine,
    CanceledReport: fine,
    RequestEvent: fine,
    CreatedEvent: fine,
    Poll: fine,
    UpdateReport: lambda _: UpdatedReport(response=ok(), ven_id=VEN_ID),
    UpdatedReport: fine,
    CreateOpt: lambda message: CreatedOpt(response=ok(message.request_id), opt_id=message.opt_id),
    CancelOpt: lambda message: CanceledOpt(response=ok(message.request_id), opt_id=message.opt_id),
    Response: lambda _: None,
}


def wire_event(event_id: str, start: datetime, **more: Any) -> WireEvent:
    """An oadrEvent of one LOAD_DISPATCH delta."""
    lasting_s = more.pop("duration_s", 110.0)
    values: dict[str, Any] = {
        "event_id": event_id,
        "modification_number": 0,
        "status": EventStatus.FAR,
        "created_at": start - timedelta(hours=1),
        "market_context": "urn:programme:test",
        "start": start,
        "duration_s": lasting_s,
        "signals": (wire_signal((lasting_s, -30.0)),),
        "target": Target(ven_ids=(VEN_ID,)),
    }
    return WireEvent(**(values | more))


def wire_signal(
    *intervals: tuple[float, float],
    name: str = "LOAD_DISPATCH",
    kind: str = "delta",
    measure: Measure | None = KILOWATT,
) -> WireSignal:
    """Intervals are seconds and value."""
    return WireSignal(
        signal_id="signal-1",
        name=name,
        type=kind,
        intervals=tuple(SignalPoint(duration_s=lasting_s, value=value) for lasting_s, value in intervals),
        measure=measure,
    )


def distributing(*events: WireEvent, request_id: str = "q-1", vtn_id: str = VTN_ID) -> Answer:
    """An oadrDistributeEvent with these events."""
    return lambda _: DistributeEvent(request_id=request_id, vtn_id=vtn_id, events=events)


def in_turn(answers: Sequence[Answer], then: Answer = fine) -> Answer:
    """One answer after the other, and ``then`` from there on."""
    left = list(answers)
    return lambda message: left.pop(0)(message) if left else then(message)
