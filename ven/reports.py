"""EiReport: what we can measure is offered, what the VTN asks for is sent, on whole grid boundaries.

A report covers ``[k x back duration)`` from its request's first boundary. It is built once no reading of it can come
any more, or after the enrolment's lateness, without those that are missing (an absent rID; never filled, never zero),
and journalled as the bytes to send; delivery is oldest first and a repeated message is the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import structlog

from grid.clock import Clock
from grid.intervals import Interval, ceil_to
from ven.backoff import Backoff
from ven.config import VenSettings
from ven.errors import VenError, VtnError, WireError
from ven.exchange import Exchange, check
from ven.journal import VenJournal
from ven.ports import Missing, ReportSource, VenObserver
from ven.records import OwedUpdate, Registration, StoredRequest
from ven.waiting import Alarm
from ven.wire.codec import encode
from ven.wire.messages import (
    OK,
    REPORT_NOT_SUPPORTED,
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    EiResponse,
    PowerChannel,
    RegisteredReport,
    RegisterReport,
    ReportPoint,
    ReportRequest,
    Service,
    UpdatedReport,
    UpdateReport,
)

SPECIFIER_ID = "telemetry-usage"
"""reportSpecifierID of the one report we offer."""
INCOMPLETE_RETRY_S = 0.5
"""How often a report that waits for readings is looked at."""
LONGEST_PAUSE_S = 60.0
BATCH = 20
"""Reports built before those owed are delivered, when catching up."""


class ReportDesk:
    """The reports of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        exchange: Exchange,
        source: ReportSource,
        observer: VenObserver,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._exchange = exchange
        self._source = source
        self._observer = observer
        self._clock = clock
        self._alarm = Alarm(clock)
        self._resources = {resource.rid: resource.resource_id for resource in settings.resources}
        self._log = structlog.get_logger().bind(enrolment_id=settings.enrolment_id)

    # --- what is offered and asked; called by the poll loop

    async def offer(self, registration: Registration) -> None:
        """Register our reports unless the VTN has this very offer. Raises what ``Exchange.ask`` raises."""
        channels = self._channels()
        offer = repr(channels)
        if self._journal.offer(self._key) == offer:
            return
        answer = await self._exchange.ask(
            RegisterReport(
                request_id=str(uuid4()),
                ven_id=registration.ven_id,
                specifier_id=SPECIFIER_ID,
                created_at=self._clock.now(),
                channels=channels,
            )
        )
        if not isinstance(answer, RegisteredReport):
            raise WireError("the VTN answered oadrRegisterReport with something else")
        check(answer.response)
        requests = [self._stored(request, answer.response.request_id) for request in answer.requests]
        self._journal.record_offer(self._key, offer, requests)
        self._log.info("reports registered", requested=len(requests))
        self._alarm.ring()

    def requested(self, message: CreateReport) -> None:
        """The VTN asks for data; ``confirm`` answers."""
        self._journal.record_requests(
            self._key, [self._stored(request, message.request_id) for request in message.requests]
        )
        self._alarm.ring()

    async def confirm(self, registration: Registration) -> None:
        """Send the oadrCreatedReports that are owed. Raises what ``Exchange.ask`` raises."""
        unconfirmed = self._journal.unconfirmed_requests(self._key)
        pending = tuple(request.report_request_id for request in self._journal.active_requests(self._key))
        for message_id in dict.fromkeys(request.message_id for request in unconfirmed):
            asked = [request for request in unconfirmed if request.message_id == message_id]
            refusals = [request.refusal for request in asked if request.refusal is not None]
            response = EiResponse(
                code=REPORT_NOT_SUPPORTED if refusals else OK,
                description="; ".join(refusals) or "OK",
                request_id=message_id,
            )
            await self._exchange.ask(CreatedReport(ven_id=registration.ven_id, response=response, pending=pending))
            self._journal.confirm_requests(self._key, [request.report_request_id for request in asked])

    async def cancelled(self, message: CancelReport, ven_id: str) -> None:
        """The VTN wants no more of these; say so. Raises what ``Exchange.ask`` raises."""
        self._journal.end_requests(self._key, message.report_request_ids)
        pending = tuple(request.report_request_id for request in self._journal.active_requests(self._key))
        response = EiResponse(code=OK, description="OK", request_id=message.request_id)
        await self._exchange.ask(CanceledReport(ven_id=ven_id, response=response, pending=pending))

    # --- what is delivered; a task of its own

    async def run(self) -> None:
        """Build and deliver until cancelled."""
        backoff = Backoff()
        not_before_s = self._clock.monotonic()
        while True:
            more = await self._build_due()
            if self._clock.monotonic() >= not_before_s:
                try:
                    await self._deliver()
                    backoff.reset()
                except VenError as error:
                    # The poll loop meets the same trouble, tells it and cures it; here it only means: later.
                    self._log.info("report data is kept", why=str(error), owed=self._journal.owed_updates(self._key))
                    not_before_s = self._clock.monotonic() + backoff.next_s()
            await self._alarm.wait(0.0 if more else self._pause_s(not_before_s - self._clock.monotonic()))

    def _channels(self) -> tuple[PowerChannel, ...]:
        return tuple(
            PowerChannel(
                rid=resource.rid,
                resource_id=resource.resource_id,
                min_period_s=math.ceil(self._settings.report_granularity_min_s),
                max_period_s=math.floor(self._settings.report_granularity_max_s),
            )
            for resource in self._settings.resources
        )

    def _stored(self, request: ReportRequest, message_id: str) -> StoredRequest:
        """The request as we will serve it, or with why not."""
        granularity_s = math.ceil(request.granularity_s) or math.ceil(self._settings.report_granularity_min_s)
        now = self._clock.now()
        start = ceil_to(max(now, request.start or now), granularity_s)
        until = None
        if request.duration_s is not None:
            until = (request.start or start) + timedelta(seconds=request.duration_s)
        return StoredRequest(
            report_request_id=request.report_request_id,
            message_id=message_id,
            specifier_id=request.specifier_id,
            rids=request.rids or tuple(self._resources),
            granularity_s=granularity_s,
            back_duration_s=granularity_s * max(1, math.ceil(request.back_duration_s / granularity_s)),
            next_start=start,
            until=until,
            refusal=self._refusal(request, granularity_s),
        )

    def _refusal(self, request: ReportRequest, granularity_s: int) -> str | None:
        unknown = [rid for rid in request.rids if rid not in self._resources]
        low_s, high_s = self._settings.report_granularity_min_s, self._settings.report_granularity_max_s
        if request.specifier_id != SPECIFIER_ID:
            return f"there is no report {request.specifier_id}"
        if unknown:
            return f"there is no rID {', '.join(unknown)}"
        if request.granularity_s % 1 or not low_s <= granularity_s <= high_s:
            return f"granularity is whole seconds from {low_s:g} to {high_s:g}, not {request.granularity_s:g}"
        return None

    async def _build_due(self) -> bool:
        """Journal every report that is due and ready; returns whether more are ready than one batch."""
        for request in self._journal.active_requests(self._key):
            for _ in range(BATCH):
                period = Interval.lasting(request.next_start, request.back_duration_s)
                if self._clock.now() < period.end or not await self._build(request, period):
                    break
                request = replace(request, next_start=period.end)
            else:
                return True
        return False

    async def _build(self, request: StoredRequest, period: Interval) -> bool:
        """Journal the report over ``period``; False when it still waits for readings."""
        points: list[ReportPoint] = []
        wanted = {rid: self._resources[rid] for rid in request.rids if rid in self._resources}
        awaited = False
        for step in period.steps(request.granularity_s):
            readings = await self._source.read(list(wanted.values()), step)
            for rid, resource_id in wanted.items():
                reading = readings.get(resource_id)
                if reading is None:
                    awaited = True
                    continue
                if isinstance(reading, Missing):
                    continue
                points.append(
                    ReportPoint(
                        rid=rid,
                        start=step.start,
                        duration_s=request.granularity_s,
                        kw=reading.kw,
                        quality=reading.quality,
                    )
                )
        late = self._clock.now() >= period.end + timedelta(seconds=self._settings.report_lateness_s)
        if awaited and not late:
            return False
        self._journal.record_update(
            self._key,
            request.report_request_id,
            period,
            [wanted[rid] for rid in dict.fromkeys(point.rid for point in points)],
            self._payload(request, period, points) if points else None,
        )
        return True

    def _payload(self, request: StoredRequest, period: Interval, points: list[ReportPoint]) -> bytes:
        registration = self._journal.registration(self._key)
        assert registration is not None, "a report request cannot outlive its registration"
        return encode(
            UpdateReport(
                request_id=str(uuid4()),
                ven_id=registration.ven_id,
                report_id=f"{request.report_request_id}:{period.start:%Y%m%dT%H%M%SZ}",
                report_request_id=request.report_request_id,
                specifier_id=request.specifier_id,
                created_at=self._clock.now(),
                points=tuple(points),
            )
        )

    async def _deliver(self) -> None:
        """Send what is owed, oldest first. Raises at the first message the VTN did not take."""
        while (update := self._journal.oldest_update(self._key)) is not None:
            try:
                answer = await self._exchange.ask_encoded(Service.REPORT, update.payload)
                if not isinstance(answer, UpdatedReport):
                    raise WireError("the VTN answered oadrUpdateReport with something else")
                check(answer.response)
            except VtnError as error:
                if not error.permanent:
                    raise
                self._log.error("the VTN refused report data", start=update.interval.start, why=str(error))
                self._journal.settle_update(update.seq)
                continue
            await self._acknowledged(update, answer)

    async def _acknowledged(self, update: OwedUpdate, answer: UpdatedReport) -> None:
        await self._observer.report_acknowledged(
            enrolment_id=self._key,
            interval=update.interval,
            resource_ids=update.resource_ids,
            at=self._clock.now(),
        )
        self._journal.settle_update(update.seq)
        registration = self._journal.registration(self._key)
        if answer.cancel is not None and registration is not None:
            await self.cancelled(answer.cancel, registration.ven_id)

    def _pause_s(self, blocked_s: float) -> float:
        """How long there is nothing to build, nor to deliver once ``blocked_s`` are over. Unit: s."""
        now = self._clock.now()
        due = [
            (request.next_start - now).total_seconds() + request.back_duration_s
            for request in self._journal.active_requests(self._key)
        ]
        soonest_s = min([LONGEST_PAUSE_S, *due])
        if soonest_s <= 0:
            soonest_s = INCOMPLETE_RETRY_S
        return min(soonest_s, blocked_s) if blocked_s > 0 else soonest_s
