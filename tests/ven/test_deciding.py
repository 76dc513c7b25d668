"""One event's trouble is its own: slow and failing sinks, VTNs that choke on one answer, quiet events."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from grid.events import Decision, OptType
from tests.ven.world import World, world
from ven.simulation.faults import FaultKind
from ven.wire.event import CreatedEvent
from ven.wire.party import Poll
from ven.wire.payload import Service


async def serving(one: World) -> None:
    await one.until(lambda: one.status.state == "serving")


async def test_a_slow_and_a_failing_event_hold_up_no_other(tmp_path: Path) -> None:
    async with world(tmp_path, decision_timeout_s=4.0) as one:
        await serving(one)
        one.sink.slow["slow"] = 3.0
        one.sink.failing.add("failing")
        for event_id in ("slow", "failing", "quick"):
            one.call(event_id)
        await one.until(lambda: bool(one.answers("quick")))
        polled = max(at for at, message in one.transport.sent if isinstance(message, Poll))
        by_event = {
            answer.event_id: at - polled
            for at, message in one.transport.sent
            if isinstance(message, CreatedEvent)
            for answer in message.responses
        }
        assert by_event == {"quick": timedelta(), "failing": timedelta()}
        assert one.answers("failing") == [(0, "optOut", 200)]
        assert one.answers("slow") == []
        await one.clock.advance(4)
        assert one.answers("slow") == [(0, "optIn", 200)]


async def test_an_answer_that_the_vtn_does_not_take_holds_up_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.call("first")
        one.call("second")
        one.fault(FaultKind.SERVER_ERROR, Service.EVENT, times=1)
        await one.until(lambda: bool(one.answers("first") or one.answers("second")))
        assert one.status.answers_owed == 1
        assert one.status.state == "serving"
        await one.clock.advance(2)
        assert (one.status.answers_owed, one.answers("first"), one.answers("second")) == (
            0,
            [(0, "optIn", 200)],
            [(0, "optIn", 200)],
        )


async def test_reports_that_the_vtn_chokes_on_hold_up_no_event(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.stop()
        one.fault(FaultKind.SERVER_ERROR, Service.REPORT)
        (tmp_path / "ven.sqlite").unlink()
        await one.restart()
        await one.until(lambda: one.status.registered)
        one.call("event-1", lead_s=600)
        await one.until(lambda: bool(one.answers()), 30)
        assert not one.status.reports_offered
        one.vtn.faults.clear()
        await one.until(lambda: one.status.reports_offered, 90)


async def test_a_confirmation_that_the_vtn_chokes_on_holds_up_no_event(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            one.vtn.reports.request(
                one.ven, specifier_id="telemetry-usage", rids=(), granularity_s=60, back_duration_s=60, period=None
            )
        one.fault(FaultKind.SERVER_ERROR, Service.REPORT)
        await one.clock.advance(30)
        assert (one.status.state, one.status.stale) == ("serving", False)
        one.call("event-1", lead_s=600)
        await one.until(lambda: bool(one.answers()), 30)
        one.vtn.faults.clear()
        await one.until(lambda: one.vtn.reports.all_requests()[-1].state.value == "pending", 90)


async def test_an_event_that_wants_no_response_gets_none_until_the_opt_changes(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.call(response_required=False)
        await one.until(lambda: bool(one.sink.accepted))
        await one.clock.advance(30)
        assert one.answers() == []
        changed = Decision(opt=OptType.OPT_OUT, reason="derated", decided_at=one.clock.now())
        one.gateway.redecide(("ven-a", "event-1"), changed)
        await one.clock.advance(0)
        assert one.answers() == [(0, "optOut", 200)]
        one.gateway.redecide(("ven-a", "event-1"), replace(changed, reason="still"))
        await one.clock.advance(30)
        assert len(one.answers()) == 1


async def test_a_decision_on_a_replaced_modification_is_dropped(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": 5}, decision_timeout_s=1.0) as one:
        await serving(one)
        one.sink.slow["event-1"] = 12.0
        one.call()
        await one.until(lambda: one.answers() == [(0, "optOut", 200)])
        one.sink.slow.clear()
        one.sink.opt = OptType.OPT_OUT
        one.modify(priority=1)
        await one.until(lambda: (1, "optOut", 200) in one.answers())
        one.sink.opt = OptType.OPT_IN
        await one.clock.advance(30)
        assert one.answers() == [(0, "optOut", 200), (1, "optOut", 200)]
