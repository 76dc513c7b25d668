"""EiReport: offers, requests and their lives, data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.ven.simulation.conftest import Domain, Serve, metadata
from tests.ven.simulation.raw_ven import CLOCK, RawVen
from ven.wire.common import INVALID_DATA, INVALID_ID, REPORT_NOT_SUPPORTED, EiResponse, Measure, Period
from ven.wire.event import DistributeEvent
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
    ReportInterval,
    ReportPayload,
    ReportRequest,
    ResourceStatus,
    SamplingRate,
    UpdatedReport,
    UpdateReport,
)

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


async def registered(ven: RawVen, *rids: str) -> ReportRequest:
    """Registers the VEN and its reports, and creates what is asked for."""
    await ven.register()
    answer = await ven.ask(metadata(*rids, ven_id=ven.ven_id), RegisteredReport)
    (request,) = answer.requests
    await created(ven, request.request_id)
    return request


async def created(ven: RawVen, *pending: str, request_id: str = "") -> None:
    message = CreatedReport(response=EiResponse(request_id=request_id), pending=pending, ven_id=ven.ven_id)
    assert (await ven.ask(message, Response)).response.ok


def data(ven: RawVen, request_id: str, *values: tuple[str, int, float], quality: str | None = None) -> UpdateReport:
    """rID, start in seconds after START, and kW; 10 s each."""
    intervals = tuple(
        ReportInterval(
            start=START + timedelta(seconds=start_s),
            duration_s=10.0,
            payloads=(ReportPayload(rid, value, quality),),
        )
        for rid, start_s, value in values
    )
    report = Report(specifier_id="usage", request_id=request_id, created_at=START, intervals=intervals)
    return UpdateReport(request_id="update", reports=(report,), ven_id=ven.ven_id)


async def test_every_power_that_can_be_had_in_time_is_asked_for(domain: Domain, serve: Serve) -> None:
    async with serve(report_interval_s=10) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        slow = metadata("slow", sampling=SamplingRate(min_period_s=60.0, max_period_s=60.0)).reports[0]
        fast = metadata("a", "b").reports[0]
        energy = replace(fast.descriptions[0], rid="c", measure=Measure(name="energyReal", units="Wh", si_scale="k"))
        volts = replace(fast.descriptions[0], rid="d", measure=Measure(name="voltage", units="V"))
        reports = (
            replace(fast, descriptions=(*fast.descriptions, *slow.descriptions, energy, volts)),
            replace(fast, specifier_id="history", name="METADATA_HISTORY_USAGE"),
        )
        answer = await ven.ask(RegisterReport(request_id="1", reports=reports, ven_id=ven.ven_id), RegisteredReport)
        (request,) = answer.requests
        assert (answer.response.request_id, answer.ven_id) == ("1", ven.ven_id)
        assert (request.specifier_id, request.rids) == ("usage", ("a", "b", "c"))
        assert (request.granularity_s, request.back_duration_s) == (10.0, 10.0)
        assert (await utility.get("/registrations"))[0]["reports_registered"] is False
        await created(ven, request.request_id)
        (row,) = await utility.get("/registrations")
        assert row["resources"] == ["a-resource", "b-resource"], "power counts where energy is offered besides"
        assert row["reports_registered"] is True
        assert row["reports_created_at"] is not None
        offers = (await utility.get("/offers"))["ven-a"]
        assert [(one["specifier_id"], one["rid"]) for one in offers][-2:] == [("history", "a"), ("history", "b")]


async def test_reports_may_be_left_unasked(domain: Domain, serve: Serve) -> None:
    async with serve(request_reports=False) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        answer = await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        assert answer.requests == ()
        assert await utility.get("/reports/requests") == []


async def test_each_value_is_held_once_and_what_comes_again_is_compared(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        request = await registered(ven, "a", "b")
        good = "Quality Good - Non Specific"
        first = data(ven, request.request_id, ("a", 0, 5.0), ("b", 0, 7.0), ("a", 10, 6.0), quality=good)
        for _ in range(2):
            answer = await ven.ask(first, UpdatedReport)
            assert (answer.response.code, answer.response.request_id) == (200, "update")
        await ven.ask(data(ven, request.request_id, ("a", 0, 5.5)), UpdatedReport)
        held = await utility.get("/intervals?ven=ven-a")
        rows = [
            (one["rid"], one["start"][-14:-6], one["value"], one["kw"], one["duplicates"], one["conflicts"])
            for one in held["intervals"]
        ]
        assert rows == [
            ("a", "12:00:00", 5.0, 5.0, 1, 1),
            ("a", "12:00:10", 6.0, 6.0, 1, 0),
            ("b", "12:00:00", 7.0, 7.0, 1, 0),
        ]
        assert (held["duplicates"], held["conflicts"]) == (3, 1)
        assert held["intervals"][0]["quality"] == good
        assert (await utility.get("/registrations"))[0]["duplicates"] == 4
        reports = (await utility.get("/reports"))["ven-a"]
        assert {rid: one["intervals"] for rid, one in reports.items()} == {"a": 2, "b": 1}
        assert reports["a"]["latest"] == (START + timedelta(seconds=10)).isoformat()


async def test_several_payloads_an_interval_statuses_energy_and_green_button(domain: Domain, serve: Serve) -> None:
    async with serve(request_reports=False) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        offer = metadata("a", "b", ven_id=ven.ven_id)
        energy = replace(offer.reports[0].descriptions[1], measure=Measure(name="energyReal", units="Wh", si_scale="k"))
        descriptions = (offer.reports[0].descriptions[0], energy)
        await ven.ask(replace(offer, reports=(replace(offer.reports[0], descriptions=descriptions),)), RegisteredReport)
        asked = await utility.do(
            "POST",
            "/reports/requests",
            {"ven_name": "ven-a", "specifier_id": "usage", "rids": ["a", "b", "s"], "granularity_s": 60},
        )
        status = ResourceStatus(online=True, manual_override=False)
        feed = b'<feed xmlns="http://www.w3.org/2005/Atom"></feed>'
        intervals = (
            ReportInterval(
                duration_s=60.0,
                payloads=(ReportPayload("a", 5.0), ReportPayload("b", 0.1), ReportPayload("s", status)),
            ),
            ReportInterval(duration_s=60.0, payloads=(ReportPayload("a", 6.0),)),
        )
        report = Report(
            specifier_id="usage",
            request_id=asked["report_request_id"],
            created_at=START,
            start=START,
            intervals=intervals,
        )
        message = UpdateReport(request_id="1", reports=(report,), ven_id=ven.ven_id)
        assert (await ven.ask(message, UpdatedReport)).response.ok
        held = (await utility.get("/intervals"))["intervals"]
        found = {(one["rid"], one["start"][-14:-6]): (one["value"], one["kw"]) for one in held}
        assert found["a", "12:00:00"] == (5.0, 5.0)
        assert found["a", "12:01:00"] == (6.0, 6.0)
        assert found["b", "12:00:00"] == (0.1, pytest.approx(6.0))
        value, kw = found["s", "12:00:00"]
        assert (value["online"], value["manual_override"], kw) == (True, False, None)
        green = replace(report, intervals=(ReportInterval(start=START, duration_s=60.0, green_button=feed),))
        assert (await ven.ask(replace(message, reports=(green,)), UpdatedReport)).response.ok
        held = (await utility.get("/intervals"))["intervals"]
        assert [one["value"] for one in held if one["rid"] == "greenButton"] == [feed.decode()]


@pytest.mark.parametrize(
    ("request_id", "rid", "start", "code"),
    [
        ("nobody's", "a", START, INVALID_ID),
        (None, "z", START, REPORT_NOT_SUPPORTED),
        (None, "a", None, INVALID_DATA),
    ],
)
async def test_data_that_cannot_be_placed_is_refused_whole(
    domain: Domain, serve: Serve, request_id: str | None, rid: str, start: datetime | None, code: int
) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        request = await registered(ven, "a")
        good = data(ven, request.request_id, ("a", 0, 1.0)).reports[0]
        bad = Report(
            specifier_id="usage",
            request_id=request_id or request.request_id,
            created_at=START,
            intervals=(ReportInterval(start=start, duration_s=10.0, payloads=(ReportPayload(rid, 1.0),)),),
        )
        message = UpdateReport(request_id="u", reports=(good, bad), ven_id=ven.ven_id)
        answer = await ven.ask(message, UpdatedReport)
        assert (answer.response.code, answer.response.request_id) == (code, "u")
        assert (await utility.get("/intervals"))["intervals"] == []


async def test_a_report_is_asked_for_and_cancelled_at_any_time(domain: Domain, serve: Serve) -> None:
    async with serve(request_reports=False, resend_s=1e-6) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await ven.ask(metadata("a", "b", ven_id=ven.ven_id), RegisteredReport)

        async def state() -> str:
            (row,) = await utility.get("/reports/requests")
            return str(row["state"])

        body = {
            "ven_name": ven.ven_id,
            "specifier_id": "usage",
            "granularity_s": 60,
            "back_duration_s": 300,
            "start": "2030-01-01T00:00:00Z",
            "duration_s": 3600,
        }
        asked = (await utility.do("POST", "/reports/requests", body))["report_request_id"]
        first = await ven.poll()
        message = await ven.poll()
        assert isinstance(message, CreateReport)
        assert first == message, "it is sent until it is answered"
        (request,) = message.requests
        assert (request.request_id, request.rids, request.specifier_id) == (asked, ("a", "b"), "usage")
        assert (request.granularity_s, request.back_duration_s) == (60.0, 300.0)
        assert request.period == Period(start=datetime(2030, 1, 1, tzinfo=UTC), duration_s=3600.0)
        assert request.payloads[0].measure is not None
        assert await state() == "asked"
        await created(ven, asked, request_id=message.request_id)
        assert await state() == "pending"
        assert isinstance(await ven.poll(), Response)
        await utility.do("DELETE", f"/reports/requests/{asked}?report_to_follow=true")
        assert await state() == "cancelling"
        cancel = await ven.poll()
        assert isinstance(cancel, CancelReport)
        assert (cancel.report_request_ids, cancel.report_to_follow) == ((asked,), True)
        canceled = CanceledReport(response=EiResponse(request_id=cancel.request_id), ven_id=ven.ven_id)
        assert (await ven.ask(canceled, Response)).response.ok
        assert await state() == "ended"
        assert isinstance(await ven.poll(), Response)
        late = data(ven, asked, ("a", 0, 1.0))
        assert (await ven.ask(late, UpdatedReport)).response.ok, "late data is still taken"
        for where, status in ((asked, 400), ("none", 404)):
            assert (await utility.ask("DELETE", f"/reports/requests/{where}"))[0] == status


async def test_a_cancel_rides_in_every_answer_to_data_until_it_is_confirmed(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        request = await registered(ven, "a")
        await utility.do("DELETE", f"/reports/requests/{request.request_id}?with_update=true")
        assert isinstance(await ven.poll(), Response)
        for start_s in (0, 10):
            answer = await ven.ask(data(ven, request.request_id, ("a", start_s, 1.0)), UpdatedReport)
            cancel = answer.cancel
            assert cancel is not None
            assert cancel.report_request_ids == (request.request_id,)
        assert cancel is not None
        canceled = CanceledReport(response=EiResponse(request_id=cancel.request_id), ven_id=ven.ven_id)
        await ven.ask(canceled, Response)
        answer = await ven.ask(data(ven, request.request_id, ("a", 20, 1.0)), UpdatedReport)
        assert answer.cancel is None


async def test_metadata_may_be_asked_for_again_and_ends_no_request(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        first = await registered(ven, "a")
        await utility.do("POST", "/reports/requests", {"ven_name": "ven-a", "specifier_id": METADATA})
        message = await ven.poll()
        assert isinstance(message, CreateReport)
        assert message.requests[0].specifier_id == METADATA
        await created(ven, first.request_id, request_id=message.request_id)
        offer = replace(metadata("a", "b", ven_id=ven.ven_id), report_request_id=message.requests[0].request_id)
        answer = await ven.ask(offer, RegisteredReport)
        assert answer.requests == ()
        by_id = {one["report_request_id"]: one["state"] for one in await utility.get("/reports/requests")}
        assert by_id == {first.request_id: "pending", message.requests[0].request_id: "ended"}
        assert len((await utility.get("/offers"))["ven-a"]) == 2


async def test_reports_registered_anew_end_the_former_requests(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        first = await registered(ven, "a")
        answer = await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        (second,) = answer.requests
        by_id = {one["report_request_id"]: one["state"] for one in await utility.get("/reports/requests")}
        assert by_id == {first.request_id: "ended", second.request_id: "asked"}


async def test_the_utility_has_no_reports_of_its_own(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        request = await registered(ven, "a")
        answer = await ven.ask(CreateReport(request_id="1", requests=(request,), ven_id=ven.ven_id), CreatedReport)
        assert answer.response.code == REPORT_NOT_SUPPORTED
        cancel = CancelReport(request_id="2", report_request_ids=("x",), ven_id=ven.ven_id)
        assert (await ven.ask(cancel, CanceledReport)).response.code == REPORT_NOT_SUPPORTED
        registered_reports = RegisteredReport(response=EiResponse(request_id="3"), ven_id=ven.ven_id)
        assert (await ven.ask(registered_reports, Response)).response.request_id == "3"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"ven_name": "nobody", "specifier_id": "usage"}, 404),
        ({"ven_name": "ven-a", "specifier_id": "none"}, 400),
        ({"ven_name": "ven-a", "specifier_id": "usage", "granularity_s": -1}, 400),
        ({"ven_name": "ven-a", "specifier_id": "usage", "granularity_s": 0.5}, 400),
    ],
)
async def test_a_report_that_cannot_be_asked_for(
    domain: Domain, serve: Serve, body: dict[str, object], status: int
) -> None:
    async with serve(request_reports=False) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        assert (await utility.ask("POST", "/reports/requests", body))[0] == status
        assert await utility.get("/reports/requests") == []


async def test_an_event_is_sized_from_reports_and_its_delivery_counted(domain: Domain, serve: Serve) -> None:
    async with serve(report_interval_s=1, release_s=1.0, baseline_s=3.0) as utility, utility.ven(domain.ven()) as ven:
        request = await registered(ven, "a", "b")
        call = {"ven_name": "ven-a", "share": 0.25, "lead_s": 1, "active_s": 2, "ramp_s": 1, "granularity_s": 1}
        body = {**call, "market_context": "http://x"}
        assert (await utility.ask("POST", "/events", body))[0] == 409
        assert (await utility.ask("POST", "/events", {**body, "ven_name": "nobody"}))[0] == 404
        assert (await utility.ask("POST", "/events", {**body, "share": 2}))[0] == 400
        now = CLOCK.now().replace(microsecond=0)

        async def report(first_s: int, last_s: int, kw: float) -> None:
            intervals = tuple(
                ReportInterval(
                    start=now + timedelta(seconds=start_s),
                    duration_s=1.0,
                    payloads=(ReportPayload("a", kw), ReportPayload("b", 50.0)),
                )
                for start_s in range(first_s, last_s)
            )
            report = Report(specifier_id="usage", request_id=request.request_id, created_at=now, intervals=intervals)
            message = UpdateReport(request_id="u", reports=(report,), ven_id=ven.ven_id)
            assert (await ven.ask(message, UpdatedReport)).response.ok

        await report(-5, 0, 100.0)
        event = await utility.do("POST", "/events", body)
        assert set(event) >= {"event_id", "ven_id", "dtstart", "requested_kw", "status"}
        assert event["requested_kw"] == pytest.approx(0.25 * 150.0)
        offered = await ven.poll()
        assert isinstance(offered, DistributeEvent)
        await ven.opt(offered)
        start_s = int((datetime.fromisoformat(event["dtstart"]) - now).total_seconds())
        await report(0, start_s, 100.0)
        await report(start_s, start_s + 3, 64.0)
        result = await utility.get(f"/deliveries/{event['event_id']}")
        assert result["intervals_received"] == result["intervals_expected"] > 0
        assert result["baseline_kw"] == pytest.approx(150.0)
        assert result["delivered_kwh"] == pytest.approx(36.0 / 3600.0)
        assert set(result["by_resource"]) == {"a-resource", "b-resource"}
        assert result["by_resource"]["a-resource"]["missing"] == []
        opts = (await utility.get(f"/events/{event['event_id']}"))["opts"]
        assert [(one["opt"], one["modification_number"], one["repeats"]) for one in opts] == [("optIn", 0, 0)]
        assert (await utility.ask("GET", "/deliveries/none"))[0] == 404
