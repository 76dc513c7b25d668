"""A VTN that is broken or means harm: what it says is refused, and the VENs go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from grid.clock import VirtualClock
from grid.intervals import ceil_to
from tests.ven.conftest import CLOCK, DecidingSink, Pki, RecordingObserver, SteadySource, ven_settings
from tests.ven.scripted import (
    REGISTERED,
    Answer,
    ScriptedVtn,
    asking,
    distributing,
    fine,
    in_turn,
    report_request,
    wire_event,
    wire_signal,
)
from ven.config import ReportName
from ven.errors import VtnError
from ven.service import VenGateway
from ven.wire.common import Period
from ven.wire.event import CreatedEvent, RequestEvent, WireEvent
from ven.wire.party import CreatePartyRegistration, Poll
from ven.wire.payload import Message
from ven.wire.report import CreatedReport, RegisterReport, ReportRequest, UpdateReport


class Stage:
    """One VEN and a VTN by script, in virtual time."""

    def __init__(self, pki: Pki, journal: Path) -> None:
        self.clock = VirtualClock(ceil_to(CLOCK.now(), 10))
        self.vtn = ScriptedVtn(pki.vtn(), self.clock)
        self.sink = DecidingSink()
        self.observer = RecordingObserver()
        url = "https://127.0.0.1/OpenADR2/Simple/2.0b"
        self.settings = ven_settings(pki.ven("ven-a"), url, reports=tuple(ReportName))
        self._journal = journal

    @asynccontextmanager
    async def running(self) -> AsyncIterator[VenGateway]:
        source = SteadySource({"site-1": 100.0, "site-2": 50.0})
        gateway = VenGateway(
            [self.settings], self._journal, self.sink, source, self.observer, self.clock, self.vtn.connect
        )
        task = asyncio.create_task(gateway.run())
        try:
            await self.clock.advance(0)
            yield gateway
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def codes(self) -> dict[str, int]:
        return {one.event_id: one.code for message in self.vtn.named(CreatedEvent) for one in message.responses}


@pytest.fixture
def stage(pki: Pki, tmp_path: Path) -> Stage:
    return Stage(pki, tmp_path / "ven.sqlite")


def failing(code: int) -> Answer:
    def answer(_: object) -> Message:
        raise VtnError(code, "scripted")

    return answer


LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LEVEL: dict[str, Any] = {"name": "LOAD_DISPATCH", "kind": "level", "measure": None}


@pytest.mark.parametrize(
    "change",
    [
        {"start": LAST},
        {"start": FIRST},
        {"start": FIRST, "duration_s": 5.0, "signals": (wire_signal((5.0, -1.0)),)},
        {"signals": (wire_signal((-60.0, -1.0), (170.0, -1.0)),)},
        {"duration_s": -60.0, "signals": (wire_signal((-60.0, -1.0)),)},
        {"startafter_s": -60.0},
        {"ramp_up_s": -60.0},
        {"signals": (wire_signal((110.0, float("inf"))),)},
        {"signals": (wire_signal((110.0, float("nan")), **LEVEL),)},
        {"signals": (wire_signal((110.0, float("-inf")), **LEVEL),)},
    ],
)
async def test_an_event_that_cannot_be_meant_is_refused_alone(stage: Stage, change: dict[str, Any]) -> None:
    good = wire_event("good", ceil_to(stage.clock.now() + timedelta(seconds=60), 10))
    bad = replace(good, event_id="bad", **change)
    async with stage.running():
        await stage.clock.advance(1)
        stage.vtn.answers[Poll] = in_turn([distributing(bad, good)])
        await stage.clock.advance(2)
        assert stage.codes() == {"good": 200, "bad": 454}
        await stage.clock.advance(300)
    async with stage.running():
        await stage.clock.advance(10)
    assert [event.event_id for event in stage.sink.accepted] == ["good"]


@pytest.mark.parametrize(
    "asked",
    [
        report_request("q", period=Period(start=LAST, duration_s=3600)),
        report_request("q", period=Period(start=FIRST, duration_s=3600)),
        report_request("q", back_duration_s=-60.0),
        report_request("q", granularity_s=-60.0),
        report_request("q", period=Period(start=datetime(2026, 1, 1, tzinfo=UTC), duration_s=-60)),
        report_request("q", back_duration_s=86400.0 * 3650),
        report_request(
            "q",
            specifier_id="history-usage",
            rids=("site-1-kw-history",),
            period=Period(start=datetime(2000, 1, 1, tzinfo=UTC), duration_s=86400.0 * 3650),
        ),
        report_request(
            "q", specifier_id="history-usage", rids=("site-1-kw-history",), period=Period(start=FIRST, duration_s=0)
        ),
    ],
)
async def test_a_report_that_cannot_be_meant_is_refused_alone(stage: Stage, asked: ReportRequest) -> None:
    stage.vtn.answers[RegisterReport] = asking(asked, report_request("good"))
    async with stage.running():
        await stage.clock.advance(25)
        (created,) = stage.vtn.named(CreatedReport)
        assert (created.response.code, created.pending) == (461, ("good",))
        assert {update.reports[0].request_id for update in stage.vtn.named(UpdateReport)} == {"good"}


@pytest.mark.parametrize("told_s", [0.0, -5.0])
async def test_a_poll_frequency_that_cannot_be_meant_is_ours(stage: Stage, told_s: float) -> None:
    stage.vtn.answers[CreatePartyRegistration] = lambda _: replace(REGISTERED, poll_interval_s=told_s)
    async with stage.running():
        await stage.clock.advance(35)
    assert len(stage.vtn.named(Poll)) == 4


async def test_a_stale_modification_takes_no_owed_answer_away(stage: Stage) -> None:
    start = ceil_to(stage.clock.now() + timedelta(seconds=600), 10)
    event = wire_event("e", start, modification_number=3)
    async with stage.running():
        await stage.clock.advance(1)
        stage.vtn.answers[CreatedEvent] = failing(503)
        stale: WireEvent = replace(event, modification_number=2)
        stage.vtn.answers[Poll] = in_turn([distributing(event), distributing(stale)])
        await stage.clock.advance(5)
        stage.vtn.received.clear()
        del stage.vtn.answers[CreatedEvent]
        await stage.clock.advance(30)
    answers = {
        (one.modification_number, one.code) for message in stage.vtn.named(CreatedEvent) for one in message.responses
    }
    assert answers == {(3, 200), (2, 450)}


async def test_a_refusal_still_owed_gives_way_to_the_answer_of_the_corrected_event(stage: Stage) -> None:
    start = ceil_to(stage.clock.now() + timedelta(seconds=600), 10)
    event = wire_event("e", start)
    async with stage.running():
        await stage.clock.advance(1)
        stage.vtn.answers[CreatedEvent] = failing(503)
        wrong = replace(event, startafter_s=-1.0)
        stage.vtn.answers[Poll] = in_turn([distributing(wrong), distributing(event)])
        await stage.clock.advance(5)
        stage.vtn.received.clear()
        del stage.vtn.answers[CreatedEvent]
        await stage.clock.advance(30)
    assert [one.code for message in stage.vtn.named(CreatedEvent) for one in message.responses] == [200]


@pytest.mark.parametrize("code", [451, 500, 404])
async def test_a_vtn_that_lists_no_events_is_polled_all_the_same(stage: Stage, code: int) -> None:
    start = ceil_to(stage.clock.now() + timedelta(seconds=600), 10)
    stage.vtn.answers[RequestEvent] = failing(code)
    async with stage.running() as gateway:
        await stage.clock.advance(5)
        stage.vtn.answers[Poll] = in_turn([distributing(wire_event("e", start))])
        await stage.clock.advance(2)
        assert stage.codes() == {"e": 200}
        assert gateway.status()[0].state == "serving"
        await stage.clock.advance(600)
        assert len(stage.vtn.named(RequestEvent)) < 40
        stage.vtn.answers[RequestEvent] = fine
        stage.vtn.received.clear()
        await stage.clock.advance(61)
        assert len(stage.vtn.named(RequestEvent)) == 1


async def test_a_very_wide_report_goes_out_in_messages_that_a_vtn_can_read(pki: Pki, tmp_path: Path) -> None:
    stage = Stage(pki, tmp_path / "ven.sqlite")
    names = [f"a-rather-long-name-of-site-{k}" for k in range(20)]
    resources = tuple({"resource_id": name, "rid": name} for name in names)
    values = {**stage.settings.model_dump(), "resources": resources}
    stage.settings = type(stage.settings).model_validate(values)
    day = Period(start=ceil_to(stage.clock.now(), 60) - timedelta(days=1), duration_s=86400)
    asked = report_request(
        "q", granularity_s=60, specifier_id="history-usage", rids=tuple(f"{name}-history" for name in names), period=day
    )
    feeds = report_request(
        "f",
        granularity_s=10,
        specifier_id="history-greenbutton",
        rids=tuple(f"{name}-greenbutton" for name in names[:2]),
        period=day,
    )
    stage.vtn.answers[RegisterReport] = asking(asked, feeds)
    source = SteadySource(dict.fromkeys(names, 1.0))
    gateway = VenGateway(
        [stage.settings], tmp_path / "v.sqlite", stage.sink, source, stage.observer, stage.clock, stage.vtn.connect
    )
    task = asyncio.create_task(gateway.run())
    try:
        for _ in range(60):
            await stage.clock.advance(1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    updates = [one for one in stage.vtn.received if isinstance(one.message, UpdateReport)]
    assert max(len(one.content) for one in updates) < 2_500_000
    usage = [one.message.reports[0] for one in updates if one.message.reports[0].request_id == "q"]
    assert sum(len(interval.payloads) for report in usage for interval in report.intervals) == 20 * 1440
    read = [one.message.reports[0] for one in updates if one.message.reports[0].request_id == "f"]
    found = [interval.green_button.count(b"<IntervalReading>") for report in read for interval in report.intervals]
    assert sum(found) == 2 * 8640
