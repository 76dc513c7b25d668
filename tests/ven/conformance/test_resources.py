"""One VEN with many resources: an event for some of them is theirs alone."""

from __future__ import annotations

from tests.ven.conformance.bench import Bench, body
from tests.ven.conformance.marks import OURS, rule, ven
from tests.ven.conformance.test_events import since

FIFTY = [{"resource_id": f"rack-{number:02}", "rid": f"rack-{number:02}-kw"} for number in range(50)]
SEVEN = [f"rack-{number:02}" for number in (3, 7, 11, 19, 28, 41, 49)]


@rule(22)
@ven(OURS, resources=FIFTY)
async def test_an_event_for_seven_of_fifty_resources_is_for_those_seven(bench: Bench) -> None:
    await bench.ready()
    offered = (await bench.ours.admin.get("/offers"))[bench.name]
    assert len({one["resource_id"] for one in offered}) == 50
    event_id = bench.event_id("seven")
    await bench.peer.call(bench.name, body(event_id, start=since(5), targets={"resource_ids": [*SEVEN, "of-another"]}))
    answer = await bench.answer(event_id)
    assert (answer.code, answer.opt.value) == (200, "optIn")
    assert (await bench.decision(event_id))["resource_ids"] == SEVEN
    assert (await bench.runs(event_id))["resource_ids"] == SEVEN
    assert len(bench.decisions(event_id)) == len(await bench.answers(event_id)) == 1
