"""EiOpt: opts of ours over time, taken, refused and ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from grid.events import OptType
from tests.ven.conformance.bench import Bench, body
from tests.ven.conformance.marks import OURS, SCRIPTED, service, ven
from tests.ven.conformance.process import CLOCK
from ven.wire.common import INVALID_ID, EiResponse
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt


async def opt_out(bench: Bench, *resource_ids: str) -> dict[str, Any]:
    """An hour in five hours' time."""
    start = (CLOCK.now() + timedelta(hours=5)).replace(microsecond=0)
    period = {"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()}
    made = await bench.ven.admin.do(
        "POST", f"/vens/{bench.name}/opts", {"periods": [period], "resource_ids": resource_ids}
    )
    return dict(made)


async def until_state(bench: Bench, opt_id: str, wanted: str) -> None:
    async def reached() -> bool:
        opts = await bench.ven.admin.get(f"/vens/{bench.name}/opts")
        return any((one["opt_id"], one["state"]) == (opt_id, wanted) for one in opts)

    await bench.eventually(reached, f"the opt is {wanted}")


@service("EiOpt", "oadrCreateOpt")
@service("EiOpt", "oadrCancelOpt")
@ven(OURS)
async def test_an_opt_out_is_told_respected_and_ended(bench: Bench) -> None:
    await bench.ready()
    made = await opt_out(bench, "site-1")
    (told,) = await bench.sends(CreateOpt)
    assert (told.opt_id, told.opt, told.target.resource_ids) == (made["opt_id"], OptType.OPT_OUT, ("site-1",))
    assert [period.duration_s for period in told.availability or ()] == [3600.0]
    await until_state(bench, made["opt_id"], "held")
    (held,) = [one for one in await bench.ours.admin.get("/opts") if one["opt_id"] == made["opt_id"]]
    assert held["cancelled_at"] is None
    inside = bench.event_id("inside")
    await bench.peer.call(bench.name, body(inside, start=made["periods"][0]["start"]))
    assert (await bench.decision(inside))["resource_ids"] == ["site-2"]
    await bench.ven.admin.do("DELETE", f"/vens/{bench.name}/opts/{made['opt_id']}")
    await bench.sends(CancelOpt, where=lambda one: one.opt_id == made["opt_id"])

    async def ended() -> bool:
        opts = await bench.ours.admin.get("/opts")
        return any(one["opt_id"] == made["opt_id"] and one["cancelled_at"] is not None for one in opts)

    await bench.eventually(ended, "the opt ends at the VTN")


@service("EiOpt", "oadrCreatedOpt")
@ven(SCRIPTED)
async def test_a_refused_opt_is_seen_as_refused(bench: Bench) -> None:
    await bench.ready()
    bench.script.of(bench.name).answers[CreateOpt] = lambda message: CreatedOpt(
        response=EiResponse(code=INVALID_ID, description="no", request_id=message.request_id), opt_id=message.opt_id
    )
    made = await opt_out(bench)
    await until_state(bench, made["opt_id"], "refused")


@service("EiOpt", "oadrCanceledOpt")
@ven(SCRIPTED)
async def test_the_end_of_an_opt_is_told_until_it_is_taken(bench: Bench) -> None:
    await bench.ready()
    codes = [500, 200]
    bench.script.of(bench.name).answers[CancelOpt] = lambda message: CanceledOpt(
        response=EiResponse(code=codes.pop(0), request_id=message.request_id), opt_id=message.opt_id
    )
    made = await opt_out(bench)
    await until_state(bench, made["opt_id"], "held")
    await bench.ven.admin.do("DELETE", f"/vens/{bench.name}/opts/{made['opt_id']}")
    first, second = await bench.sends(CancelOpt, count=2)
    assert first == second
