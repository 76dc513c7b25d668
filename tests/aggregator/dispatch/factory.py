"""Events and enrolments for tests of dispatch, made of the shipped demo programme."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aggregator.portfolio.enrolment import Enrolment, EnrolmentSettings
from grid.events import EventSignal, EventStatus, GridEvent, SignalInterval, SignalUnit

CONTEXT = "http://demo-utility.example/programmes/fast-dispatch"


def enrolment(sites: tuple[str, ...] = ("a", "b"), programme: str = "demo-dispatch", name: str = "p") -> Enrolment:
    ven = {
        "enrolment_id": name,
        "ven_name": name,
        "vtn_url": "https://127.0.0.1:1/x",
        "certificate": Path("c"),
        "key_file": Path("k"),
        "vtn_roots": Path("r"),
        "resources": [{"resource_id": f"res-{s}", "rid": f"rid-{s}"} for s in sites],
    }
    resources = [{"resource_id": f"res-{s}", "site_id": s} for s in sites]
    return Enrolment.open(
        EnrolmentSettings.model_validate({"programme": programme, "resources": resources, "ven": ven})
    )


def event(start: datetime, delta_kw: float = -30.0, **changed: Any) -> GridEvent:
    """A dispatch of 110 s as the demo's utility sends it, received 15 s ahead."""
    duration_s: float | None = changed.pop("duration_s", 110.0)
    signal = EventSignal(
        signal_id="s1",
        name=changed.pop("signal_name", "LOAD_DISPATCH"),
        type=changed.pop("signal_type", "delta"),
        unit=changed.pop("unit", SignalUnit.KW),
        intervals=changed.pop("intervals", (SignalInterval(start=start, duration_s=duration_s, value=delta_kw),)),
    )
    values: dict[str, Any] = {
        "enrolment_id": "p",
        "event_id": "e1",
        "modification_number": 0,
        "status": EventStatus.FAR,
        "source": "openadr",
        "received_at": start - timedelta(seconds=15),
        "created_at": start - timedelta(seconds=15),
        "start": start,
        "duration_s": duration_s,
        "signals": (signal,),
        "market_context": CONTEXT,
    }
    return GridEvent(**{**values, **changed})
