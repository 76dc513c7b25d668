"""OadrPoll: how often, and what comes of it."""

from __future__ import annotations

from datetime import datetime

from tests.ven.conformance.bench import Bench, body
from tests.ven.conformance.marks import OURS, rule, service, ven
from tests.ven.conformance.peers import POLL_INTERVAL_S
from ven.wire.event import RequestEvent

SLACK_S = 1.2
"""How much later than another a message may be read on a busy machine."""
BUSY = 3.0
"""How many times longer everything may take on one."""
POLLS = 8
TOLD_S = (POLLS - 1) * POLL_INTERVAL_S


async def polls_s(bench: Bench, first: int) -> float:
    """How long ``POLLS`` polls took, from one of them on; seen from the VTN."""

    async def arrived() -> list[datetime] | None:
        rows = [row for row in await bench.ours.passed(bench.name) if row["message"] == "oadrPoll"][first:]
        return [datetime.fromisoformat(row["at"]) for row in rows] if len(rows) >= POLLS else None

    found = await bench.eventually(arrived, f"{POLLS} polls", BUSY * TOLD_S)
    return (found[POLLS - 1] - found[0]).total_seconds()


@rule(54, 55)
@service("OadrPoll", "oadrPoll")
@ven(OURS)
async def test_polls_come_at_the_rate_that_was_told_and_no_faster_for_waiting_messages(bench: Bench) -> None:
    await bench.ready()
    await bench.polls(1)
    first = sum(row["message"] == "oadrPoll" for row in await bench.ours.passed(bench.name))
    call = {"ven_name": bench.name, "specifier_id": "telemetry-usage", "granularity_s": 60, "back_duration_s": 60}
    for _ in range(3):
        await bench.ours.admin.do("POST", "/reports/requests", call)
    assert await polls_s(bench, first) >= TOLD_S - SLACK_S


@service("EiEvent", "oadrRequestEvent")
@ven(OURS)
async def test_every_event_is_asked_for_at_the_start_and_after_an_outage(bench: Bench) -> None:
    await bench.ready()
    assert len(await bench.sent(RequestEvent)) == 1
    fault = {"kind": "server_error", "service": "OadrPoll", "ven_name": bench.name}
    await bench.ours.admin.do("POST", "/faults", fault)
    await bench.sends(RequestEvent, count=2)
    lost = {"kind": "lose_reply", "service": "OadrPoll", "ven_name": bench.name}
    await bench.ours.admin.do("POST", "/faults", lost)
    event_id = bench.event_id("lost")
    await bench.peer.call(bench.name, body(event_id))
    assert (await bench.answer(event_id)).code == 200
    await bench.sends(RequestEvent, count=3)
