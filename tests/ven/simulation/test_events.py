"""EiEvent: calling, changing, cancelling, and what is told when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grid.clock import VirtualClock
from grid.events import EventStatus, OptType
from tests.ven.simulation.conftest import CONTEXT, Domain, Serve, simple_event
from tests.ven.simulation.raw_ven import RawVen, Utility
from ven.simulation.bodies import EventCall
from ven.simulation.calling import explicit
from ven.simulation.config import VtnSettings
from ven.simulation.vtn import UtilityVtn
from ven.wire.common import INVALID_ID, NOT_ALLOWED, EiResponse, Measure, Target
from ven.wire.event import CreatedEvent, DistributeEvent, EventResponse, RequestEvent, WireEvent
from ven.wire.party import CreatedPartyRegistration, CreatePartyRegistration, Poll, Response
from ven.wire.payload import Message, service_of


async def told(ven: RawVen) -> DistributeEvent:
    """The oadrDistributeEvent that waits."""
    message = await ven.poll()
    assert isinstance(message, DistributeEvent)
    return message


async def only(ven: RawVen) -> WireEvent:
    (event,) = (await told(ven)).events
    assert isinstance(event, WireEvent)
    return event


async def answers(utility: Utility, event_id: str) -> list[tuple[str, int, int]]:
    event = await utility.get(f"/events/{event_id}")
    return [(one["opt"], one["modification_number"], one["repeats"]) for one in event["opts"]]


async def test_an_event_as_the_operator_wrote_it(domain: Domain, serve: Serve) -> None:
    body = {
        "ven_name": "ven-a",
        "event_id": "the event",
        "start": "2030-01-01T12:00:00+01:00",
        "duration_s": 5400,
        "market_context": CONTEXT,
        "priority": 2,
        "response_required": False,
        "test_event": "a test",
        "startafter_s": 300,
        "notification_s": 60,
        "ramp_up_s": 120,
        "recovery_s": 30,
        "vtn_comment": "thank you & goodbye",
        "targets": {"resource_ids": ["r1", "r2"], "group_ids": ["g"], "party_ids": ["p"]},
        "signals": [
            {
                "name": "LOAD_DISPATCH",
                "type": "delta",
                "unit": {"name": "powerReal", "units": "W", "si_scale": "M"},
                "intervals": [{"duration_s": 1800, "value": -1.5}, {"duration_s": 3600, "value": -2}],
            },
            {
                "name": "ELECTRICITY_PRICE",
                "type": "price",
                "unit": {"name": "currencyPerKWh", "units": "USD", "si_scale": "none"},
                "intervals": [{"duration_s": 5400, "value": 0.25}],
                "targets": {"resource_ids": ["r1"]},
            },
        ],
    }
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        called = await utility.do("POST", "/events", body)
        assert (called["event_id"], called["requested_kw"], called["status"]) == ("the event", 1500.0, "far")
        event = await only(ven)
    assert (event.event_id, event.modification_number, event.status) == ("the event", 0, EventStatus.FAR)
    assert (event.start, event.duration_s) == (datetime(2030, 1, 1, 11, tzinfo=UTC), 5400.0)
    assert (event.market_context, event.priority, event.response_required) == (CONTEXT, 2, False)
    assert (event.is_test, event.startafter_s, event.vtn_comment) == (True, 300.0, "thank you & goodbye")
    assert (event.notification_s, event.ramp_up_s, event.recovery_s) == (60.0, 120.0, 30.0)
    assert event.target == Target(resource_ids=("r1", "r2"), group_ids=("g",), party_ids=("p",))
    dispatch, price = event.signals
    assert [(point.duration_s, point.value) for point in dispatch.intervals] == [(1800.0, -1.5), (3600.0, -2.0)]
    assert dispatch.measure is not None
    assert (dispatch.measure.name, dispatch.measure.si_scale) == ("powerReal", "M")
    assert price.measure == Measure(name="currencyPerKWh", units="USD")
    assert price.target == Target(resource_ids=("r1",))


async def test_an_event_is_modified_cancelled_and_answered_each_time(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        called = await utility.do("POST", "/events", simple_event(test_event="yes"))
        where = f"/events/{called['event_id']}"
        first = await told(ven)
        await ven.opt(first)
        await ven.opt(first)
        changed = await utility.do("PATCH", where, {"duration_s": 0, "priority": 1, "test_event": None})
        assert changed["modification_number"] == 1
        second = await told(ven)
        (event,) = second.events
        assert isinstance(event, WireEvent)
        assert (event.modification_number, event.duration_s, event.priority) == (1, 0.0, 1)
        assert event.test_event is None
        assert event.modified_at is not None
        await ven.opt(second, OptType.OPT_OUT)
        assert (await utility.do("DELETE", where))["status"] == "cancelled"
        third = await told(ven)
        assert [(one.modification_number, one.status) for one in third.events if isinstance(one, WireEvent)] == [
            (2, EventStatus.CANCELLED)
        ]
        again = await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
        assert len(again.events) == 1
        await ven.opt(third)
        again = await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
        assert again.events == ()
        assert await answers(utility, called["event_id"]) == [("optIn", 0, 1), ("optOut", 1, 0), ("optIn", 2, 0)]
        for method, body in (("PATCH", {"priority": 0}), ("DELETE", None)):
            status, why = await utility.ask(method, where, body)
            assert (status, "call a new one" in why["error"]) == (400, True)


async def test_an_event_may_vanish_without_a_cancel(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        called = await utility.do("POST", "/events", simple_event())
        await ven.opt(await told(ven))
        assert (await utility.do("DELETE", f"/events/{called['event_id']}?vanish=true"))["vanished"]
        assert (await told(ven)).events == ()
        await utility.do("PATCH", f"/events/{called['event_id']}", {"priority": 1})
        assert [event.modification_number for event in (await told(ven)).events] == [1]


async def test_request_event_gives_all_events_or_the_first_few(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        for event_id, lead_s, priority in (("late", 7200, 1), ("low", 3600, 0), ("high", 3600, 1), ("now", 0, 3)):
            start = {"start": "2030-01-01T00:00:00Z"} if lead_s == 3600 else {"lead_s": lead_s}
            if event_id == "late":
                start = {"start": "2030-01-02T00:00:00Z"}
            await utility.do("POST", "/events", simple_event(event_id=event_id, priority=priority, **start))

        async def requested(limit: int | None) -> list[str]:
            message = RequestEvent(request_id="r1", ven_id=ven.ven_id, reply_limit=limit)
            answer = await ven.ask(message, DistributeEvent)
            assert answer.response == EiResponse(request_id="r1")
            assert answer.vtn_id == "utility"
            return [event.event_id for event in answer.events]

        assert await requested(None) == ["now", "high", "low", "late"]
        assert await requested(2) == ["now", "high"]
        assert len((await told(ven)).events) == 4


async def test_answers_to_events_nobody_sent_are_452_and_the_others_stand(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven, utility.ven(domain.ven("ven-b")) as other:
        await ven.register()
        await other.register("ven-b")
        ours = await utility.do("POST", "/events", simple_event())
        theirs = await utility.do("POST", "/events", simple_event("ven-b"))
        responses = tuple(
            EventResponse(request_id="d", event_id=event_id, modification_number=0, opt=OptType.OPT_IN, code=code)
            for event_id, code in ((ours["event_id"], 450), (theirs["event_id"], 200), ("none", 200))
        )
        message = CreatedEvent(ven_id=ven.ven_id, responses=responses, response=EiResponse(request_id="x"))
        answer = await ven.ask(message, Response)
        assert (answer.response.code, answer.response.request_id) == (INVALID_ID, "x")
        assert "none" in answer.response.description
        (kept,) = (await utility.get(f"/events/{ours['event_id']}"))["opts"]
        assert (kept["opt"], kept["code"], kept["ven_id"]) == ("optIn", 450, ven.ven_id)
        assert await answers(utility, theirs["event_id"]) == []


async def test_a_ven_that_only_reports_has_no_events(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register(report_only=True)
        answer = await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
        assert answer.response is not None
        assert answer.response.code == NOT_ALLOWED
        assert (await utility.ask("POST", "/events", simple_event()))[0] == 400


@pytest.mark.parametrize(
    ("change", "status", "what"),
    [
        ({"ven_name": "nobody"}, 404, "no VEN named nobody"),
        ({"event_id": "taken"}, 400, "already"),
        ({"signals": []}, 400, "signals"),
        ({"signals": [{"name": "SIMPLE", "type": "loud", "intervals": [{"value": 1}]}]}, 400, "cannot carry"),
        ({"duration_s": 0.5}, 400, "whole seconds"),
        ({"colour": "red"}, 400, "colour"),
        ({"start": "tomorrow"}, 400, "start"),
    ],
)
async def test_an_event_that_cannot_be_called_is_refused_in_one_line(
    domain: Domain, serve: Serve, change: dict[str, Any], status: int, what: str
) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("POST", "/events", simple_event(event_id="taken"))
        found, answer = await utility.ask("POST", "/events", simple_event(**change))
        assert (found, what in answer["error"]) == (status, True), answer
        assert "\n" not in answer["error"]
        assert len(await utility.get("/events")) == 1


# --- by the clock, without sockets


class Joined:
    """A VTN and a VEN's messages in one process."""

    def __init__(self, **settings: Any) -> None:
        self.clock = VirtualClock(datetime(2026, 7, 1, 12, tzinfo=UTC))
        plain = {"vtn_id": "utility", "tls": False, "xml_signature": False}
        self.vtn = UtilityVtn(VtnSettings(**(plain | settings)), self.clock)
        self.ven_id = ""

    async def send(self, message: Message) -> Message | None:
        return await self.vtn.handle(service_of(message), message, None)

    async def register(self) -> None:
        answer = await self.send(CreatePartyRegistration(request_id="r", ven_name="ven-a"))
        assert isinstance(answer, CreatedPartyRegistration)
        assert answer.ven_id is not None
        self.ven_id = answer.ven_id

    async def poll(self) -> Message | None:
        return await self.send(Poll(ven_id=self.ven_id))

    def call(self, **more: Any) -> str:
        call = EventCall.model_validate(simple_event(**more))
        called = explicit(call, self.vtn.registrations.named("ven-a"), self.vtn.settings, self.clock.now())
        with self.vtn.journal.transaction():
            self.vtn.events.call(called)
        return called.event.event_id

    async def now(self) -> tuple[WireEvent, ...]:
        answer = await self.send(RequestEvent(request_id="1", ven_id=self.ven_id))
        assert isinstance(answer, DistributeEvent)
        return tuple(event for event in answer.events if isinstance(event, WireEvent))


async def test_the_status_and_the_current_value_follow_the_clock() -> None:
    joined = Joined()
    await joined.register()
    levels = [{"duration_s": 60, "value": 1}, {"duration_s": 60, "value": 3}]
    joined.call(
        lead_s=100, duration_s=120, ramp_up_s=40, signals=[{"name": "SIMPLE", "type": "level", "intervals": levels}]
    )
    seen = []
    for pause_s in (0, 59, 1, 39, 1, 60, 59):
        await joined.clock.advance(pause_s)
        (event,) = await joined.now()
        seen.append((event.status.value, event.signals[0].current_value))
    assert seen == [
        ("far", 0.0),
        ("far", 0.0),
        ("near", 0.0),
        ("near", 0.0),
        ("active", 1.0),
        ("active", 3.0),
        ("active", 3.0),
    ]
    await joined.clock.advance(1)
    assert await joined.now() == ()
    joined.vtn.close()


async def test_an_event_that_is_over_may_be_told_of_as_completed() -> None:
    joined = Joined(completed_kept_s=60)
    await joined.register()
    joined.call(lead_s=0, duration_s=600)
    await joined.clock.advance(659)
    (event,) = await joined.now()
    assert (event.status, event.signals[0].current_value) == (EventStatus.COMPLETED, 0.0)
    await joined.clock.advance(1)
    assert await joined.now() == ()
    joined.vtn.close()


async def test_an_open_event_lasts_until_it_is_cancelled() -> None:
    joined = Joined()
    await joined.register()
    event_id = joined.call(lead_s=0, duration_s=0)
    await joined.clock.advance(timedelta(days=30).total_seconds())
    (event,) = await joined.now()
    assert event.status is EventStatus.ACTIVE
    with joined.vtn.journal.transaction():
        joined.vtn.events.cancel(event_id)
    (event,) = await joined.now()
    assert event.status is EventStatus.CANCELLED
    await joined.clock.advance(3600)
    assert await joined.now() == ()
    joined.vtn.close()


async def test_events_that_were_not_answered_are_sent_again() -> None:
    joined = Joined(resend_s=60)
    await joined.register()
    joined.call()
    offered = await joined.poll()
    assert isinstance(offered, DistributeEvent)
    assert isinstance(await joined.poll(), Response)
    await joined.clock.advance(60)
    offered = await joined.poll()
    assert isinstance(offered, DistributeEvent)
    (event,) = offered.events
    answer = EventResponse(
        request_id=offered.request_id, event_id=event.event_id, modification_number=0, opt=OptType.OPT_IN
    )
    await joined.send(CreatedEvent(ven_id=joined.ven_id, responses=(answer,)))
    await joined.clock.advance(3600)
    assert isinstance(await joined.poll(), Response)
    joined.vtn.close()


async def test_several_changes_between_two_polls_are_one_message() -> None:
    joined = Joined()
    await joined.register()
    first, second = joined.call(response_required=False), joined.call(response_required=False)
    offered = await joined.poll()
    assert isinstance(offered, DistributeEvent)
    assert {event.event_id for event in offered.events} == {first, second}
    assert isinstance(await joined.poll(), Response)
    await joined.clock.advance(600)
    assert isinstance(await joined.poll(), Response), "nothing that wants no answer is repeated"
    joined.vtn.close()
