"""Events to and readings from JSON lines, for a gateway that runs without an aggregator.

Sink: one line ``{"event": ..., "decision": ...}`` per modification, synced to disk before it is answered with the
enrolment's default opt. Source: one line ``{"resource_id", "start", "end", "kw"}`` per reading, appended by whoever
measures; a report interval has a reading when the lines cover it without a gap.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, ValidationError

from grid.clock import Clock
from grid.errors import MessageError
from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval
from ven.ports import Reading

KEPT = timedelta(hours=24)
"""How much of the readings stays in memory."""


class _DecidedLine(BaseModel):
    event: GridEvent
    decision: Decision


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
            if line.event.key == event.key and line.event.modification_number == event.modification_number:
                return line.decision
        decision = Decision(
            opt=self._opts[event.enrolment_id],
            reason="the enrolment's default opt: nobody decides here",
            decided_at=self._clock.now(),
        )
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_DecidedLine(event=event, decision=decision).model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        return decision

    def _lines(self) -> list[_DecidedLine]:
        if not self._path.exists():
            return []
        lines = self._path.read_text("utf-8").splitlines()
        try:
            return [_DecidedLine.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise MessageError(f"{self._path} holds lines that are not ours: move it away") from error


class JsonLinesSource:
    """``ReportSource`` that follows a growing file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines: dict[str, list[_ReadingLine]] = {}

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | None]:
        """Time-weighted means; a gap is None, since a line may still come. Raises MessageError for a bad line."""
        self._follow()
        return {resource_id: self._reading(resource_id, interval) for resource_id in resource_ids}

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
