"""What can be switched off in a VEN, one rule or operation at a time, to see that the tests notice.

Each mutation changes one function or attribute of ``ven`` in the VEN's own process
(``tests.ven.conformance.mutated_ven``); a name that is not there any more is an error, not a mutation that does
nothing. Operations are switched off alike: what the VEN says is not sent, what the VTN says is not heard.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from grid.events import EventStatus, GridEvent
from tests.ven.conformance.marks import OPERATIONS, PUSH, RULES, Operation, Sender
from ven import events, inbox, push, reports, session, signals, timeline
from ven.errors import EventError
from ven.exchange import Exchange
from ven.journal.events import Events
from ven.metrics import MetricsObserver
from ven.wire import codec, xml
from ven.wire.common import NOBODY_NAMED, OK, TARGET_MISMATCH, EiResponse, Target
from ven.wire.event import WireEvent
from ven.wire.party import Response
from ven.wire.payload import name_of
from ven.wire.report import UpdatedReport

Mark = int | Operation


@dataclass(frozen=True)
class Mutation:
    """One thing that is switched off."""

    name: str
    marks: tuple[Mark, ...]
    apply: Callable[[], None]


MUTATIONS: dict[str, Mutation] = {}


def switch_off(name: str) -> None:
    """Before the VEN starts."""
    MUTATIONS[name].apply()


def of(mark: Mark) -> list[Mutation]:
    """Every mutation that switches it off."""
    return [one for one in MUTATIONS.values() if mark in one.marks]


def _add(name: str, *marks: Mark) -> Callable[[Callable[[], None]], None]:
    assert name not in MUTATIONS
    assert all(mark in RULES or mark in OPERATIONS for mark in marks)

    def add(apply: Callable[[], None]) -> None:
        MUTATIONS[name] = Mutation(name, marks, apply)

    return add


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """``owner.name`` becomes ``wrapper`` of what it was and its arguments."""
    original = getattr(owner, name)

    def changed(*arguments: Any, **named: Any) -> Any:
        return wrapper(original, *arguments, **named)

    setattr(owner, name, changed)


def everywhere(original: Any, changed: Any) -> None:
    """Whatever module of ours has it by that name."""
    found = 0
    for module in [one for name, one in sys.modules.items() if name.startswith("ven.")]:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, changed)
                found += 1
    assert found, f"nobody uses {original}"


# --- messages


@_add("times are written with an offset", 1)
def _() -> None:
    original = xml.instant
    everywhere(original, lambda moment: original(moment + timedelta(hours=1)).replace("Z", "+01:00"))


@_add("a schema location is written", 45)
def _() -> None:
    location = b' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"'

    def seal(original: Any, *arguments: Any) -> bytes:
        sealed: bytes = original(*arguments)
        return sealed.replace(b":oadrPayload", b":oadrPayload" + location, 1)

    around(codec.Codec, "seal", seal)


def _rewriting(pattern: bytes, with_: bytes) -> None:
    """What is sent is changed on its way."""

    async def ask(original: Any, self: Exchange, service: Any, signed_object: bytes) -> Any:
        return await original(self, service, re.sub(pattern, with_, signed_object, flags=re.DOTALL))

    around(Exchange, "ask_encoded", ask)


@_add("answers name no message", 35, 41, 42, 43, 44)
def _() -> None:
    _rewriting(rb"(<ei:(?:eiResponse|eventResponse)>.*?<pyld:requestID>)[^<]*", rb"\1")


@_add("answers name no modification", 35, 41, 42, 43, 44)
def _() -> None:
    _rewriting(rb"(<ei:eventResponse>.*?<ei:modificationNumber>)[0-9]+", rb"\g<1>0")


# --- events


def _offered(change: Callable[[events.EventDesk, Any], Any]) -> None:
    """Each event that is offered is changed before it is looked at; None is not looked at."""

    def take(original: Any, self: events.EventDesk, offered: Any, *arguments: Any) -> Any:
        changed = change(self, offered)
        return None if changed is None else original(self, changed, *arguments)

    around(events.EventDesk, "_take", take)


def _known(desk: events.EventDesk, offered: Any) -> Any:
    return desk._journal.events.newest(desk._key, offered.event_id)


def _cancelled(offered: Any) -> bool:
    return getattr(offered, "status", None) is EventStatus.CANCELLED


@_add("test events are run", 6)
def _() -> None:
    around(
        events.EventDesk,
        "_without_asking",
        lambda original, self, event, *more: original(self, replace(event, test_event=False), *more),
    )


@_add("only true is a test", 6)
def _() -> None:
    WireEvent.is_test = property(lambda event: event.test_event == "true")  # type: ignore[method-assign, assignment]


@_add("what wants no answer is answered", 12)
def _() -> None:
    _offered(lambda _, offered: replace(offered, response_required=True))


@_add("what wants an answer has none", 12)
def _() -> None:
    _offered(lambda _, offered: replace(offered, response_required=False))


@_add("what is sent again is not answered again", 62)
def _() -> None:
    around(Events, "reoffer", lambda original, self, event, request_id, _: original(self, event, request_id, None))


@_add("an event counts before its start", 14)
def _() -> None:
    everywhere(timeline.active, lambda event, at: at < timeline.end_of(event))


@_add("priorities do not count", 18)
def _() -> None:
    around(timeline, "_rank", lambda original, event: 0.0 * original(event))


@_add("one bad event rejects all", 19)
def _() -> None:
    def receive(original: Any, self: events.EventDesk, message: Any, registration: Any) -> Any:
        try:
            for offered in message.events:
                self._checked(offered, None, registration.ven_id)
        except EventError:
            self._refuse_all(message, registration)
            return []
        return original(self, message, registration)

    around(events.EventDesk, "receive", receive)


@_add("vtnID is not checked", 21)
def _() -> None:
    around(
        events.EventDesk,
        "receive",
        lambda original, self, message, registration: original(
            self, replace(message, vtn_id=registration.vtn_id), registration
        ),
    )


@_add("an unknown cancelled event is run", 21)
def _() -> None:
    def change(desk: events.EventDesk, offered: Any) -> Any:
        unknown = _cancelled(offered) and _known(desk, offered) is None
        return replace(offered, status=EventStatus.FAR) if unknown else offered

    _offered(change)


@_add("venID is not checked", 21)
def _() -> None:
    def take(original: Any, self: inbox.Inbox, message: Any, registration: Any) -> Any:
        named = getattr(message, "ven_id", None) is not None
        return original(self, replace(message, ven_id=registration.ven_id) if named else message, registration)

    around(inbox.Inbox, "_take", take)


@_add("every event is for everybody", 22)
def _() -> None:
    around(signals, "targeted", lambda original, target, *more: original(NOBODY_NAMED, *more))


@_add("an event without targets is for nobody", 22)
def _() -> None:
    def targeted(original: Any, target: Target, *more: Any) -> Any:
        if target == NOBODY_NAMED:
            raise EventError(TARGET_MISMATCH, "no targets")
        return original(target, *more)

    around(signals, "targeted", targeted)


@_add("the start is not put off", 30)
def _() -> None:
    around(events.EventDesk, "_offset_s", lambda original, *arguments: 0.0 * original(*arguments))


@_add("each modification has a delay of its own", 65)
def _() -> None:
    around(events.EventDesk, "_offset_s", lambda original, self, offered, _: original(self, offered, None))


@_add("a cancelled event ends at once", 65)
def _() -> None:
    class First:
        def uniform(self, first: float, _: float) -> float:
            return first

    assert events._RANDOM is not None
    events._RANDOM = First()  # type: ignore[assignment]


@_add("cancels are not heard", 36, 59, 60)
def _() -> None:
    _offered(lambda desk, offered: None if _cancelled(offered) and _known(desk, offered) is not None else offered)


@_add("cancelled events run on", 36, 59, 60)
def _() -> None:
    original = timeline.end_of
    everywhere(original, lambda event: original(replace(event, status=EventStatus.ACTIVE)))


@_add("duration 0 is nothing", 47)
def _() -> None:
    def grid_event(original: Any, *arguments: Any) -> GridEvent:
        event: GridEvent = original(*arguments)
        return replace(event, duration_s=event.duration_s or 0.0)

    around(events, "grid_event", grid_event)


@_add("refused events are answered with 200", 48)
def _() -> None:
    around(
        events.EventDesk,
        "_answer_without_running",
        lambda original, self, offered, request_id, ven_id, _, *more: original(
            self, offered, request_id, ven_id, OK, *more
        ),
    )


@_add("any market context is taken", 48)
def _() -> None:
    def grid_event(original: Any, offered: Any, settings: Any, *more: Any) -> GridEvent:
        event: GridEvent = original(offered, settings.model_copy(update={"market_contexts": ()}), *more)
        return event

    around(events, "grid_event", grid_event)


@_add("new events are not run", 56)
def _() -> None:
    around(
        events.EventDesk,
        "_begin",
        lambda original, self, event: original(self, event) if event.modification_number else None,
    )


@_add("higher modifications are not heard", 57)
def _() -> None:
    def change(desk: events.EventDesk, offered: Any) -> Any:
        known = _known(desk, offered)
        higher = known is not None and offered.modification_number > known.event.modification_number
        return None if higher else offered

    _offered(change)


@_add("lower modifications are taken for the newest", 58)
def _() -> None:
    def change(desk: events.EventDesk, offered: Any) -> Any:
        known = _known(desk, offered)
        newest = offered.modification_number if known is None else known.event.modification_number
        return replace(offered, modification_number=max(newest, offered.modification_number))

    _offered(change)


@_add("absent events go on", 61)
def _() -> None:
    def receive(original: Any, *arguments: Any) -> list[GridEvent]:
        original(*arguments)
        return []

    around(events.EventDesk, "receive", receive)


@_add("absent events end unasked", 61)
def _() -> None:
    async def confirm(_: Any, self: session.Session, __: Any) -> None:
        await self._events.end(self._inbox.take_omitted())

    around(session.Session, "_confirm_omitted", confirm)


@_add("nobody is alarmed", 61)
def _() -> None:
    async def alarmed(_: Any, __: MetricsObserver, **___: Any) -> None:
        return None

    around(MetricsObserver, "alarmed", alarmed)


@_add("completed ends what runs", 66)
def _() -> None:
    def change(_: events.EventDesk, offered: Any) -> Any:
        completed = getattr(offered, "status", None) is EventStatus.COMPLETED
        return replace(offered, status=EventStatus.CANCELLED) if completed else offered

    _offered(change)


# --- signals


@_add("intervals need no numbers", 2)
def _() -> None:
    def signal(original: Any, one: Any, *more: Any) -> Any:
        points = tuple(replace(point, uid=None) for point in one.intervals)
        return original(replace(one, intervals=points), *more)

    around(signals, "_signal", signal)


@_add("intervals need not add up", 8)
def _() -> None:
    def signal(original: Any, one: Any, event: Any, *more: Any) -> Any:
        return original(one, replace(event, duration_s=sum(point.duration_s for point in one.intervals)), *more)

    around(signals, "_signal", signal)


@_add("SIMPLE has any level", 9)
def _() -> None:
    key = ("SIMPLE", "level")
    signals.MEANINGS[key] = signals.MEANINGS[key]._replace(convert=signals._as_it_is)


# --- polls


def _polling_every(share: float) -> None:
    async def poll(original: Any, self: session.Session, registration: Any) -> Any:
        slower = replace(registration, poll_interval_s=share * registration.poll_interval_s)
        return await original(self, slower)

    around(session.Session, "_poll", poll)


@_add("polls come late", 54)
def _() -> None:
    _polling_every(6.0)


@_add("polls come early", 55)
def _() -> None:
    _polling_every(0.5)


@_add("waiting messages are fetched at once", 55)
def _() -> None:
    async def poll(original: Any, self: session.Session, registration: Any) -> Any:
        self._settings = self._settings.model_copy(update={"drain_polls": True})
        return await original(self, registration)

    around(session.Session, "_poll", poll)


# --- operations


def _mute(name: str) -> None:
    """The VEN never says it, and takes it as said."""
    opening = f"<oadr:{name} ".encode()

    async def ask(original: Any, self: Exchange, service: Any, signed_object: bytes) -> Any:
        if opening in signed_object:
            return Response(response=EiResponse())
        return await original(self, service, signed_object)

    around(Exchange, "ask_encoded", ask)


def _deaf(name: str) -> None:
    """The VEN does not hear it."""

    async def ask(original: Any, *arguments: Any) -> Any:
        answer = await original(*arguments)
        if isinstance(answer, UpdatedReport) and answer.cancel is not None and name_of(answer.cancel) == name:
            return replace(answer, cancel=None)
        return Response(response=EiResponse()) if answer is not None and name_of(answer) == name else answer

    around(Exchange, "ask_encoded", ask)


def _deaf_to_pushed(name: str) -> None:
    async def handle(original: Any, self: push.PushEndpoint, call: Any) -> Any:
        return Response(response=EiResponse()) if name_of(call.message) == name else await original(self, call)

    around(push.PushEndpoint, "_handle", handle)


def _no_metadata(_: str) -> None:
    around(reports.ReportDesk, "_serve", lambda _, *__: None)


def _switch(operation: Operation) -> tuple[str, Callable[[str], None]]:
    if operation.service == PUSH:
        return "deaf to pushed", _deaf_to_pushed
    if operation.name == "METADATA":
        return "never again", _no_metadata
    return ("mute", _mute) if operation.sender is Sender.VEN else ("deaf to", _deaf)


for _operation in OPERATIONS:
    _words, _apply = _switch(_operation)
    _add(f"{_words} {_operation.name}", _operation)(partial(_apply, _operation.name))
