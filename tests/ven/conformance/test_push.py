"""Push mode: the VEN serves, our VTN calls it over mutual TLS, and nobody polls."""

from __future__ import annotations

from tests.ven.conformance.bench import Bench, body
from tests.ven.conformance.marks import OURS, PUSH, service, ven
from tests.ven.conformance.test_reports import ask, intervals, reaches
from ven.wire.party import CanceledPartyRegistration, CreatePartyRegistration, Poll
from ven.wire.report import CanceledReport, CreatedReport


@service(PUSH, "oadrDistributeEvent")
@ven(OURS, pushed=True)
async def test_events_are_pushed(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("a")
    await bench.peer.call(bench.name, body(event_id))
    assert (await bench.answer(event_id)).code == 200
    await bench.decision(event_id)
    await bench.peer.cancel(bench.name, event_id)
    assert (await bench.answer(event_id, modification=1)).code == 200
    assert await bench.sent(Poll) == []


@service(PUSH, "oadrCreateReport")
@service(PUSH, "oadrCancelReport")
@ven(OURS, pushed=True)
async def test_report_requests_are_pushed_and_answered_at_once(bench: Bench) -> None:
    await bench.ready()
    request_id = await ask(bench)
    (created,) = await bench.sends(CreatedReport)
    assert created.pending == (request_id,)
    await intervals(bench, 2)
    await bench.ours.admin.do("DELETE", f"/reports/requests/{request_id}")
    (canceled,) = await bench.sends(CanceledReport)
    assert canceled.response.ok
    await reaches(bench, request_id, "ended")


@service(PUSH, "oadrRequestReregistration")
@service(PUSH, "oadrCancelPartyRegistration")
@ven(OURS, pushed=True)
async def test_a_push_ven_is_asked_to_register_again_and_put_out(bench: Bench) -> None:
    await bench.ready()
    await bench.ours.admin.do("POST", f"/registrations/{bench.name}/reregister")
    (again,) = await bench.sends(CreatePartyRegistration, where=lambda one: one.registration_id is not None)
    assert (again.http_pull_model, bool(again.transport_address)) == (False, True)
    await bench.ours.admin.do("DELETE", f"/registrations/{bench.name}")
    (confirmed,) = await bench.sends(CanceledPartyRegistration)
    assert confirmed.response.ok

    async def state() -> bool:
        return bool((await bench.ven.status(bench.name))["state"] == "cancelled")

    await bench.eventually(state, "the VEN knows")
