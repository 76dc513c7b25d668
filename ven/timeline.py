"""What of an enrolment's events is in force at an instant, by resource. Pure.

Within an overlap the event of higher priority counts (1 is the highest, 0 none); of equal ones the one that was
active first (rule 18). An open-ended event lasts until it is cancelled (rule 47); a cancelled one to its end within
the startafter tolerance (rule 65); and what the VTN calls completed goes on to its own end (rule 66).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from grid.events import EventSignal, EventStatus, GridEvent, SignalUnit

FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalValue:
    """What one signal says now."""

    name: str
    type: str
    unit: SignalUnit
    value: float
    interval: int
    """Place of the interval in the signal, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """An event that counts now, and for which resources."""

    event_id: str
    modification_number: int
    resource_ids: tuple[str, ...]
    signals: tuple[SignalValue, ...]


def end_of(event: GridEvent) -> datetime:
    """When it ends; ``FOR_EVER`` while it is open."""
    ends = FOR_EVER if event.duration_s is None else event.start + timedelta(seconds=event.duration_s)
    if event.status is EventStatus.CANCELLED:
        return min(ends, event.cancel_at or event.received_at)
    return ends


def active(event: GridEvent, at: datetime) -> bool:
    """Whether its active period is running."""
    return event.start <= at < end_of(event)


def in_force(events: Sequence[GridEvent], resource_ids: Iterable[str], at: datetime) -> tuple[InForce, ...]:
    """Of events we opted in to, those that count at ``at``, in the order given."""
    running = [event for event in events if active(event, at)]
    winners: dict[int, list[str]] = {}
    for resource_id in resource_ids:
        concerned = [
            (place, event)
            for place, event in enumerate(running)
            if not event.resource_ids or resource_id in event.resource_ids
        ]
        if concerned:
            place, _ = min(concerned, key=lambda one: (_rank(one[1]), one[1].start, one[0]))
            winners.setdefault(place, []).append(resource_id)
    return tuple(
        InForce(
            event_id=running[place].event_id,
            modification_number=running[place].modification_number,
            resource_ids=tuple(resources),
            signals=tuple(value for signal in running[place].signals if (value := _value(signal, at)) is not None),
        )
        for place, resources in sorted(winners.items())
    )


def next_change(events: Iterable[GridEvent], at: datetime) -> datetime | None:
    """The next instant after ``at`` at which something may come into force or end."""
    instants = [
        instant
        for event in events
        for instant in _instants(event)
        if at < instant <= end_of(event) and instant != FOR_EVER
    ]
    return min(instants, default=None)


def _rank(event: GridEvent) -> float:
    return event.priority if event.priority > 0 else float("inf")


def _value(signal: EventSignal, at: datetime) -> SignalValue | None:
    for place, interval in enumerate(signal.intervals):
        over = interval.duration_s is not None and at >= interval.start + timedelta(seconds=interval.duration_s)
        if interval.start <= at and not over:
            return SignalValue(
                name=signal.name, type=signal.type, unit=signal.unit, value=interval.value, interval=place
            )
    return None


def _instants(event: GridEvent) -> list[datetime]:
    starts = [interval.start for signal in event.signals for interval in signal.intervals]
    return [event.start, end_of(event), *starts]
