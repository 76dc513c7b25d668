"""EiReport, the giving half: data is built when it is complete, journalled as the bytes to send, and delivered.

A report covers ``[k x back duration)`` from its request's first boundary. It is built once no reading of it can come
any more, or after the enrolment's lateness, without those that are missing: an absent rID; never filled, never zero.
Delivery is oldest first, and a repeated message is the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import structlog

from grid.clock import Clock
from grid.intervals import Interval
from grid.units import energy_kwh
from ven.backoff import Backoff
from ven.channels import SPECIFIERS, Channel, Quantity, channels
from ven.config import VenSettings
from ven.errors import VenError
from ven.greenbutton import EnergyReading, feed
from ven.journal import VenJournal
from ven.outbox import OutboxSender
from ven.ports import Quality, Reading, ReportSource, ResourceState
from ven.records import Lane, StoredRequest
from ven.waiting import Alarm
from ven.wire.payload import encode
from ven.wire.report import (
    LoadControlValue,
    Report,
    ReportInterval,
    ReportPayload,
    ResourceStatus,
    UpdateReport,
)

INCOMPLETE_RETRY_S = 0.5
"""How often a report that waits for readings is looked at."""
LONGEST_PAUSE_S = 60.0
BATCH = 20
"""Reports built before those owed are delivered, when catching up."""
INTERVALS_PER_MESSAGE = 500
BYTES_PER_MESSAGE = 1_000_000
"""About: messages of more than 5 MB are not read, by us at least."""
BYTES_PER_PAYLOAD = 300
READINGS_PER_FEED = 2_000
"""Of Green Button data; each takes about 250 bytes."""

DATA_QUALITY = {
    Quality.GOOD: "Quality Good - Non Specific",
    Quality.UNCERTAIN: "Quality Uncertain - Non Specific",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """What there is to say over a period."""

    intervals: tuple[ReportInterval, ...]
    resource_ids: tuple[str, ...]
    complete: bool
    """Nothing more can come."""


class ReportData:
    """The data of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        source: ReportSource,
        sender: OutboxSender,
        clock: Clock,
        may_send: Callable[[], bool],
    ) -> None:
        """``may_send``: whether the VTN is there, as far as anybody knows."""
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._source = source
        self._sender = sender
        self._clock = clock
        self._may_send = may_send
        self._alarm = Alarm(clock)
        self._channels = channels(settings)
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    def asked(self) -> None:
        """There is more, or less, to serve, or the VTN is back."""
        self._alarm.ring()

    async def run(self) -> None:
        """Build and deliver until cancelled."""
        backoff = Backoff()
        not_before_s = self._clock.monotonic()
        while True:
            more = await self._build_due()
            if self._clock.monotonic() >= not_before_s and self._may_send():
                try:
                    await self._sender.deliver()
                    backoff.reset()
                except VenError as error:
                    # The session meets the same trouble, tells it and cures it; here it only means: later.
                    owed = self._journal.outbox.count(self._key, Lane.DATA)
                    self._log.info("report data is kept", why=str(error), owed=owed)
                    not_before_s = self._clock.monotonic() + backoff.next_s()
            await self._alarm.wait(0.0 if more else self._pause_s(not_before_s - self._clock.monotonic()))

    def _requests(self) -> list[StoredRequest]:
        """Those for data that we have; a report may have been taken out of the configuration."""
        active = self._journal.reports.active(self._key)
        return [request for request in active if request.specifier_id in self._channels]

    async def _build_due(self) -> bool:
        """Journal every report that is due and ready; returns whether more are ready than one batch."""
        for request in self._requests():
            for _ in range(BATCH):
                period = request.period()
                if period is None or self._clock.now() < period.end or not await self._build(request, period):
                    break
                request = replace(request, next_start=period.end)
            else:
                return True
        return False

    async def _build(self, request: StoredRequest, period: Interval) -> bool:
        """Journal the report over ``period``; False when it still waits for readings."""
        wanted = [one for one in self._channels[request.specifier_id] if not request.rids or one.rid in request.rids]
        built = await self._data(request, wanted, period)
        late = self._clock.now() >= period.end + timedelta(seconds=self._settings.report_lateness_s)
        if not built.complete and not late:
            return False
        intervals = _apart(built.intervals) if self._settings.report_payloads_apart else built.intervals
        messages = [(self._payload(request, part), self._facts(period, built)) for part in _parts(intervals)]
        following = replace(request, next_start=period.end)
        self._journal.reports.record_data(
            self._key, request, next_start=period.end, ended=following.period() is None, messages=messages
        )
        return True

    async def _data(self, request: StoredRequest, wanted: Sequence[Channel], period: Interval) -> _Built:
        quantity = wanted[0].quantity if wanted else Quantity.POWER
        if quantity is Quantity.STATUS:
            return await self._status(request, wanted, period)
        steps = list(period.steps(request.granularity_s))
        resource_ids = list(dict.fromkeys(channel.resource_id for channel in wanted))
        readings = [(step, await self._source.read(resource_ids, step)) for step in steps]
        found = {
            (resource_id, step): reading
            for step, by_resource in readings
            for resource_id, reading in by_resource.items()
            if isinstance(reading, Reading)
        }
        awaited = any(by_resource.get(one) is None for _, by_resource in readings for one in resource_ids)
        make = self._green_button if quantity is Quantity.GREEN_BUTTON else _usage
        return _Built(
            intervals=tuple(make(wanted, steps, found)),
            resource_ids=tuple(one for one in resource_ids if any(resource_id == one for resource_id, _ in found)),
            complete=not awaited,
        )

    async def _status(self, request: StoredRequest, wanted: Sequence[Channel], period: Interval) -> _Built:
        """How things are now, at the end of the period; of one long over nobody knows any more."""
        slack_s = max(float(request.granularity_s), self._settings.report_lateness_s)
        if self._clock.now() >= period.end + timedelta(seconds=slack_s):
            return _Built(intervals=(), resource_ids=(), complete=True)
        states = await self._source.state([channel.resource_id for channel in wanted])
        payloads = tuple(
            ReportPayload(channel.rid, _status_of(states[channel.resource_id]))
            for channel in wanted
            if channel.resource_id in states
        )
        interval = ReportInterval(start=period.start, duration_s=period.duration_s, payloads=payloads)
        return _Built(intervals=(interval,) if payloads else (), resource_ids=tuple(states), complete=True)

    def _green_button(
        self, wanted: Sequence[Channel], steps: Sequence[Interval], found: dict[tuple[str, Interval], Reading]
    ) -> Iterator[ReportInterval]:
        for channel in wanted:
            readings = [
                EnergyReading(interval=step, kw=reading.kw, quality=reading.quality)
                for step in steps
                if (reading := found.get((channel.resource_id, step))) is not None
            ]
            for first in range(0, len(readings), READINGS_PER_FEED):
                part = readings[first : first + READINGS_PER_FEED]
                yield ReportInterval(
                    start=part[0].interval.start,
                    duration_s=(part[-1].interval.end - part[0].interval.start).total_seconds(),
                    uid=channel.rid,
                    green_button=feed(channel.resource_id, part, self._clock.now()),
                )

    def _payload(self, request: StoredRequest, intervals: Sequence[ReportInterval]) -> bytes:
        registration = self._journal.registrations.of(self._key)
        assert registration is not None, "a report request cannot outlive its registration"
        start = intervals[0].start
        assert start is not None
        ends = max(one.start + timedelta(seconds=one.duration_s or 0) for one in intervals if one.start is not None)
        report = Report(
            specifier_id=request.specifier_id,
            request_id=request.report_request_id,
            created_at=self._clock.now(),
            name=SPECIFIERS[request.specifier_id].value,
            report_id=f"{request.report_request_id}:{start:%Y%m%dT%H%M%SZ}",
            start=start,
            duration_s=(ends - start).total_seconds(),
            intervals=tuple(intervals),
        )
        return encode(UpdateReport(request_id=str(uuid4()), reports=(report,), ven_id=registration.ven_id))

    def _facts(self, period: Interval, built: _Built) -> dict[str, object]:
        return {
            "start": period.start.isoformat(),
            "end": period.end.isoformat(),
            "resource_ids": "\n".join(built.resource_ids),
        }

    def _pause_s(self, blocked_s: float) -> float:
        """How long there is nothing to build, nor to deliver once ``blocked_s`` are over. Unit: s."""
        now = self._clock.now()
        periods = [request.period() for request in self._requests()]
        due = [(period.end - now).total_seconds() for period in periods if period is not None]
        soonest_s = min([LONGEST_PAUSE_S, *due])
        if soonest_s <= 0:
            soonest_s = INCOMPLETE_RETRY_S
        return min(soonest_s, blocked_s) if blocked_s > 0 else soonest_s


def _apart(intervals: Sequence[ReportInterval]) -> Sequence[ReportInterval]:
    """The same with one rID an interval."""
    found: list[ReportInterval] = []
    for interval in intervals:
        if len(interval.payloads) > 1:
            found.extend(replace(interval, payloads=(payload,)) for payload in interval.payloads)
        else:
            found.append(interval)
    return found


def _parts(intervals: Sequence[ReportInterval]) -> Iterator[Sequence[ReportInterval]]:
    """What goes into one message each."""
    part: list[ReportInterval] = []
    size = 0
    for interval in intervals:
        weight = len(interval.green_button or b"") + BYTES_PER_PAYLOAD * len(interval.payloads)
        if part and (len(part) == INTERVALS_PER_MESSAGE or size + weight > BYTES_PER_MESSAGE):
            yield part
            part, size = [], 0
        part.append(interval)
        size += weight
    if part:
        yield part


def _usage(
    wanted: Sequence[Channel], steps: Sequence[Interval], found: dict[tuple[str, Interval], Reading]
) -> Iterator[ReportInterval]:
    for step in steps:
        payloads = tuple(
            ReportPayload(channel.rid, _value(channel, reading, step), DATA_QUALITY[reading.quality])
            for channel in wanted
            if (reading := found.get((channel.resource_id, step))) is not None
        )
        if payloads:
            yield ReportInterval(start=step.start, duration_s=step.duration_s, payloads=payloads)


def _value(channel: Channel, reading: Reading, step: Interval) -> float:
    return energy_kwh(reading.kw, step.duration_s) if channel.quantity is Quantity.ENERGY else reading.kw


def _status_of(state: ResourceState) -> ResourceStatus:
    capacity = None if state.kw is None else LoadControlValue(current=state.kw, min=0.0, max=state.max_kw)
    return ResourceStatus(online=state.online, manual_override=state.manual_override, capacity=capacity)
