"""What arrived in reports: values as they are kept, and power by whole intervals for sizing and counting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from ven.simulation.errors import NotReadyError, ProtocolError
from ven.simulation.offers import Offer
from ven.simulation.records import HeldInterval, RequestRecord
from ven.wire.common import INVALID_DATA, REPORT_NOT_SUPPORTED
from ven.wire.report import Report, ReportInterval, ReportPayload, ResourceStatus

GREEN_BUTTON = "greenButton"
"""Stands in for the rID of Green Button data, which has none of its own."""


def held_intervals(report: Report, record: RequestRecord, offer: Offer, now: datetime) -> Iterator[HeldInterval]:
    """Every value of a report that answers ``record``. Raises ProtocolError."""
    asked = frozenset(record.request.rids)
    start = report.start
    for interval in report.intervals:
        start = interval.start or start
        if start is None:
            raise ProtocolError(INVALID_DATA, f"an interval of report {report.request_id} has no dtstart")
        duration_s = interval.duration_s
        for payload in _payloads(interval):
            rid, value = payload.rid, payload.value
            if rid not in asked and rid != GREEN_BUTTON:
                raise ProtocolError(REPORT_NOT_SUPPORTED, f"{rid} was not asked for in {report.request_id}")
            offered = offer.find(record.request.specifier_id, rid)
            kw = None
            if isinstance(value, float) and offered is not None:
                kw = offered.kw(value, duration_s or record.request.granularity_s)
            yield HeldInterval(
                ven_id=record.ven_id,
                report_request_id=report.request_id,
                rid=rid,
                start=start,
                duration_s=duration_s,
                value=_as_json(value),
                kw=kw,
                quality=payload.quality,
                received_at=now,
            )
        start += timedelta(seconds=duration_s or 0.0)


@dataclass(frozen=True, slots=True)
class _Feed:
    """Green Button data in the place of a value."""

    rid: str
    value: str
    quality: None = None


def _payloads(interval: ReportInterval) -> Iterator[ReportPayload | _Feed]:
    if interval.green_button is not None:
        yield _Feed(GREEN_BUTTON, interval.green_button.decode())
    yield from interval.payloads


def _as_json(value: float | str | ResourceStatus) -> str:
    return json.dumps(asdict(value) if isinstance(value, ResourceStatus) else value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One VEN's power as it was reported."""

    ven_name: str
    resources: Mapping[str, str] = field(default_factory=dict)
    """Resource by rID."""
    reports_created_at: datetime | None = None
    readings_kw: Mapping[tuple[str, datetime], float] = field(default_factory=dict)
    """Mean kW by rID and interval start."""

    def complete_starts(self) -> list[datetime]:
        """Starts of the intervals that every resource reported, oldest first."""
        starts = {start for _, start in self.readings_kw}
        return sorted(start for start in starts if all((rid, start) in self.readings_kw for rid in self.resources))

    def portfolio_kw(self, intervals: int) -> float:
        """Mean of all resources together over the last complete intervals. Raises NotReadyError when there is none."""
        starts = self.complete_starts()[-intervals:]
        if not starts or not self.resources:
            raise NotReadyError(f"{self.ven_name} has not reported a complete interval yet: wait for its reports")
        return sum(self.readings_kw[rid, start] for rid in self.resources for start in starts) / len(starts)
