"""An OpenADR event as a GridEvent: signal values in our units, intervals with their starts, our resources.

Signs stay as the VTN sent them: what a negative delta means is programme data. A unit is never guessed: a power or
price signal without one is refused (OpenADR 2.0b rules 1, 2, 8, 9, 22, 48 and the signal table of the profile).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from grid.errors import UnitError
from grid.events import EventSignal, GridEvent, SignalInterval, SignalUnit
from grid.intervals import EPOCH
from grid.units import SI_SCALE, power_kw
from ven.config import VenSettings
from ven.errors import EventError
from ven.wire.common import (
    INVALID_DATA,
    NOBODY_NAMED,
    NOT_RECOGNIZED,
    SIGNAL_NOT_SUPPORTED,
    TARGET_MISMATCH,
    Measure,
    Target,
)
from ven.wire.event import WireEvent, WireSignal

SOURCE = "openadr"

_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Of a start; durations of OpenADR messages are at most ten years."""

Convert = Callable[[float, WireSignal], float]


class Meaning(NamedTuple):
    """What a signalType of a signalName says."""

    unit: SignalUnit
    convert: Convert


def _as_it_is(value: float, _: WireSignal) -> float:
    return value


def _simple(value: float, signal: WireSignal) -> float:
    if value not in (0.0, 1.0, 2.0, 3.0):
        raise EventError(INVALID_DATA, f"{signal.name} has the levels 0 to 3, not {value:g} (rule 9)")
    return value


def _power(value: float, signal: WireSignal) -> float:
    measure = signal.measure
    if measure is None or measure.name != "powerReal":
        raise EventError(INVALID_DATA, f"{signal.name} carries no powerReal, so its values have no unit")
    try:
        return power_kw(value, units=measure.units, si_scale=measure.si_scale)
    except UnitError as error:
        raise EventError(INVALID_DATA, str(error)) from error


def _energy(value: float, signal: WireSignal) -> float:
    measure = signal.measure
    if measure is None or measure.name != "energyReal" or measure.units != "Wh":
        raise EventError(INVALID_DATA, f"{signal.name} carries no energyReal in Wh, so its values have no unit")
    return value * _scale(measure) / 1000.0


def _price(value: float, signal: WireSignal) -> float:
    if signal.measure is None or signal.measure.name not in _PRICED_PER:
        raise EventError(INVALID_DATA, f"{signal.name} carries no currency, so its values have no unit")
    return value * _scale(signal.measure)


def _scale(measure: Measure) -> float:
    try:
        return SI_SCALE[measure.si_scale]
    except KeyError:
        raise EventError(INVALID_DATA, f"unknown siScaleCode {measure.si_scale!r}") from None


_PRICED_PER = {
    "currency": SignalUnit.PRICE_PER_KWH,
    "currencyPerKWh": SignalUnit.PRICE_PER_KWH,
    "currencyPerKW": SignalUnit.PRICE_PER_KW,
}

_PRICES = {
    "price": Meaning(SignalUnit.PRICE_PER_KWH, _price),
    "priceRelative": Meaning(SignalUnit.PRICE_PER_KWH, _price),
    "priceMultiplier": Meaning(SignalUnit.MULTIPLIER, _as_it_is),
}

MEANINGS: dict[tuple[str, str], Meaning] = {
    ("SIMPLE", "level"): Meaning(SignalUnit.LEVEL, _simple),
    ("simple", "level"): Meaning(SignalUnit.LEVEL, _simple),
    **{
        (name, kind): meaning
        for name in ("ELECTRICITY_PRICE", "ENERGY_PRICE", "DEMAND_CHARGE")
        for kind, meaning in _PRICES.items()
    },
    ("BID_PRICE", "price"): Meaning(SignalUnit.PRICE_PER_KWH, _price),
    ("BID_LOAD", "setpoint"): Meaning(SignalUnit.KW, _power),
    ("BID_ENERGY", "setpoint"): Meaning(SignalUnit.KWH, _energy),
    ("CHARGE_STATE", "setpoint"): Meaning(SignalUnit.KWH, _energy),
    ("CHARGE_STATE", "delta"): Meaning(SignalUnit.KWH, _energy),
    ("CHARGE_STATE", "multiplier"): Meaning(SignalUnit.MULTIPLIER, _as_it_is),
    ("LOAD_DISPATCH", "setpoint"): Meaning(SignalUnit.KW, _power),
    ("LOAD_DISPATCH", "delta"): Meaning(SignalUnit.KW, _power),
    ("LOAD_DISPATCH", "multiplier"): Meaning(SignalUnit.MULTIPLIER, _as_it_is),
    ("LOAD_DISPATCH", "level"): Meaning(SignalUnit.LEVEL, _as_it_is),
    ("LOAD_CONTROL", "x-loadControlCapacity"): Meaning(SignalUnit.MULTIPLIER, _as_it_is),
    ("LOAD_CONTROL", "x-loadControlLevelOffset"): Meaning(SignalUnit.LEVEL, _as_it_is),
    ("LOAD_CONTROL", "x-loadControlPercentOffset"): Meaning(SignalUnit.PERCENT, _as_it_is),
    ("LOAD_CONTROL", "x-loadControlSetpoint"): Meaning(SignalUnit.DEVICE, _as_it_is),
}
"""What we can pass on, by signalName and signalType."""


def grid_event(
    event: WireEvent, settings: VenSettings, ven_id: str, received_at: datetime, offset_s: float
) -> GridEvent:
    """The protocol-neutral event, its start put off by ``offset_s``.

    Raises EventError with the response code the VTN gets.
    """
    if settings.market_contexts and event.market_context not in settings.market_contexts:
        raise EventError(NOT_RECOGNIZED, f"market context {event.market_context} is not one of this enrolment")
    _check_times(event)
    resource_ids = targeted(event.target, settings, ven_id)
    start = event.start + timedelta(seconds=offset_s)
    signals = tuple(
        _signal(signal, event, start, settings) for signal in event.signals if (signal.name, signal.type) in MEANINGS
    )
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
        start=start,
        duration_s=event.duration_s or None,
        signals=signals,
        market_context=event.market_context,
        priority=event.priority,
        test_event=event.is_test,
        response_required=event.response_required,
        resource_ids=resource_ids,
        start_offset_s=offset_s,
        startafter_s=event.startafter_s or 0.0,
        notification_s=event.notification_s,
        ramp_up_s=event.ramp_up_s,
        recovery_s=event.recovery_s,
    )


def _check_times(event: WireEvent) -> None:
    """Raises EventError for times that cannot be meant, or that nobody can reckon with."""
    if not EPOCH <= event.start <= _LATEST:
        raise EventError(INVALID_DATA, f"an event that starts at {event.start} cannot be meant")
    periods = (event.duration_s, event.startafter_s, event.notification_s, event.ramp_up_s, event.recovery_s)
    intervals = (point.duration_s for signal in event.signals for point in signal.intervals)
    if any(seconds is not None and seconds < 0 for seconds in (*periods, *intervals)):
        raise EventError(INVALID_DATA, "a duration below 0")


def targeted(target: Target, settings: VenSettings, ven_id: str) -> tuple[str, ...]:
    """Our resources among the targets, which count as alternatives (rule 22); empty is all of the enrolment.

    Raises EventError when nobody of ours is meant.
    """
    if target == NOBODY_NAMED or ven_id in target.ven_ids:
        return ()
    groups = set(target.group_ids) & set(settings.group_ids)
    if groups or set(target.party_ids) & set(settings.party_ids):
        return ()
    named = tuple(resource_id for resource_id in settings.resource_ids if resource_id in target.resource_ids)
    if not named:
        raise EventError(TARGET_MISMATCH, "none of the targets is this VEN, one of its groups or of its resources")
    return named


def _signal(signal: WireSignal, event: WireEvent, start: datetime, settings: VenSettings) -> EventSignal:
    lasting_s = sum(interval.duration_s for interval in signal.intervals)
    if not signal.intervals or lasting_s != event.duration_s:
        raise EventError(
            INVALID_DATA,
            f"the intervals of {signal.name} last {lasting_s:g} s in all, the event {event.duration_s:g} s (rule 8)",
        )
    uids = [point.uid for point in signal.intervals]
    if any(uid is not None and uid.strip() != str(place) for place, uid in enumerate(uids)):
        raise EventError(INVALID_DATA, f"the intervals of {signal.name} are not numbered from 0 by 1 (rule 2)")
    meaning = MEANINGS[signal.name, signal.type]
    table = settings.simple_levels if signal.name.upper() == "SIMPLE" else None
    intervals = []
    for point in signal.intervals:
        value = meaning.convert(point.value, signal)
        if not math.isfinite(value):
            raise EventError(INVALID_DATA, f"{signal.name} has the value {value}, which is no number")
        intervals.append(
            SignalInterval(
                start=start,
                duration_s=point.duration_s or None,
                value=value if table is None else table[int(value)],
            )
        )
        start += timedelta(seconds=point.duration_s)
    return EventSignal(
        signal_id=signal.signal_id,
        name=signal.name,
        type=signal.type,
        unit=SignalUnit.MULTIPLIER if table is not None else _unit(meaning, signal),
        intervals=tuple(intervals),
        currency=signal.measure.units if signal.measure is not None and signal.measure.name in _PRICED_PER else None,
        resource_ids=tuple(one for one in settings.resource_ids if one in signal.target.resource_ids),
    )


def _unit(meaning: Meaning, signal: WireSignal) -> SignalUnit:
    if meaning.unit is SignalUnit.PRICE_PER_KWH and signal.measure is not None:
        return _PRICED_PER[signal.measure.name]
    return meaning.unit
