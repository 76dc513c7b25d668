"""From what the operator asks to the events that go out."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from grid.errors import UnitError
from grid.events import EventStatus
from grid.intervals import ceil_to, utc
from grid.units import power_kw
from ven.simulation.bodies import EventCall, EventChange, SizedCall
from ven.simulation.config import VtnSettings
from ven.simulation.mailbox import new_id
from ven.simulation.received import Received
from ven.simulation.records import CalledEvent, VenRecord
from ven.wire.common import KILOWATT, Target
from ven.wire.event import SignalPoint, WireEvent, WireSignal

SIZING_S = 60.0
"""How much reported history sizes an event."""


def sized(call: SizedCall, ven: VenRecord, received: Received, settings: VtnSettings, now: datetime) -> CalledEvent:
    """``share`` of what was reported lately as one LOAD_DISPATCH delta; a reduction is negative (change from the
    baseline). Starts on a whole boundary, ``lead_s`` or a little more from now. Raises NotReadyError."""
    requested_kw = round(call.share * received.portfolio_kw(math.ceil(SIZING_S / call.granularity_s)), 3)
    event_id = new_id("event")
    signal = WireSignal(
        signal_id=f"signal-{event_id}",
        name="LOAD_DISPATCH",
        type="delta",
        intervals=(SignalPoint(duration_s=call.active_s, value=-requested_kw),),
        measure=KILOWATT,
    )
    event = WireEvent(
        event_id=event_id,
        modification_number=0,
        status=EventStatus.FAR,
        created_at=now,
        market_context=call.market_context,
        start=ceil_to(now + timedelta(seconds=call.lead_s), call.granularity_s),
        duration_s=call.active_s,
        signals=(signal,),
        target=Target(ven_ids=(ven.ven_id,)),
    )
    return CalledEvent(
        ven_id=ven.ven_id,
        event=event,
        ramp_s=call.ramp_s,
        release_s=settings.release_s,
        granularity_s=call.granularity_s,
        requested_kw=requested_kw,
    )


def explicit(call: EventCall, ven: VenRecord, settings: VtnSettings, now: datetime) -> CalledEvent:
    """The event as the operator wrote it; without targets it is for the whole VEN."""
    event = WireEvent(
        event_id=call.event_id or new_id("event"),
        modification_number=0,
        status=EventStatus.FAR,
        created_at=now,
        market_context=call.market_context,
        start=(now + timedelta(seconds=call.lead_s)).replace(microsecond=0),
        duration_s=call.duration_s,
        signals=(),
        target=Target(ven_ids=(ven.ven_id,)),
    )
    event = changed(event, call)
    return CalledEvent(
        ven_id=ven.ven_id,
        event=event,
        ramp_s=call.ramp_s,
        release_s=settings.release_s,
        granularity_s=settings.report_interval_s,
        requested_kw=requested_kw(event),
    )


def changed(event: WireEvent, change: EventChange) -> WireEvent:
    """The event with what the change names; where OpenADR allows it, null takes a field out."""
    named = change.model_fields_set
    if change.start is not None:
        event = replace(event, start=utc(change.start))
    if change.duration_s is not None:
        event = replace(event, duration_s=change.duration_s)
    if change.signals is not None:
        event = replace(event, signals=tuple(signal.wire(place) for place, signal in enumerate(change.signals)))
    if change.targets is not None:
        event = replace(event, target=change.targets.wire())
    if change.market_context is not None:
        event = replace(event, market_context=change.market_context)
    if change.priority is not None:
        event = replace(event, priority=change.priority)
    if change.response_required is not None:
        event = replace(event, response_required=change.response_required)
    return replace(
        event,
        test_event=change.test_event if "test_event" in named else event.test_event,
        startafter_s=change.startafter_s if "startafter_s" in named else event.startafter_s,
        notification_s=change.notification_s if "notification_s" in named else event.notification_s,
        ramp_up_s=change.ramp_up_s if "ramp_up_s" in named else event.ramp_up_s,
        recovery_s=change.recovery_s if "recovery_s" in named else event.recovery_s,
        vtn_comment=change.vtn_comment if "vtn_comment" in named else event.vtn_comment,
        modification_reason=change.modification_reason if "modification_reason" in named else event.modification_reason,
    )


def requested_kw(event: WireEvent) -> float:
    """What a LOAD_DISPATCH delta asks for in its first interval, a reduction positive; 0 without one."""
    for signal in event.signals:
        if (signal.name, signal.type) == ("LOAD_DISPATCH", "delta") and signal.measure is not None and signal.intervals:
            measure, value = signal.measure, signal.intervals[0].value
            try:
                return -power_kw(value, units=measure.units, si_scale=measure.si_scale)
            except UnitError:
                return 0.0
    return 0.0
