"""A VTN that answers by a script, over an in-memory transport: for what a well-behaved VTN never does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from openleadr.messaging import create_message, parse_message, validate_xml_schema, validate_xml_signature

from certs.tls import Identity
from grid.clock import Clock
from ven.config import VenSettings
from ven.transport import Transport
from ven.wire.messages import Service

OK = {"response_code": 200, "response_description": "OK", "request_id": "r"}

Fields = Mapping[str, Any]
Answer = Callable[[Fields], tuple[str, dict[str, Any]] | None]
"""The name and fields of the answer, None for an empty one; may raise what a transport raises."""


@dataclass(frozen=True)
class Received:
    """One message the VTN got."""

    service: Service
    name: str
    fields: Fields
    content: bytes

    @property
    def signed_object(self) -> bytes:
        return self.content[self.content.index(b"<oadr:oadrSignedObject") :]


@dataclass
class ScriptedVtn:
    """``Transport`` and VTN in one; every message is checked against schema and signature."""

    identity: Identity
    answers: dict[str, Answer] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    poll_interval_s: float = 1.0

    async def connect(self, settings: VenSettings, clock: Clock) -> Transport:
        return self

    async def post(self, service: Service, content: bytes) -> bytes:
        validate_xml_signature(validate_xml_schema(content))
        name, fields = parse_message(content)
        self.received.append(Received(service, name, fields, content))
        answer = self.answers.get(name, DEFAULTS[name])(fields)
        return b"" if answer is None else self.signed(*answer)

    async def close(self) -> None:
        pass

    def signed(self, name: str, fields: dict[str, Any]) -> bytes:
        values = {"response": OK, "ven_id": "ven-1", "vtn_id": "utility", "request_id": "q-1", **fields}
        content: str = create_message(
            name, cert=self.identity.certificate.read_bytes(), key=self.identity.key.read_bytes(), **values
        )
        return content.encode()

    def named(self, name: str) -> list[Received]:
        return [message for message in self.received if message.name == name]


def registered(_: Fields) -> tuple[str, dict[str, Any]]:
    return "oadrCreatedPartyRegistration", {
        "registration_id": "registration-1",
        "profiles": [{"profile_name": "2.0b", "transports": [{"transport_name": "simpleHttp"}]}],
        "requested_oadr_poll_freq": timedelta(seconds=1),
    }


def asking(*requests: dict[str, Any]) -> Answer:
    """The answer to oadrRegisterReport that asks for data."""
    return lambda _: ("oadrRegisteredReport", {"report_requests": list(requests)})


def report_request(
    request_id: str, *, granularity_s: int = 10, rids: tuple[str, ...] = ("site-1-kw", "site-2-kw"), **more: Any
) -> dict[str, Any]:
    return {
        "report_request_id": request_id,
        "report_specifier": {
            "report_specifier_id": "telemetry-usage",
            "granularity": timedelta(seconds=granularity_s),
            "report_back_duration": timedelta(seconds=granularity_s),
            "specifier_payloads": [{"r_id": rid, "reading_type": "Mean"} for rid in rids],
            **more,
        },
    }


DEFAULTS: dict[str, Answer] = {
    "oadrCreatePartyRegistration": registered,
    "oadrRegisterReport": asking(),
    "oadrCreatedReport": lambda _: ("oadrResponse", {}),
    "oadrCanceledReport": lambda _: ("oadrResponse", {}),
    "oadrRequestEvent": lambda _: ("oadrResponse", {}),
    "oadrCreatedEvent": lambda _: ("oadrResponse", {}),
    "oadrPoll": lambda _: ("oadrResponse", {}),
    "oadrUpdateReport": lambda _: ("oadrUpdatedReport", {}),
}


def event_fields(event_id: str, start: datetime, **more: Any) -> dict[str, Any]:
    """An oadrEvent of one LOAD_DISPATCH delta, as openleadr renders it; dotted keys replace single fields."""
    lasting = timedelta(seconds=more.pop("duration_s", 110))
    fields: dict[str, Any] = {
        "event_descriptor": {
            "event_id": event_id,
            "modification_number": more.pop("modification_number", 0),
            "modification_date_time": start,
            "market_context": more.pop("market_context", "urn:programme:test"),
            "event_status": more.pop("status", "far"),
            "created_date_time": start - timedelta(hours=1),
            "priority": 0,
            "test_event": more.pop("test_event", False),
        },
        "active_period": {"dtstart": start, "duration": lasting},
        "event_signals": more.pop("signals", None) or [signal_fields([(lasting, -30.0)])],
        "targets": more.pop("targets", [{"ven_id": "ven-1"}]),
        "response_required": more.pop("response_required", "always"),
    }
    assert not more, f"unknown: {sorted(more)}"
    return fields


def signal_fields(
    intervals: Sequence[tuple[timedelta, float | str]],
    name: str = "LOAD_DISPATCH",
    kind: str = "delta",
    scale: str | None = "k",
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "signal_id": "signal-1",
        "signal_name": name,
        "signal_type": kind,
        "intervals": [{"duration": duration, "signal_payload": value} for duration, value in intervals],
    }
    if scale is not None:
        fields["measurement"] = {
            "name": "powerReal",
            "description": "RealPower",
            "unit": "W",
            "scale": scale,
            "power_attributes": {"hertz": 60, "voltage": 480, "ac": True},
        }
    return fields


def distributing(*events: dict[str, Any], request_id: str = "q-1") -> Answer:
    """An oadrDistributeEvent with these events."""
    return lambda _: ("oadrDistributeEvent", {"events": list(events), "request_id": request_id})
