"""A utility's book: who registered, what each VEN reported, which events were called and what was answered.

Kept in memory. Of an interval that is reported twice the first report counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from grid.errors import NegawattError
from grid.events import OptType


class UnknownError(NegawattError):
    """A VEN or event that is not in the book."""


class NotReadyError(NegawattError):
    """The book cannot say yet."""


@dataclass(slots=True, kw_only=True)
class VenRecord:
    """One registered VEN and everything it reported."""

    ven_id: str
    ven_name: str
    fingerprint: str
    registration_id: str
    registered_at: datetime
    resources: dict[str, str] = field(default_factory=dict)
    """resource_id by rID, as registered with its reports."""
    reports_created_at: datetime | None = None
    """When its first oadrCreatedReport came: from here on we expect data."""
    readings_kw: dict[tuple[str, datetime], float] = field(default_factory=dict)
    """Mean kW by rID and interval start."""
    duplicates: int = 0
    """Readings of an interval that we had already."""

    def receive(self, rid: str, readings: Iterable[tuple[datetime, float]]) -> None:
        """Enter readings in kW."""
        for start, kw in readings:
            if (rid, start) in self.readings_kw:
                self.duplicates += 1
            else:
                self.readings_kw[rid, start] = kw

    def complete_starts(self) -> list[datetime]:
        """Starts of the intervals that every resource reported, oldest first."""
        starts = {start for _, start in self.readings_kw}
        return sorted(start for start in starts if all((rid, start) in self.readings_kw for rid in self.resources))

    def portfolio_kw(self, intervals: int) -> float:
        """Mean of all resources together over the last complete intervals. Raises NotReadyError when there is none."""
        starts = self.complete_starts()[-intervals:]
        if not starts:
            raise NotReadyError(f"{self.ven_name} has not reported a complete interval yet: wait for its reports")
        return sum(self.readings_kw[rid, start] for rid in self.resources for start in starts) / len(starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptRecord:
    """One answer to an event; an identical one that follows it only counts as a repeat."""

    ven_id: str
    opt: OptType
    modification_number: int
    at: datetime
    repeats: int = 0


@dataclass(slots=True, kw_only=True)
class CalledEvent:
    """One event we called."""

    event_id: str
    ven_id: str
    dtstart: datetime
    active_s: float
    ramp_s: float
    """The first part of the active period, in which nothing is owed yet."""
    release_s: float
    granularity_s: int
    requested_kw: float
    """Reduction, positive."""
    opts: list[OptRecord] = field(default_factory=list)

    def answered(self, answer: OptRecord) -> None:
        """Enter an answer."""
        last = self.opts[-1] if self.opts else None
        same = last is not None and (last.ven_id, last.opt, last.modification_number) == (
            answer.ven_id,
            answer.opt,
            answer.modification_number,
        )
        if last is not None and same:
            self.opts[-1] = OptRecord(
                ven_id=last.ven_id,
                opt=last.opt,
                modification_number=last.modification_number,
                at=last.at,
                repeats=last.repeats + 1,
            )
        else:
            self.opts.append(answer)


class Book:
    """Every VEN and event."""

    def __init__(self) -> None:
        self.vens: dict[str, VenRecord] = {}
        self.events: dict[str, CalledEvent] = {}

    def ven_named(self, ven_name: str) -> VenRecord:
        """Raises UnknownError."""
        for ven in self.vens.values():
            if ven.ven_name == ven_name:
                return ven
        raise UnknownError(f"no VEN named {ven_name} is registered")

    def event(self, event_id: str) -> CalledEvent:
        """Raises UnknownError."""
        try:
            return self.events[event_id]
        except KeyError:
            raise UnknownError(f"there is no event {event_id}") from None
