"""A VEN's life at each VTN, with each kind of key, signed and not: register, report, event, opt, cancel."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from grid.events import OptType
from tests.ven.conformance.bench import Bench, body
from tests.ven.conformance.marks import EVERY, Sender, service, ven
from tests.ven.conformance.peers import OurVtn
from tests.ven.conformance.process import CLOCK
from ven.wire.report import CreatedReport


@service("EiRegisterParty", "oadrCreatePartyRegistration")
@service("EiRegisterParty", "oadrCreatedPartyRegistration")
@service("OadrPoll", "oadrPoll")
@service("EiEvent", "oadrDistributeEvent")
@service("EiEvent", "oadrCreatedEvent")
@service("EiReport", "oadrRegisterReport")
@service("EiReport", "oadrRegisteredReport", Sender.VTN)
@service("EiReport", "oadrCreatedReport")
@service("EiReport", "oadrUpdateReport")
@ven(*EVERY, report_lateness_s=0)
async def test_a_ven_through_its_life(bench: Bench) -> None:
    await bench.ready()
    await asyncio.gather(_reports(bench), _event(bench), _opts_out(bench))


async def _event(bench: Bench) -> None:
    """An event is run and answered, and so is its cancel."""
    held = bench.event_id("held")
    await bench.peer.call(bench.name, body(held))
    answer = await bench.answer(held)
    assert (answer.opt, answer.code, answer.modification_number) == (OptType.OPT_IN, 200, 0)
    assert (await bench.decision(held))["signals"][0]["intervals"][0]["value"] == 1.0
    await bench.peer.cancel(bench.name, held)
    assert (await bench.answer(held, modification=1)).code == 200
    await bench.decision(held, status="cancelled")


async def _reports(bench: Bench) -> None:
    """Data of a resource reaches the VTN, which asked for it."""
    if isinstance(bench.peer, OurVtn):
        (registered,) = [one for one in await bench.ours.admin.get("/registrations") if one["ven_name"] == bench.name]
        assert registered["pull"]
        call = {"ven_name": bench.name, "specifier_id": "telemetry-usage", "granularity_s": 1, "back_duration_s": 1}
        request_id = (await bench.ours.admin.do("POST", "/reports/requests", call))["report_request_id"]
        (created,) = await bench.sends(CreatedReport)
        assert created.pending == (request_id,)

        async def received() -> bool:
            held = (await bench.ours.admin.get(f"/intervals?ven={bench.name}"))["intervals"]
            return any((one["rid"], one["value"]) == ("site-1-kw", 40.0) for one in held)

        await bench.eventually(received, "an interval")
        await bench.ours.admin.do("DELETE", f"/reports/requests/{request_id}")

        async def ended() -> bool:
            found = await bench.ours.admin.get("/reports/requests")
            return any((one["report_request_id"], one["state"]) == (request_id, "ended") for one in found)

        await bench.eventually(ended, "the request ends")
    else:
        (created,) = await bench.sends(CreatedReport)
        assert (created.response.code, len(created.pending)) == (200, 1)

        async def read() -> bool:
            told = bench.openleadr.told("reading", bench.name)
            return any((one["resource_id"], one["value"]) == ("site-1", 40.0) for one in told)

        await bench.eventually(read, "an interval")


async def _opts_out(bench: Bench) -> None:
    """An operator's opt-out reaches the VTN where it has EiOpt, and the events that fall into it."""
    start = (CLOCK.now() + timedelta(hours=5)).replace(microsecond=0)
    period = {"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()}
    made = await bench.ven.admin.do("POST", f"/vens/{bench.name}/opts", {"periods": [period]})
    out = bench.event_id("out")
    await bench.peer.call(bench.name, body(out, start=(start + timedelta(minutes=5)).isoformat()))
    assert (await bench.answer(out)).opt is OptType.OPT_OUT
    assert bench.decisions(out) == []
    if isinstance(bench.peer, OurVtn):

        async def taken() -> bool:
            return any(one["opt_id"] == made["opt_id"] for one in await bench.ours.admin.get("/opts"))

        await bench.eventually(taken, "the opt at the VTN")
