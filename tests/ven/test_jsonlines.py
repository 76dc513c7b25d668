"""Events to and readings from JSON lines."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grid.clock import VirtualClock
from grid.errors import MessageError
from grid.events import EventStatus, OptType, SignalUnit
from grid.intervals import Interval
from tests.ven.test_journal import event
from ven.jsonlines import JsonLinesSink, JsonLinesSource
from ven.ports import ResourceState
from ven.timeline import InForce, SignalValue

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
TEN = Interval.lasting(NOW, 10)


def line(start_s: float, end_s: float, kw: float, resource_id: str = "site-1") -> str:
    start, end = (NOW + timedelta(seconds=s) for s in (start_s, end_s))
    return json.dumps({"resource_id": resource_id, "start": start.isoformat(), "end": end.isoformat(), "kw": kw}) + "\n"


async def test_an_event_is_written_once_and_has_one_answer(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = await JsonLinesSink(path, {"enrolment-1": OptType.OPT_IN}, VirtualClock(NOW)).accept(event())
    again = await JsonLinesSink(path, {"enrolment-1": OptType.OPT_OUT}, VirtualClock(NOW)).accept(event())
    other = await JsonLinesSink(path, {"enrolment-1": OptType.OPT_OUT}, VirtualClock(NOW)).accept(event(1))
    assert (first.opt, other.opt) == (OptType.OPT_IN, OptType.OPT_OUT)
    assert again == first
    written = [json.loads(text)["event"]["modification_number"] for text in path.read_text().splitlines()]
    assert written == [0, 1]


async def test_a_foreign_events_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("hello\n")
    with pytest.raises(MessageError, match="move it away"):
        await JsonLinesSink(path, {}, VirtualClock(NOW)).accept(event())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
async def test_a_line_that_a_death_left_unfinished_is_written_anew(tmp_path: Path, share: float) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLinesSink(path, {"enrolment-1": OptType.OPT_IN}, VirtualClock(NOW))
    await sink.accept(event())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: round(share * len(whole))])
    await sink.accept(event(1))
    assert [json.loads(text)["event"]["modification_number"] for text in path.read_text().splitlines()] == [0, 1]


async def test_a_foreign_end_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("hello")
    with pytest.raises(MessageError, match="move it away"):
        await JsonLinesSink(path, {"enrolment-1": OptType.OPT_IN}, VirtualClock(NOW)).accept(event())
    assert path.read_text() == "hello"


async def test_a_reading_is_the_time_weighted_mean_of_lines_that_cover_it(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    source = JsonLinesSource(path, VirtualClock(NOW))
    assert await source.read(["site-1"], TEN) == {"site-1": None}
    path.write_text(line(-5, 4, 10.0) + line(0, 10, 7.0, "site-2"))
    assert (await source.read(["site-1"], TEN))["site-1"] is None
    with path.open("a") as file:
        file.write(line(4, 10, 20.0))
    readings = await source.read(["site-1", "site-2", "site-3"], TEN)
    assert {key: None if reading is None else reading.kw for key, reading in readings.items()} == {
        "site-1": pytest.approx(16.0),
        "site-2": pytest.approx(7.0),
        "site-3": None,
    }


@pytest.mark.parametrize("text", [line(0, 4, 1.0) + line(5, 10, 1.0), line(0, 5, 1.0) * 2, line(1, 10, 1.0)])
async def test_a_gap_is_missing_whatever_else_is_there(tmp_path: Path, text: str) -> None:
    path = tmp_path / "readings.jsonl"
    path.write_text(text)
    assert (await JsonLinesSource(path, VirtualClock(NOW)).read(["site-1"], TEN))["site-1"] is None


async def test_a_line_being_written_is_left_for_later_and_a_bad_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    whole = line(0, 10, 3.0)
    path.write_text(whole[:-10])
    source = JsonLinesSource(path, VirtualClock(NOW))
    assert (await source.read(["site-1"], TEN))["site-1"] is None
    path.write_text(whole)
    reading = (await source.read(["site-1"], TEN))["site-1"]
    assert reading is not None
    assert reading.kw == pytest.approx(3.0)
    with path.open("a") as file:
        file.write('{"kw": NaN}\n')
    with pytest.raises(MessageError, match="write resource_id, start, end and kw"):
        await source.read(["site-1"], TEN)


async def test_what_comes_into_force_stands_between_the_events(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLinesSink(path, {"enrolment-1": OptType.OPT_IN}, VirtualClock(NOW))
    first = await sink.accept(event())
    value = SignalValue(name="LOAD_DISPATCH", type="delta", unit=SignalUnit.KW, value=-30.0, interval=0)
    running = InForce(event_id="event-1", modification_number=0, resource_ids=("site-1",), signals=(value,))
    sink.announce("enrolment-1", [running], NOW)
    sink.announce("enrolment-1", [], NOW + timedelta(seconds=110))
    assert await sink.accept(event()) == first
    _, began, ended = map(json.loads, path.read_text().splitlines())
    assert (began["enrolment_id"], began["in_force"][0]["signals"][0]["value"]) == ("enrolment-1", -30.0)
    assert ended["in_force"] == []


async def test_a_cancelled_event_is_another_question(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLinesSink(path, {"enrolment-1": OptType.OPT_IN}, VirtualClock(NOW))
    await sink.accept(event())
    await sink.accept(replace(event(), status=EventStatus.CANCELLED, cancel_at=NOW))
    written = [json.loads(text)["event"]["status"] for text in path.read_text().splitlines()]
    assert written == ["far", "cancelled"]


async def test_a_resource_is_online_while_readings_come(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    clock = VirtualClock(NOW)
    source = JsonLinesSource(path, clock)
    assert await source.state(["site-1"]) == {}
    path.write_text(line(0, 10, 7.0) + line(10, 20, 8.0))
    await clock.advance(60)
    assert await source.state(["site-1", "site-2"]) == {"site-1": ResourceState(online=True, kw=8.0)}
    await clock.advance(120)
    assert await source.state(["site-1"]) == {"site-1": ResourceState(online=False)}
