"""EiReport in both directions: the offer, requests and their lives, data."""

from __future__ import annotations

from typing import Any

from tests.ven.conformance.bench import Bench
from tests.ven.conformance.marks import OURS, SCRIPTED, Sender, rule, service, ven
from tests.ven.conformance.process import CLOCK
from ven.wire.common import INVALID_ID, KILOWATT, REPORT_NOT_SUPPORTED, EiResponse
from ven.wire.party import RequestReregistration
from ven.wire.report import (
    METADATA,
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    Report,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    ReportRequest,
    SpecifierPayload,
    UpdatedReport,
    UpdateReport,
)

USAGE = "telemetry-usage"


def request(request_id: str, *rids: str, **more: Any) -> ReportRequest:
    """Power every second."""
    values = {"specifier_id": USAGE, "granularity_s": 1.0, "back_duration_s": 1.0, **more}
    payloads = tuple(SpecifierPayload(rid=rid) for rid in rids or ("site-1-kw",))
    return ReportRequest(request_id=request_id, payloads=payloads, **values)


async def ask(bench: Bench, **more: Any) -> str:
    """Our VTN asks for power every second; the reportRequestID."""
    call = {"ven_name": bench.name, "specifier_id": USAGE, "granularity_s": 1, "back_duration_s": 1, **more}
    return str((await bench.ours.admin.do("POST", "/reports/requests", call))["report_request_id"])


async def state(bench: Bench, request_id: str) -> str:
    (found,) = [
        one for one in await bench.ours.admin.get("/reports/requests") if one["report_request_id"] == request_id
    ]
    return str(found["state"])


async def reaches(bench: Bench, request_id: str, wanted: str) -> None:
    async def reached() -> bool:
        return await state(bench, request_id) == wanted

    await bench.eventually(reached, f"the request is {wanted}")


async def intervals(bench: Bench, count: int) -> list[dict[str, Any]]:
    """What our VTN holds, once there are as many."""

    async def held() -> list[dict[str, Any]] | None:
        found = (await bench.ours.admin.get(f"/intervals?ven={bench.name}"))["intervals"]
        return found if len(found) >= count else None

    return await bench.eventually(held, f"{count} intervals")


@service("EiReport", "oadrRegisterReport", Sender.VEN)
@ven(OURS)
async def test_it_offers_all_four_reports(bench: Bench) -> None:
    await bench.ready()
    offered = (await bench.ours.admin.get("/offers"))[bench.name]
    assert {(one["report_name"], one["resource_id"]) for one in offered} == {
        (name, resource_id)
        for name in ("TELEMETRY_USAGE", "TELEMETRY_STATUS", "HISTORY_USAGE", "HISTORY_GREENBUTTON")
        for resource_id in ("site-1", "site-2")
    }
    (message,) = await bench.sent(RegisterReport)
    assert {report.name for report in message.reports} == {
        "METADATA_TELEMETRY_USAGE",
        "METADATA_TELEMETRY_STATUS",
        "METADATA_HISTORY_USAGE",
        "METADATA_HISTORY_GREENBUTTON",
    }


@service("EiReport", "oadrRegisteredReport", Sender.VTN)
@service("EiReport", "oadrCreatedReport")
@ven(SCRIPTED)
async def test_requests_that_ride_along_with_the_registration_are_served(bench: Bench) -> None:
    await bench.ready()
    bench.script.of(bench.name).answers[RegisterReport] = lambda message: RegisteredReport(
        response=EiResponse(request_id=message.request_id), requests=(request("rides"),), ven_id=bench.name
    )
    # A new registration comes with the offer.
    bench.script.say(bench.name, RequestReregistration(ven_id=bench.name))
    (created,) = await bench.sends(CreatedReport)
    assert created.pending == ("rides",)
    (update, *_) = await bench.sends(UpdateReport)
    assert update.reports[0].request_id == "rides"


@service("EiReport", "oadrCreateReport")
@service("EiReport", "oadrCreatedReport")
@service("EiReport", "oadrUpdateReport", Sender.VEN)
@service("EiReport", "oadrUpdatedReport", Sender.VTN)
@ven(OURS)
async def test_a_request_is_served_each_interval_once(bench: Bench) -> None:
    await bench.ready()
    request_id = await ask(bench)
    await reaches(bench, request_id, "pending")
    lost = {"kind": "lose_reply", "service": "EiReport", "ven_name": bench.name}
    await intervals(bench, 2)
    await bench.ours.admin.do("POST", "/faults", lost)
    await bench.polls(1)
    found = await intervals(bench, 8)
    assert {(one["rid"], one["value"], one["duration_s"]) for one in found} == {
        ("site-1-kw", 40.0, 1.0),
        ("site-2-kw", 40.0, 1.0),
    }
    starts = sorted({one["start"] for one in found})
    assert len(found) == 2 * len(starts)
    updates = await bench.sent(UpdateReport)
    repeated = [one for one in updates if updates.count(one) > 1]
    # What was lost is repeated as it was; everything else came once.
    assert len({one.request_id for one in repeated}) <= 1
    assert len({one.request_id for one in updates}) == len({one.reports for one in updates})
    assert sum(one["conflicts"] for one in found) == 0
    assert sum(one["duplicates"] for one in found) <= 2


@service("EiReport", "oadrCreatedReport")
@rule(35, 41, 42, 43, 44)
@ven(SCRIPTED)
async def test_what_it_does_not_have_is_refused(bench: Bench) -> None:
    await bench.ready()
    message = CreateReport(request_id="create-7", requests=(request("r", "unknown"),), ven_id=bench.name)
    bench.script.say(bench.name, message)
    (created,) = await bench.sends(CreatedReport)
    assert (created.response.code, created.response.request_id) == (REPORT_NOT_SUPPORTED, "create-7")
    assert created.pending == ()


@service("EiReport", "METADATA")
@ven(OURS)
async def test_the_offer_is_made_again_when_asked_for(bench: Bench) -> None:
    await bench.ready()
    kept = await ask(bench)
    await reaches(bench, kept, "pending")
    asked = await ask(bench, specifier_id=METADATA, granularity_s=0, back_duration_s=0)
    _, again = await bench.sends(RegisterReport, count=2)
    assert again.report_request_id == asked
    assert len(again.reports) == 4
    await reaches(bench, asked, "ended")
    assert await state(bench, kept) == "pending"


@service("EiReport", "oadrCancelReport")
@service("EiReport", "oadrCanceledReport")
@rule(35, 41, 42, 43, 44)
@ven(SCRIPTED)
async def test_a_cancelled_request_ends_and_the_others_go_on(bench: Bench) -> None:
    await bench.ready()
    requests = (request("ends"), request("stays", "site-2-kw"))
    bench.script.say(bench.name, CreateReport(request_id="c", requests=requests, ven_id=bench.name))
    await bench.sends(CreatedReport)
    cancel = CancelReport(request_id="cancel-7", report_request_ids=("ends",), ven_id=bench.name)
    bench.script.say(bench.name, cancel)
    (canceled,) = await bench.sends(CanceledReport)
    assert (canceled.response.code, canceled.response.request_id, canceled.pending) == (200, "cancel-7", ("stays",))

    def of(request_id: str, updates: list[UpdateReport]) -> int:
        return sum(report.request_id == request_id for update in updates for report in update.reports)

    await bench.polls(1)
    before = await bench.sent(UpdateReport)
    await bench.polls(2)
    after = await bench.sent(UpdateReport)
    assert of("ends", after) == of("ends", before)
    assert of("stays", after) > of("stays", before)


@service("EiReport", "oadrCanceledReport")
@ven(SCRIPTED)
async def test_a_cancel_of_an_unknown_request_is_refused(bench: Bench) -> None:
    await bench.ready()
    bench.script.say(
        bench.name, CancelReport(request_id="cancel-8", report_request_ids=("unknown",), ven_id=bench.name)
    )
    (canceled,) = await bench.sends(CanceledReport)
    assert (canceled.response.code, canceled.response.request_id) == (INVALID_ID, "cancel-8")


@service("EiReport", "oadrCancelReport")
@service("EiReport", "oadrUpdatedReport", Sender.VTN)
@ven(OURS)
async def test_a_cancel_may_ride_in_the_answer_to_data(bench: Bench) -> None:
    await bench.ready()
    request_id = await ask(bench)
    await intervals(bench, 2)
    await bench.ours.admin.do("DELETE", f"/reports/requests/{request_id}?with_update=true")
    await reaches(bench, request_id, "ended")
    held = len(await intervals(bench, 2))
    await bench.polls(2)
    assert len(await intervals(bench, 2)) == held


# --- reports of the VTN


@service("EiReport", "oadrRegisterReport", Sender.VTN)
@service("EiReport", "oadrRegisteredReport", Sender.VEN)
@rule(35, 41, 42, 43, 44)
@ven(SCRIPTED)
async def test_what_the_vtn_offers_is_taken_note_of(bench: Bench) -> None:
    await bench.ready()
    description = ReportDescription(rid="grid", report_type="usage", reading_type="Direct Read", measure=KILOWATT)
    offer = Report(
        specifier_id="grid",
        request_id="0",
        created_at=CLOCK.now(),
        name="METADATA_TELEMETRY_USAGE",
        descriptions=(description,),
    )
    bench.script.say(bench.name, RegisterReport(request_id="offer-7", reports=(offer,), ven_id=bench.name))
    (registered,) = await bench.sends(RegisteredReport)
    assert (registered.response.code, registered.response.request_id) == (200, "offer-7")
    assert registered.requests == ()


@service("EiReport", "oadrUpdateReport", Sender.VTN)
@service("EiReport", "oadrUpdatedReport", Sender.VEN)
@rule(35, 41, 42, 43, 44)
@ven(SCRIPTED)
async def test_data_that_nobody_asked_for_is_refused(bench: Bench) -> None:
    await bench.ready()
    now = CLOCK.now()
    interval = ReportInterval(start=now, duration_s=1.0, payloads=(ReportPayload("grid", 1.0),))
    data = Report(specifier_id="grid", request_id="r", created_at=now, start=now, intervals=(interval,))
    bench.script.say(bench.name, UpdateReport(request_id="update-7", reports=(data,), ven_id=bench.name))
    (updated,) = await bench.sends(UpdatedReport)
    assert (updated.response.code, updated.response.request_id) == (REPORT_NOT_SUPPORTED, "update-7")
