"""Events to and readings from JSON lines, for a gateway that runs without an aggregator.

Sink: one line ``{"event": ..., "decision": ...}`` per modification, synced to disk before it is answered with the
enrolment's default opt, and one line ``{"enrolment_id", "at", "in_force": [...]}`` whenever other events or other
values of theirs come into force. Source: one line ``{"resource_id", "start", "end", "kw"}`` per reading, appended by
whoever measures; a report interval has a reading when the lines cover it without a gap.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from grid.clock import Clock
from grid.errors import MessageError
from grid.events import Decision, EventStatus, GridEvent, OptType
from grid.intervals import Interval
from ven.ports import Reading, ResourceState
from ven.timeline import InForce

KEPT = timedelta(hours=24)
"""How much of the readings stays in memory."""
SILENT_S = 120.0
"""A resource without a reading for so long is not online."""


class _DecidedLine(BaseModel):
    event: GridEvent
    decision: Decision


class _InForceLine(BaseModel):
    enrolment_id: str
    at: AwareDatetime
    in_force: tuple[InForce, ...]


_BEGINNINGS = (b'{"event":', b'{"enrolment_id":')
"""Of a line of ours."""

_LINE: TypeAdapter[_DecidedLine | _InForceLine] = TypeAdapter(_DecidedLine | _InForceLine)


class _ReadingLine(BaseModel):
    model_config = ConfigDict(extra="ignore")

    resource_id: str
    start: AwareDatetime
    end: AwareDatetime
    kw: FiniteFloat

    @property
    def interval(self) -> Interval:
        return Interval(start=self.start, end=self.end)


class JsonLinesSink:
    """``EventSink`` that writes events down."""

    def __init__(self, path: Path, opts: Mapping[str, OptType], clock: Clock) -> None:
        """``opts`` is what to answer, by enrolment_id."""
        self._path = path
        self._opts = opts
        self._clock = clock

    async def accept(self, event: GridEvent) -> Decision:
        """Raises MessageError when the file is not ours."""
        for line in self._lines():
            if isinstance(line, _DecidedLine) and _question(line.event) == _question(event):
                return line.decision
        decision = Decision(
            opt=self._opts[event.enrolment_id],
            reason="the enrolment's default opt: nobody decides here",
            decided_at=self._clock.now(),
        )
        self._append(_DecidedLine(event=event, decision=decision))
        return decision

    def announce(self, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        """Write down what is in force from now on."""
        self._append(_InForceLine(enrolment_id=enrolment_id, at=at, in_force=tuple(events)))

    def _append(self, line: BaseModel) -> None:
        with self._path.open("a+b") as file:
            _cut_torn(file)
            file.write(line.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[_DecidedLine | _InForceLine]:
        if not self._path.exists():
            return []
        whole, _, _ = self._path.read_text("utf-8").rpartition("\n")
        lines = whole.splitlines()
        try:
            return [_LINE.validate_json(line) for line in lines]
        except ValidationError as error:
            raise MessageError(f"{self._path} holds lines that are not ours: move it away") from error


def _cut_torn(file: BinaryIO) -> None:
    """Drop the line that a death in the midst of writing left unfinished: nobody was answered by it.

    Raises MessageError for an end that is not the beginning of a line of ours.
    """
    file.seek(0)
    kept, newline, torn = file.read().rpartition(b"\n")
    if not torn:
        return
    if not any(torn.startswith(begins) or begins.startswith(torn) for begins in _BEGINNINGS):
        raise MessageError(f"{file.name} ends in something that is not ours: move it away")
    file.truncate(len(kept) + len(newline))


def _question(event: GridEvent) -> tuple[object, ...]:
    return (*event.key, event.modification_number, event.status is EventStatus.CANCELLED)


class JsonLinesSource:
    """``ReportSource`` that follows a growing file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._offset = 0
        self._lines: dict[str, list[_ReadingLine]] = {}

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | None]:
        """Time-weighted means; a gap is None, since a line may still come. Raises MessageError for a bad line."""
        self._follow()
        return {resource_id: self._reading(resource_id, interval) for resource_id in resource_ids}

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        """Online is what had a reading lately; raises MessageError for a line that is not a reading."""
        self._follow()
        states = {}
        for resource_id in resource_ids:
            if lines := self._lines.get(resource_id):
                newest = max(lines, key=lambda line: line.end)
                online = (self._clock.now() - newest.end).total_seconds() <= SILENT_S
                states[resource_id] = ResourceState(online=online, kw=newest.kw if online else None)
        return states

    def _reading(self, resource_id: str, interval: Interval) -> Reading | None:
        energy_kws = 0.0
        covered_until = interval.start
        for line in sorted(self._lines.get(resource_id, ()), key=lambda line: line.start):
            part = line.interval.intersection(interval)
            if part is not None and part.start == covered_until:
                energy_kws += line.kw * part.duration_s
                covered_until = part.end
        if covered_until < interval.end:
            return None
        return Reading(kw=energy_kws / interval.duration_s)

    def _follow(self) -> None:
        """Take in the lines that were completed since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            fresh, found, _ = file.read().rpartition(b"\n")
        self._offset += len(fresh) + len(found)
        for text in fresh.splitlines():
            try:
                line = _ReadingLine.model_validate_json(text)
            except ValidationError as error:
                raise MessageError(
                    f"{self._path} holds a line that is no reading: write resource_id, start, end and kw"
                ) from error
            lines = self._lines.setdefault(line.resource_id, [])
            lines.append(line)
            while lines[0].end < line.end - KEPT:
                lines.pop(0)
