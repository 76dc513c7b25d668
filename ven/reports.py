"""EiReport, the asking half: what we can measure is offered, what the VTN asks for is taken on or refused.

Each request has a life of its own: granularity, back duration, start, end, cancel. A telemetry request is served on
whole boundaries of its granularity from its start or now on; a history request over the time it names; one without
back duration once. What is taken on is served by ``ven.report_data``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog

from grid.clock import Clock
from grid.intervals import EPOCH, ceil_to, floor_to
from ven.channels import SPECIFIERS, channels, metadata
from ven.config import ReportName, VenSettings
from ven.errors import VtnError, WireError
from ven.exchange import Exchange, acknowledged, check
from ven.journal import VenJournal
from ven.records import Registration, StoredRequest
from ven.wire.common import INVALID_ID, OK, REPORT_NOT_SUPPORTED, EiResponse, Period
from ven.wire.payload import encode
from ven.wire.report import (
    METADATA,
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    ReportRequest,
)

INTERVALS_MAX = 100_000
"""Of one report; a day of seconds has 86,400."""
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
HISTORIES = (ReportName.HISTORY_USAGE, ReportName.HISTORY_GREENBUTTON)


class ReportDesk:
    """The report requests of one VEN."""

    def __init__(
        self,
        settings: VenSettings,
        journal: VenJournal,
        exchange: Exchange,
        clock: Clock,
        asked: Callable[[], None],
    ) -> None:
        """``asked`` is called when there is more, or less, to serve."""
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._exchange = exchange
        self._clock = clock
        self._asked = asked
        self._channels = channels(settings)
        self._offer = repr(self._channels)
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    async def offer(self, registration: Registration) -> None:
        """Register our reports unless the VTN has this very offer. Raises what ``Exchange.ask`` raises."""
        if not self._channels or self._journal.reports.offer(self._key) == self._offer:
            return
        answer = await self._exchange.ask(self._registration_of_reports(registration, None))
        if not isinstance(answer, RegisteredReport):
            raise WireError("the VTN answered oadrRegisterReport with something else")
        check(answer.response)
        requests = [self._stored(request, answer.response.request_id) for request in answer.requests]
        self._journal.reports.record_offer(self._key, self._offer, requests)
        self._log.info("reports registered", requested=len(requests))
        self._serve(requests, registration)
        self._asked()

    def requested(self, message: CreateReport, registration: Registration, *, owe: bool) -> CreatedReport:
        """The VTN asks for data; returns the reply, which ``confirm`` sends where it is owed."""
        requests = [self._stored(request, message.request_id) for request in message.requests]
        self._journal.reports.record_requests(self._key, requests)
        reply = self._created(requests, message.request_id, registration)
        if not owe:
            self._journal.reports.confirm(self._key, [request.report_request_id for request in requests])
        self._serve(requests, registration)
        self._asked()
        return reply

    def asked_with_registration(self, message: RegisteredReport, registration: Registration) -> None:
        """The VTN took metadata it had asked for, and asks for data at once."""
        requests = [self._stored(request, message.response.request_id) for request in message.requests]
        self._journal.reports.record_requests(self._key, requests)
        self._serve(requests, registration)
        self._asked()

    async def confirm(self, registration: Registration) -> None:
        """Send the oadrCreatedReports that are owed; one refused for good is not repeated.

        Raises what else ``Exchange.ask`` raises.
        """
        self._serve(self._journal.reports.active(self._key), registration)
        unconfirmed = self._journal.reports.unconfirmed(self._key)
        for message_id in dict.fromkeys(request.message_id for request in unconfirmed):
            asked = [request for request in unconfirmed if request.message_id == message_id]
            try:
                acknowledged(await self._exchange.ask(self._created(asked, message_id, registration)))
            except VtnError as error:
                if not error.permanent:
                    raise
                self._log.error("the VTN refused oadrCreatedReport", message_id=message_id, why=str(error))
            self._journal.reports.confirm(self._key, [request.report_request_id for request in asked])

    def cancelled(self, message: CancelReport, registration: Registration, *, owe: bool) -> CanceledReport:
        """The VTN wants no more of these; returns the reply, owed where ``owe`` says so.

        One that ended already is as good as cancelled: a VTN repeats itself when it missed our reply.
        """
        active = {request.report_request_id: request for request in self._journal.reports.active(self._key)}
        known = self._journal.reports.known(self._key)
        unknown = [one for one in message.report_request_ids if one not in known]
        ended = [one for one in message.report_request_ids if one in active]
        pending = tuple(one for one in active if one not in ended)
        response = EiResponse(request_id=message.request_id)
        if unknown:
            response = EiResponse(
                code=INVALID_ID,
                description=f"there is no request {', '.join(unknown)}",
                request_id=message.request_id,
            )
        reply = CanceledReport(response=response, pending=pending, ven_id=registration.ven_id)
        until = None
        if message.report_to_follow:
            step_s = min((active[one].granularity_s for one in ended), default=1)
            until = floor_to(self._clock.now(), step_s)
        owed = (message.request_id, encode(reply)) if owe else None
        self._journal.reports.end(self._key, ended, until, owed)
        self._log.info("report requests cancelled", ended=ended)
        self._asked()
        return reply

    # --- one request

    def _created(self, asked: Sequence[StoredRequest], message_id: str, registration: Registration) -> CreatedReport:
        refusals = [request.refusal for request in asked if request.refusal is not None]
        response = EiResponse(
            code=REPORT_NOT_SUPPORTED if refusals else OK,
            description="; ".join(refusals) or "OK",
            request_id=message_id,
        )
        pending = tuple(request.report_request_id for request in self._journal.reports.active(self._key))
        return CreatedReport(response=response, pending=pending, ven_id=registration.ven_id)

    def _serve(self, requests: Sequence[StoredRequest], registration: Registration) -> None:
        """Owe the metadata that requests ask for; data comes when it is due."""
        for request in requests:
            if request.specifier_id == METADATA:
                message = self._registration_of_reports(registration, request.report_request_id)
                self._journal.reports.record_metadata(self._key, request.report_request_id, encode(message))

    def _registration_of_reports(self, registration: Registration, report_request_id: str | None) -> RegisterReport:
        return RegisterReport(
            request_id=str(uuid4()),
            reports=metadata(self._settings, self._clock.now()),
            ven_id=registration.ven_id,
            report_request_id=report_request_id,
        )

    def _stored(self, request: ReportRequest, message_id: str) -> StoredRequest:
        """The request as we will serve it, or with why not."""
        step_s = math.ceil(request.granularity_s) or math.ceil(self._settings.report_granularity_min_s)
        back_s = math.ceil(request.back_duration_s / step_s) * step_s
        start = self._clock.now()
        until: datetime | None = start
        refusal = self._refusal(request, step_s)
        if refusal is None:
            serve = self._history if SPECIFIERS.get(request.specifier_id) in HISTORIES else self._telemetry
            start, until, back_s = serve(request, step_s, back_s)
            refusal = _refusal_of_time(request, start, until, step_s, back_s)
        return StoredRequest(
            report_request_id=request.request_id,
            message_id=message_id,
            specifier_id=request.specifier_id,
            rids=request.rids,
            granularity_s=step_s,
            back_duration_s=back_s,
            next_start=start,
            until=until,
            refusal=refusal,
        )

    def _telemetry(self, request: ReportRequest, step_s: int, back_s: int) -> tuple[datetime, datetime | None, int]:
        """From now, or later, on; over and over, or once where there is no back duration."""
        now = self._clock.now()
        asked = now if request.period is None else request.period.start
        start = ceil_to(max(now, asked), step_s)
        until = None
        if request.period is not None and request.period.duration_s > 0:
            until = asked + timedelta(seconds=request.period.duration_s)
        if back_s == 0 and until is None:
            until = start + timedelta(seconds=step_s)
        return start, until, back_s

    def _history(self, request: ReportRequest, step_s: int, back_s: int) -> tuple[datetime, datetime | None, int]:
        """The time it names, or what lies behind by the back duration; once."""
        now = floor_to(self._clock.now(), step_s)
        if request.period is None or request.period.duration_s == 0:
            start = now - timedelta(seconds=back_s) if request.period is None else request.period.start
            return ceil_to(start, step_s), now, 0
        end = request.period.start + timedelta(seconds=request.period.duration_s)
        return ceil_to(request.period.start, step_s), floor_to(end, step_s), 0

    def _refusal(self, request: ReportRequest, step_s: int) -> str | None:
        if request.specifier_id == METADATA:
            return None
        offered = self._channels.get(request.specifier_id)
        if offered is None:
            return f"there is no report {request.specifier_id}"
        known = {channel.rid for channel in offered}
        unknown = [rid for rid in request.rids if rid not in known]
        low_s, high_s = self._settings.report_granularity_min_s, self._settings.report_granularity_max_s
        if unknown:
            return f"there is no rID {', '.join(unknown)}"
        if request.back_duration_s < 0 or not _reckonable(request.period):
            return f"the times of {request.request_id} cannot be meant"
        if request.granularity_s % 1 or not low_s <= step_s <= high_s:
            return f"granularity is whole seconds from {low_s:g} to {high_s:g}, not {request.granularity_s:g}"
        return None


def _reckonable(period: Period | None) -> bool:
    return period is None or (EPOCH <= period.start <= LATEST and period.duration_s >= 0)


def _refusal_of_time(
    request: ReportRequest, start: datetime, until: datetime | None, step_s: int, back_s: int
) -> str | None:
    """Why no report can be made of the time that is asked about."""
    if until is not None and start >= until and request.specifier_id != METADATA:
        return f"{request.request_id} names no time that a report of it could be about"
    once_s = back_s if back_s or until is None else (until - start).total_seconds()
    if once_s > INTERVALS_MAX * step_s:
        return f"a report has at most {INTERVALS_MAX:,} intervals: ask for less at a time, or in longer steps"
    return None
