"""An OpenADR event as a GridEvent: signal values in kW (or levels, shares, prices), intervals with their starts.

Signs stay as the VTN sent them: what a negative delta means is programme data. A unit is never guessed: a power
signal without one is refused (OpenADR 2.0b rules 1, 2, 8, 9 and the signal table of the profile).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from grid.errors import UnitError
from grid.events import EventSignal, GridEvent, SignalInterval, SignalUnit
from grid.units import power_kw
from ven.config import VenSettings
from ven.errors import EventError
from ven.wire.messages import (
    INVALID_DATA,
    NOT_RECOGNIZED,
    SIGNAL_NOT_SUPPORTED,
    TARGET_MISMATCH,
    Measure,
    WireEvent,
    WireSignal,
)

SOURCE = "openadr"

_POWER_TYPES = ("delta", "setpoint")
_UNITS: dict[tuple[str, str], SignalUnit] = {
    ("SIMPLE", "level"): SignalUnit.LEVEL,
    ("LOAD_DISPATCH", "level"): SignalUnit.LEVEL,
    ("LOAD_DISPATCH", "multiplier"): SignalUnit.MULTIPLIER,
    **{("LOAD_DISPATCH", kind): SignalUnit.KW for kind in _POWER_TYPES},
    ("BID_LOAD", "setpoint"): SignalUnit.KW,
}
"""What we can pass on today, by signalName and signalType."""

_SIMPLE_LEVELS = (0.0, 1.0, 2.0, 3.0)


def grid_event(event: WireEvent, settings: VenSettings, ven_id: str, received_at: datetime) -> GridEvent:
    """The protocol-neutral event. Raises EventError with the response code the VTN gets."""
    if settings.market_contexts and event.market_context not in settings.market_contexts:
        raise EventError(NOT_RECOGNIZED, f"market context {event.market_context} is not one of this enrolment")
    resource_ids = _targeted(event, settings, ven_id)
    signals = tuple(_signal(signal, event) for signal in event.signals if (signal.name, signal.type) in _UNITS)
    if not signals:
        offered = ", ".join(f"{signal.name}/{signal.type}" for signal in event.signals)
        raise EventError(SIGNAL_NOT_SUPPORTED, f"no signal we support among: {offered or 'none'}")
    return GridEvent(
        enrolment_id=settings.enrolment_id,
        event_id=event.event_id,
        modification_number=event.modification_number,
        status=event.status,
        source=SOURCE,
        received_at=received_at,
        created_at=event.created_at,
        start=event.start,
        duration_s=event.duration_s or None,
        signals=signals,
        market_context=event.market_context,
        priority=event.priority,
        test_event=event.test_event,
        response_required=event.response_required,
        resource_ids=resource_ids,
    )


def _targeted(event: WireEvent, settings: VenSettings, ven_id: str) -> tuple[str, ...]:
    """Our resources among the targets, which count as alternatives (rule 22); empty is all of the enrolment."""
    if ven_id in event.ven_ids or not (event.ven_ids or event.resource_ids or event.other_targets):
        return ()
    ours = [resource.resource_id for resource in settings.resources]
    named = tuple(resource_id for resource_id in ours if resource_id in event.resource_ids)
    if not named:
        raise EventError(TARGET_MISMATCH, "none of the targets is this VEN or one of its resources")
    return named


def _signal(signal: WireSignal, event: WireEvent) -> EventSignal:
    lasting_s = sum(interval.duration_s for interval in signal.intervals)
    if not signal.intervals or lasting_s != event.duration_s:
        raise EventError(
            INVALID_DATA,
            f"the intervals of {signal.name} last {lasting_s:g} s in all, the event {event.duration_s:g} s",
        )
    unit = _UNITS[signal.name, signal.type]
    intervals = []
    start = event.start
    for interval in signal.intervals:
        intervals.append(
            SignalInterval(
                start=start, duration_s=interval.duration_s or None, value=_value(interval.value, signal, unit)
            )
        )
        start += timedelta(seconds=interval.duration_s)
    return EventSignal(
        signal_id=signal.signal_id, name=signal.name, type=signal.type, unit=unit, intervals=tuple(intervals)
    )


def _value(value: float, signal: WireSignal, unit: SignalUnit) -> float:
    if signal.name == "SIMPLE" and value not in _SIMPLE_LEVELS:
        raise EventError(INVALID_DATA, f"SIMPLE has the levels 0 to 3, not {value:g}")
    return _power(value, signal.measure, signal.name) if unit is SignalUnit.KW else value


def _power(value: float, measure: Measure | None, name: str) -> float:
    if measure is None or measure.name != "powerReal":
        raise EventError(INVALID_DATA, f"{name} carries no powerReal, so its values have no unit")
    try:
        return power_kw(value, units=measure.units, si_scale=measure.si_scale)
    except UnitError as error:
        raise EventError(INVALID_DATA, str(error)) from error
