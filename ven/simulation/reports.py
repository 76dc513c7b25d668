"""EiReport at the VTN: offers, requests with their lives, and data.

A request lives until its oadrCancelReport is confirmed, or the VEN registers its reports anew of its own accord. A
value is held once by (reportRequestID, rID, dtstart) and acknowledged after it is committed; late data of a request
that ended is still taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from grid.clock import Clock
from ven.simulation.config import VtnSettings
from ven.simulation.errors import CallError, ProtocolError, UnknownError
from ven.simulation.journal import Journal
from ven.simulation.mailbox import Mailbox, new_id
from ven.simulation.offers import Offer
from ven.simulation.received import held_intervals
from ven.simulation.records import HeldInterval, RequestRecord, RequestState, VenRecord
from ven.wire.common import INVALID_ID, EiResponse, Period
from ven.wire.party import Response
from ven.wire.report import (
    METADATA,
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    Report,
    ReportRequest,
    SpecifierPayload,
    UpdatedReport,
    UpdateReport,
)

_CANCELLING = (RequestState.CANCELLING, RequestState.CANCELLING_WITH_UPDATE)
_LIVE = (RequestState.ASKED, RequestState.PENDING)


class Reports:
    """The reports of every VEN."""

    def __init__(self, settings: VtnSettings, journal: Journal, mailbox: Mailbox, clock: Clock) -> None:
        self._settings = settings
        self._journal = journal
        self._mailbox = mailbox
        self._clock = clock
        self._offers: dict[str, Offer] = {}
        self._log = structlog.get_logger()

    # --- what VENs say

    def registered(self, message: RegisterReport, ven: VenRecord) -> RegisteredReport:
        """Keep the offer. Unless we asked for the metadata, former requests end and new ones ride along."""
        self._journal.put_offer(ven.ven_id, message)
        offer = self._offers[ven.ven_id] = Offer.of(message)
        requests: list[ReportRequest] = []
        if not self._is_of_ours(message, ven):
            self.end_all(ven)
            if self._settings.request_reports:
                requests = self._telemetry(offer)
        for request in requests:
            self._keep(ven, request)
        self._log.info("reports registered", ven_id=ven.ven_id, rids=len(offer.rids), requests=len(requests))
        return RegisteredReport(
            response=EiResponse(request_id=message.request_id), requests=tuple(requests), ven_id=ven.ven_id
        )

    def created(self, message: CreatedReport, ven: VenRecord) -> Response:
        """Which requests are pending, by the VEN."""
        self._mailbox.answered(ven.ven_id, message.response.request_id)
        for record in self._journal.requests_of(ven.ven_id, (RequestState.ASKED,)):
            if record.request.request_id in message.pending:
                self._journal.put_request(replace(record, state=RequestState.PENDING))
        if message.pending and ven.reports_created_at is None:
            self._journal.put_ven(replace(ven, reports_created_at=self._clock.now()))
        return Response(response=EiResponse(request_id=message.response.request_id), ven_id=ven.ven_id)

    def canceled(self, message: CanceledReport, ven: VenRecord) -> Response:
        """Which requests are pending after a cancel."""
        self._mailbox.answered(ven.ven_id, message.response.request_id)
        for record in self._journal.requests_of(ven.ven_id, _CANCELLING):
            if record.request.request_id not in message.pending:
                self._journal.put_request(replace(record, state=RequestState.ENDED))
        return Response(response=EiResponse(request_id=message.response.request_id), ven_id=ven.ven_id)

    def updated(self, message: UpdateReport, ven: VenRecord) -> UpdatedReport:
        """Store data. Raises ProtocolError, and nothing of the message is stored then."""
        self._journal.put_intervals([held for report in message.reports for held in self._held(report, ven)])
        return UpdatedReport(
            response=EiResponse(request_id=message.request_id), cancel=self._riding_cancel(ven), ven_id=ven.ven_id
        )

    # --- what the operator asks

    def offer(self, ven_id: str) -> Offer:
        """What the VEN can report."""
        if ven_id not in self._offers:
            message = self._journal.offer(ven_id)
            self._offers[ven_id] = Offer() if message is None else Offer.of(message)
        return self._offers[ven_id]

    def resources(self, ven_id: str) -> dict[str, str]:
        """Resource by rID, of the power we ask for."""
        return self.offer(ven_id).resources(self._settings.report_interval_s)

    def all_requests(self) -> list[RequestRecord]:
        return self._journal.requests()

    def request(
        self,
        ven: VenRecord,
        *,
        specifier_id: str,
        rids: Sequence[str],
        granularity_s: float,
        back_duration_s: float,
        period: Period | None,
    ) -> ReportRequest:
        """Ask for data; without ``rids`` all of the report. METADATA asks for the offer.

        Raises CallError, and WireError where the schema does not take it.
        """
        found = rids or [one.rid for one in self.offer(ven.ven_id).rids if one.specifier_id == specifier_id]
        if specifier_id == METADATA:
            found = found or [METADATA]
        if not found:
            raise CallError(f"{ven.ven_name} offers no report {specifier_id}: see GET /offers")
        request = ReportRequest(
            request_id=new_id("request"),
            specifier_id=specifier_id,
            granularity_s=granularity_s,
            back_duration_s=back_duration_s,
            payloads=tuple(self._payload(ven, specifier_id, rid) for rid in found),
            period=period,
        )
        self._keep(ven, request)
        self._mailbox.put(ven.ven_id, CreateReport(request_id=new_id("create"), requests=(request,), ven_id=ven.ven_id))
        return request

    def cancel(self, report_request_id: str, *, with_update: bool, report_to_follow: bool) -> RequestRecord:
        """End a request by poll, or inside the answers to its data. Raises UnknownError, CallError."""
        record = self._journal.request(report_request_id)
        if record is None:
            raise UnknownError(f"there is no report request {report_request_id}")
        if record.state is RequestState.ENDED:
            raise CallError(f"the report request {report_request_id} ended already")
        state = RequestState.CANCELLING_WITH_UPDATE if with_update else RequestState.CANCELLING
        cancelled = replace(record, state=state)
        self._journal.put_request(cancelled)
        if not with_update:
            self._mailbox.put(
                record.ven_id,
                CancelReport(
                    request_id=new_id("cancel"),
                    report_request_ids=(report_request_id,),
                    report_to_follow=report_to_follow,
                    ven_id=record.ven_id,
                ),
            )
        return cancelled

    def end_all(self, ven: VenRecord) -> None:
        """Nothing is asked of the VEN any more."""
        for record in self._journal.requests_of(ven.ven_id, (*_LIVE, *_CANCELLING)):
            self._journal.put_request(replace(record, state=RequestState.ENDED))

    # ---

    def _is_of_ours(self, message: RegisterReport, ven: VenRecord) -> bool:
        """Whether it answers our request for metadata, which may be named or not; also when it comes again."""
        named = self._journal.request(message.report_request_id or "")
        if named is not None and named.ven_id == ven.ven_id and named.request.specifier_id == METADATA:
            self._journal.put_request(replace(named, state=RequestState.ENDED))
            return True
        for record in self._journal.requests_of(ven.ven_id, _LIVE):
            of_metadata = record.request.specifier_id == METADATA
            if of_metadata and message.report_request_id in (None, "0", record.request.request_id):
                self._journal.put_request(replace(record, state=RequestState.ENDED))
                return True
        return False

    def _telemetry(self, offer: Offer) -> list[ReportRequest]:
        interval_s = float(self._settings.report_interval_s)
        by_specifier: dict[str, list[SpecifierPayload]] = {}
        for one in offer.telemetry(interval_s):
            payload = SpecifierPayload(
                rid=one.rid, reading_type=one.description.reading_type, measure=one.description.measure
            )
            by_specifier.setdefault(one.specifier_id, []).append(payload)
        return [
            ReportRequest(
                request_id=new_id("request"),
                specifier_id=specifier_id,
                granularity_s=interval_s,
                back_duration_s=interval_s,
                payloads=tuple(payloads),
            )
            for specifier_id, payloads in by_specifier.items()
        ]

    def _payload(self, ven: VenRecord, specifier_id: str, rid: str) -> SpecifierPayload:
        offered = self.offer(ven.ven_id).find(specifier_id, rid)
        if offered is None:
            return SpecifierPayload(rid=rid)
        return SpecifierPayload(
            rid=rid, reading_type=offered.description.reading_type, measure=offered.description.measure
        )

    def _keep(self, ven: VenRecord, request: ReportRequest) -> None:
        self._journal.put_request(
            RequestRecord(ven_id=ven.ven_id, request=request, state=RequestState.ASKED, asked_at=self._clock.now())
        )

    def _riding_cancel(self, ven: VenRecord) -> CancelReport | None:
        found = self._journal.requests_of(ven.ven_id, (RequestState.CANCELLING_WITH_UPDATE,))
        riding = [record.request.request_id for record in found]
        if not riding:
            return None
        return CancelReport(request_id=new_id("cancel"), report_request_ids=tuple(riding), ven_id=ven.ven_id)

    def _held(self, report: Report, ven: VenRecord) -> Iterator[HeldInterval]:
        record = self._journal.request(report.request_id)
        if record is None or record.ven_id != ven.ven_id:
            raise ProtocolError(INVALID_ID, f"no report request {report.request_id} was made of {ven.ven_id}")
        return held_intervals(report, record, self.offer(ven.ven_id), self._clock.now())
