"""The rules of EiEvent: what is answered, what is run, and what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from grid.events import EventStatus, OptType
from tests.ven.conformance.bench import Bench, body, level, wire_event
from tests.ven.conformance.marks import OPENLEADR, OURS, SCRIPTED, rule, service, ven
from tests.ven.conformance.process import CLOCK
from tests.ven.simulation.conftest import CONTEXT
from ven.wire.event import DistributeEvent, RequestEvent, SignalPoint
from ven.wire.payload import encode


def since(seconds: float) -> str:
    """A start that is over."""
    return (CLOCK.now() - timedelta(seconds=seconds)).replace(microsecond=0).isoformat()


# --- answers


@rule(6)
@ven(OURS, OPENLEADR)
async def test_a_test_event_is_answered_and_not_run(bench: Bench) -> None:
    await bench.ready()
    tested, meant = bench.event_id("tested"), bench.event_id("meant")
    await bench.peer.call(bench.name, body(tested, test_event="of Tuesday"))
    await bench.peer.call(bench.name, body(meant, test_event="false"))
    assert (await bench.answer(tested)).opt is OptType.OPT_IN
    await bench.decision(meant)
    await bench.answer(meant)
    assert bench.decisions(tested) == []


@rule(12)
@ven(OURS, OPENLEADR)
async def test_an_event_that_wants_no_answer_has_none(bench: Bench) -> None:
    await bench.ready()
    silent, asked = bench.event_id("silent"), bench.event_id("asked")
    await bench.peer.call(bench.name, body(silent, response_required=False))
    await bench.peer.call(bench.name, body(asked))
    await bench.decision(silent)
    await bench.answer(asked)
    await bench.polls()
    assert await bench.answers(silent) == []


@rule(12)
@ven(OURS, OPENLEADR)
async def test_an_event_that_wants_an_answer_has_one(bench: Bench) -> None:
    await bench.ready()
    asked = bench.event_id("asked")
    await bench.peer.call(bench.name, body(asked))
    answer = await bench.answer(asked)
    assert (answer.code, answer.opt) == (200, OptType.OPT_IN)


@rule(62)
@ven(OURS)
async def test_what_is_sent_again_is_answered_again(bench: Bench) -> None:
    await bench.ready()
    short, other = bench.event_id("short"), bench.event_id("other")
    await bench.peer.call(bench.name, body(short, lead_s=0, duration_s=6))
    await bench.answer(short)
    await bench.peer.call(bench.name, body(other))
    await bench.answer(short, count=2)

    async def completed() -> bool:
        found = await bench.ours.admin.get(f"/events/{short}")
        return bool(found["status"] == "completed")

    await bench.eventually(completed, "the event is completed")
    before = len(await bench.answers(short))
    await bench.peer.cancel(bench.name, other)
    answer = await bench.answer(short, count=before + 1)
    assert (answer.code, answer.opt, answer.modification_number) == (200, OptType.OPT_IN, 0)
    assert len(bench.decisions(short)) == 1


@rule(35, 41, 42, 43, 44)
@ven(OURS)
async def test_an_answer_names_the_message_and_the_modification(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("a")
    await bench.peer.call(bench.name, body(event_id))
    first = await bench.answer(event_id)
    await bench.ours.admin.do("PATCH", f"/events/{event_id}", {"priority": 1})
    second = await bench.answer(event_id, modification=1)
    rows = [row for row in await bench.ours.passed(bench.name) if row["message"] == "oadrDistributeEvent"]
    carried = [row["request_id"] for row in rows if row["direction"] == "sent"]
    assert (first.modification_number, first.request_id) == (0, carried[-2])
    assert (second.modification_number, second.request_id) == (1, carried[-1])


@rule(19)
@ven(SCRIPTED)
async def test_a_bad_event_spoils_no_other(bench: Bench) -> None:
    await bench.ready()
    good, wrong = wire_event("good"), wire_event("wrong", value=7.0)
    unreadable = wire_event("unreadable", status=EventStatus.NEAR)
    message = encode(DistributeEvent(request_id="d", vtn_id="utility", events=(wrong, unreadable, good)))
    bench.script.of(bench.name).listed = (wrong, good)
    bench.script.say(bench.name, message.replace(b"<ei:eventStatus>near<", b"<ei:eventStatus>nonsense<"))
    answers = await asyncio.gather(*(bench.answer(one) for one in ("good", "wrong", "unreadable")))
    assert [answer.code for answer in answers] == [200, 454, 454]
    await bench.decision("good")


@rule(48)
@ven(OURS, OPENLEADR, market_contexts=[CONTEXT])
async def test_each_event_has_its_own_error_code(bench: Bench) -> None:
    await bench.ready()
    wrong: dict[str, tuple[int, dict[str, Any]]] = {
        "context": (453, {"market_context": "http://other.example/"}),
        "target": (462, {"targets": {"resource_ids": ["of-another"]}}),
        "signal": (460, {"signals": [{**level(), "type": "delta"}]}),
        "none": (200, {}),
    }
    for short, (_, more) in wrong.items():
        await bench.peer.call(bench.name, body(bench.event_id(short), **more))
    answers = await asyncio.gather(*(bench.answer(bench.event_id(short)) for short in wrong))
    assert [answer.code for answer in answers] == [code for code, _ in wrong.values()]
    await bench.decision(bench.event_id("none"))
    assert [bench.decisions(bench.event_id(short)) for short in ("context", "target", "signal")] == [[], [], []]


# --- identifiers


@rule(21)
@ven(OURS)
async def test_events_of_another_vtn_are_refused(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("a")
    fault = {"kind": "wrong_vtn_id", "service": "OadrPoll", "ven_name": bench.name}
    await bench.ours.admin.do("POST", "/faults", fault)
    await bench.peer.call(bench.name, body(event_id))
    assert (await bench.answer(event_id)).code == 452
    assert bench.decisions(event_id) == []
    await bench.ours.admin.do("PATCH", f"/events/{event_id}", {"priority": 1})
    assert (await bench.answer(event_id, modification=1)).code == 200


@rule(21)
@ven(SCRIPTED)
async def test_an_unknown_cancelled_event_is_answered_and_not_run(bench: Bench) -> None:
    await bench.ready()
    bench.script.tell(bench.name, wire_event("gone", status=EventStatus.CANCELLED, modification_number=3))
    answer = await bench.answer("gone", modification=3)
    assert answer.code == 200
    await bench.polls()
    assert bench.decisions("gone") == []


# --- modifications


@rule(56)
@ven(OURS, OPENLEADR)
async def test_a_new_event_is_run_once(bench: Bench) -> None:
    await bench.ready()
    first, second = bench.event_id("first"), bench.event_id("second")
    await bench.peer.call(bench.name, body(first, start=since(5)))
    assert (await bench.answer(first)).code == 200
    await bench.runs(first)
    await bench.peer.call(bench.name, body(second))
    await bench.answer(second)
    assert len(bench.decisions(first)) == 1


@rule(57)
@ven(OURS)
async def test_a_higher_modification_replaces_the_event(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("a")
    await bench.peer.call(bench.name, body(event_id, start=since(5)))
    assert (await bench.runs(event_id))["signals"][0]["value"] == 1.0
    await bench.ours.admin.do("PATCH", f"/events/{event_id}", {"signals": [level(3)]})
    assert (await bench.answer(event_id, modification=1)).code == 200
    assert (await bench.decision(event_id, modification_number=1))["signals"][0]["intervals"][0]["value"] == 3.0
    await bench.polls(1)
    assert (await bench.runs(event_id))["signals"][0]["value"] == 3.0


@rule(58)
@ven(OURS)
async def test_a_lower_modification_is_out_of_sequence(bench: Bench) -> None:
    await bench.ready()
    event_id, other = bench.event_id("a"), bench.event_id("b")
    await bench.peer.call(bench.name, body(event_id, start=since(5)))
    await bench.answer(event_id)
    await bench.ours.admin.do("PATCH", f"/events/{event_id}", {"signals": [level(3)]})
    await bench.answer(event_id, modification=1)
    fault = {"kind": "stale_modification", "service": "OadrPoll", "ven_name": bench.name}
    await bench.ours.admin.do("POST", "/faults", fault)
    await bench.peer.call(bench.name, body(other))
    answer = await bench.answer(event_id, modification=0, count=2)
    assert answer.code == 450
    assert (await bench.runs(event_id))["signals"][0]["value"] == 3.0


# --- when it runs


@rule(14)
@ven(OURS, OPENLEADR)
async def test_a_level_counts_from_the_start_and_not_before(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("a")
    start = (CLOCK.now() + timedelta(seconds=4)).replace(microsecond=0)
    await bench.peer.call(bench.name, body(event_id, start=start.isoformat(), signals=[level(2)]))
    await bench.answer(event_id)
    assert (await bench.runs(event_id))["signals"][0]["value"] == 2.0
    first = next(line for line in bench.in_force() if line["in_force"])
    assert datetime.fromisoformat(first["at"]) >= start


@rule(18)
@ven(OURS, OPENLEADR)
async def test_of_overlapping_events_the_priority_decides(bench: Bench) -> None:
    await bench.ready()
    now = CLOCK.now().replace(microsecond=0)
    plan = {
        # Name: resource, priority, start, duration.
        "low": ("site-1", 3, 4, 6),
        "high": ("site-1", 1, 6, 2),
        "earlier": ("site-2", 2, 4, 4),
        "later": ("site-2", 2, 6, 4),
    }
    for short, (resource_id, priority, start_s, lasts_s) in plan.items():
        await bench.peer.call(
            bench.name,
            body(
                bench.event_id(short),
                start=(now + timedelta(seconds=start_s)).isoformat(),
                duration_s=lasts_s,
                priority=priority,
                targets={"resource_ids": [resource_id]},
            ),
        )

    def counted(resource_id: str) -> list[str]:
        """Whose turn it was, one after the other."""
        found = []
        for line in bench.in_force():
            running = [one["event_id"] for one in line["in_force"] if resource_id in one["resource_ids"]]
            found += [one.removeprefix(f"{bench.name}:") for one in running]
        return [one for place, one in enumerate(found) if place == 0 or found[place - 1] != one]

    async def over() -> bool:
        return bool(bench.in_force()) and bench.in_force()[-1]["in_force"] == []

    await bench.eventually(over, "all of them ran", 30.0)
    assert (counted("site-1"), counted("site-2")) == (["low", "high", "low"], ["earlier", "later"])


@rule(47)
@ven(OURS)
async def test_an_event_without_an_end_lasts_until_it_is_cancelled(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("open")
    await bench.peer.call(bench.name, body(event_id, start=since(5), duration_s=0, signals=[level(lasts_s=0)]))
    assert (await bench.decision(event_id))["duration_s"] is None
    await bench.runs(event_id)
    await bench.polls()
    assert event_id in bench.running()
    await bench.peer.cancel(bench.name, event_id)
    await bench.ends(event_id)


@rule(66)
@ven(SCRIPTED)
async def test_what_the_vtn_calls_completed_runs_to_its_own_end(bench: Bench) -> None:
    await bench.ready()
    event = wire_event("a", lead_s=-5.0, status=EventStatus.ACTIVE)
    bench.script.tell(bench.name, event)
    await bench.runs("a")
    bench.script.tell(bench.name, replace(event, status=EventStatus.COMPLETED, modification_number=1))
    assert (await bench.answer("a", modification=1)).code == 200
    await bench.polls()
    assert "a" in bench.running()
    bench.script.tell(bench.name)
    await bench.polls(3)
    assert "a" in bench.running()


@rule(30)
@ven(OURS, OPENLEADR)
async def test_the_start_is_put_off_at_random(bench: Bench) -> None:
    await bench.ready()
    start = (CLOCK.now() + timedelta(hours=1)).replace(microsecond=0)
    names = [bench.event_id(str(place)) for place in range(5)]
    for event_id in names:
        await bench.peer.call(bench.name, body(event_id, start=start.isoformat(), startafter_s=300))
    events = await asyncio.gather(*map(bench.decision, names))
    offsets_s = [(datetime.fromisoformat(event["start"]) - start).total_seconds() for event in events]
    assert all(0.0 <= offset_s <= 300.0 for offset_s in offsets_s)
    assert len(set(offsets_s)) > 1


@rule(65)
@ven(OURS)
async def test_the_delay_is_kept_over_modifications(bench: Bench) -> None:
    await bench.ready()
    event_id = bench.event_id("a")
    await bench.peer.call(bench.name, body(event_id, startafter_s=300))
    first = await bench.decision(event_id)
    await bench.ours.admin.do("PATCH", f"/events/{event_id}", {"priority": 1})
    second = await bench.decision(event_id, modification_number=1)
    assert first["start_offset_s"] == second["start_offset_s"]
    assert first["start"] == second["start"]


@rule(65)
@ven(OURS)
async def test_a_cancelled_event_ends_within_the_tolerance(bench: Bench) -> None:
    await bench.ready()
    names = [bench.event_id(str(place)) for place in range(5)]
    for event_id in names:
        await bench.peer.call(bench.name, body(event_id, start=since(30), startafter_s=4))
    await asyncio.gather(*map(bench.decision, names))
    for event_id in names:
        await bench.peer.cancel(bench.name, event_id)
    answers = await asyncio.gather(*(bench.answer(event_id, modification=1) for event_id in names))
    assert {answer.code for answer in answers} == {200}
    events = await asyncio.gather(*(bench.decision(event_id, status="cancelled") for event_id in names))
    delays_s = [
        (datetime.fromisoformat(one["cancel_at"]) - datetime.fromisoformat(one["received_at"])).total_seconds()
        for one in events
    ]
    assert all(0.0 <= delay_s <= 4.1 for delay_s in delays_s)
    assert max(delays_s) > 0.1


# --- how it ends


@rule(36, 59, 60)
@ven(OURS, OPENLEADR)
async def test_a_cancelled_event_is_answered_and_ends(bench: Bench) -> None:
    await bench.ready()
    running, pending = bench.event_id("running"), bench.event_id("pending")
    await bench.peer.call(bench.name, body(running, start=since(5)))
    await bench.peer.call(bench.name, body(pending))
    await bench.runs(running)
    await bench.answer(pending)
    for event_id in (running, pending):
        await bench.peer.cancel(bench.name, event_id)
        assert (await bench.answer(event_id, modification=1)).code == 200
        await bench.decision(event_id, status="cancelled")
    await bench.ends(running)


@rule(61)
@ven(OURS)
async def test_an_event_that_vanishes_is_cancelled(bench: Bench) -> None:
    await bench.ready()
    running, pending = bench.event_id("running"), bench.event_id("pending")
    await bench.peer.call(bench.name, body(running, start=since(5)))
    await bench.peer.call(bench.name, body(pending))
    await bench.runs(running)
    await bench.answer(pending)
    asked = len(await bench.sent(RequestEvent))
    await bench.ours.admin.do("DELETE", f"/events/{pending}?vanish=true")
    await bench.decision(pending, status="cancelled")
    await bench.sends(RequestEvent, count=asked + 1)
    assert (running in bench.running(), await bench.alarms()) == (True, 0.0)
    await bench.ours.admin.do("DELETE", f"/events/{running}?vanish=true")
    await bench.decision(running, status="cancelled")
    await bench.ends(running)
    assert await bench.alarms() == 1.0


@rule(61)
@service("EiEvent", "oadrRequestEvent")
@ven(SCRIPTED)
async def test_an_event_that_a_list_left_out_by_mistake_goes_on(bench: Bench) -> None:
    await bench.ready()
    bench.script.tell(bench.name, wire_event("a", lead_s=-5.0, status=EventStatus.ACTIVE))
    await bench.runs("a")
    asked = len(await bench.sent(RequestEvent))
    bench.script.say(bench.name, DistributeEvent(request_id="none", vtn_id="utility"))
    (*_, again) = await bench.sends(RequestEvent, count=asked + 1)
    assert again.reply_limit is None
    await bench.polls()
    assert "a" in bench.running()
    assert [event["status"] for event in bench.decisions("a")] == ["active"]


# --- signals


@rule(2)
@ven(SCRIPTED)
async def test_intervals_are_numbered_from_zero(bench: Bench) -> None:
    await bench.ready()

    def numbered(event_id: str, *uids: str) -> Any:
        event = wire_event(event_id)
        points = tuple(SignalPoint(duration_s=300.0, value=1.0, uid=uid) for uid in uids)
        return replace(event, signals=(replace(event.signals[0], intervals=points),))

    bench.script.tell(bench.name, numbered("right", "0", "1"), numbered("from-1", "1", "2"), numbered("by-2", "0", "2"))
    answers = await asyncio.gather(*(bench.answer(one) for one in ("right", "from-1", "by-2")))
    assert [answer.code for answer in answers] == [200, 454, 454]


@rule(8)
@ven(OURS)
async def test_intervals_add_up(bench: Bench) -> None:
    await bench.ready()
    short, long, right = (bench.event_id(one) for one in ("short", "long", "right"))
    await bench.peer.call(bench.name, body(short, signals=[level(lasts_s=500)]))
    await bench.peer.call(bench.name, body(long, signals=[level(lasts_s=700)]))
    await bench.peer.call(bench.name, body(right))
    answers = await asyncio.gather(*map(bench.answer, (short, long, right)))
    assert [answer.code for answer in answers] == [454, 454, 200]


@rule(9)
@ven(OURS)
async def test_simple_has_four_levels(bench: Bench) -> None:
    await bench.ready()
    values = (0, 1, 2, 3, 4, 0.5)
    for value in values:
        await bench.peer.call(bench.name, body(bench.event_id(f"level-{value}"), signals=[level(value)]))
    answers = await asyncio.gather(*(bench.answer(bench.event_id(f"level-{value}")) for value in values))
    assert [answer.code for answer in answers] == [200, 200, 200, 200, 454, 454]


@rule(22)
@ven(OURS, OPENLEADR, group_ids=["north"], party_ids=["party"])
async def test_targets_are_alternatives(bench: Bench) -> None:
    await bench.ready()
    status = await bench.ven.status(bench.name)
    everything: list[str] = []
    cases: dict[str, tuple[dict[str, list[str]], list[str] | None]] = {
        "ven": ({"ven_ids": [status["ven_id"]]}, everything),
        "group": ({"group_ids": ["south", "north"]}, everything),
        "party": ({"party_ids": ["party"]}, everything),
        "resource": ({"resource_ids": ["site-2"]}, ["site-2"]),
        "either": ({"ven_ids": ["other"], "resource_ids": ["site-1", "other"]}, ["site-1"]),
        "nobody": ({"ven_ids": ["other"], "group_ids": ["south"], "resource_ids": ["site-3"]}, None),
    }
    for short, (targets, _) in cases.items():
        await bench.peer.call(bench.name, body(bench.event_id(short), targets=targets))
    answers = await asyncio.gather(*(bench.answer(bench.event_id(short)) for short in cases))
    assert [answer.code for answer in answers] == [200, 200, 200, 200, 200, 462]
    for short, (_, resource_ids) in cases.items():
        found = [event["resource_ids"] for event in bench.decisions(bench.event_id(short))]
        assert (short, found) == (short, [] if resource_ids is None else [resource_ids])


@rule(22)
@ven(SCRIPTED)
async def test_no_target_means_this_ven(bench: Bench) -> None:
    await bench.ready()
    bench.script.tell(bench.name, wire_event("a"))
    assert (await bench.answer("a")).code == 200
    assert (await bench.decision("a"))["resource_ids"] == []
