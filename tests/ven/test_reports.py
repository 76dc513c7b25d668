"""EiReport with our VTN, in virtual time: every kind of report, each request with its own life, data held once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree  # type: ignore[import-untyped]

from tests.ven.world import START, World, world
from ven.greenbutton import ESPI
from ven.ports import Quality
from ven.simulation.faults import FaultKind
from ven.simulation.records import HeldInterval, RequestState
from ven.wire.common import Period
from ven.wire.payload import Service
from ven.wire.report import (
    METADATA,
    CanceledReport,
    CancelReport,
    CreatedReport,
    RegisterReport,
    ResourceStatus,
    UpdateReport,
)

ALL = ("TELEMETRY_USAGE", "TELEMETRY_STATUS", "HISTORY_USAGE", "HISTORY_GREENBUTTON")
QUIET = {"request_reports": False}


async def serving(one: World) -> None:
    await one.until(lambda: one.status.state == "serving")


def ask(
    one: World,
    specifier_id: str,
    *,
    rids: tuple[str, ...] = (),
    granularity_s: float = 60.0,
    back_duration_s: float = 0.0,
    period: Period | None = None,
) -> str:
    """The operator asks for a report; gives the reportRequestID."""
    with one.operator():
        request = one.vtn.reports.request(
            one.ven,
            specifier_id=specifier_id,
            rids=rids,
            granularity_s=granularity_s,
            back_duration_s=back_duration_s,
            period=period,
        )
    return request.request_id


def held(one: World, request_id: str) -> list[HeldInterval]:
    found = one.vtn.journal.intervals(one.ven_id)
    return sorted((held for held in found if held.report_request_id == request_id), key=lambda held: held.start)


def starts(one: World, request_id: str) -> list[datetime]:
    return sorted({found.start for found in held(one, request_id)})


def state(one: World, request_id: str) -> RequestState:
    record = one.vtn.journal.request(request_id)
    assert record is not None
    return record.state


def updates(one: World, request_id: str) -> list[UpdateReport]:
    found: list[UpdateReport] = one.transport.named(UpdateReport)
    return [update for update in found if update.reports[0].request_id == request_id]


def every(step_s: float, first: datetime, count: int) -> list[datetime]:
    return [first + timedelta(seconds=step_s * k) for k in range(count)]


async def test_the_offer_names_every_report_and_every_channel(tmp_path: Path) -> None:
    resources = ({"resource_id": "site-1", "rid": "one", "energy": True}, {"resource_id": "site-2", "rid": "two"})
    async with world(tmp_path, reports=ALL, resources=resources) as one:
        await serving(one)
        (offer,) = one.transport.named(RegisterReport)
        assert {report.name: [one.rid for one in report.descriptions] for report in offer.reports} == {
            "METADATA_TELEMETRY_USAGE": ["one", "one-energy", "two"],
            "METADATA_TELEMETRY_STATUS": ["one-status", "two-status"],
            "METADATA_HISTORY_USAGE": ["one-history", "one-history-energy", "two-history"],
            "METADATA_HISTORY_GREENBUTTON": ["one-greenbutton", "two-greenbutton"],
        }


async def test_power_and_energy_of_one_measurement(tmp_path: Path) -> None:
    resources = ({"resource_id": "site-1", "rid": "one", "energy": True},)
    async with world(tmp_path, vtn=QUIET, resources=resources) as one:
        await serving(one)
        request_id = ask(one, "telemetry-usage", granularity_s=60, back_duration_s=60)
        await one.clock.advance(150)
        values = {found.rid: (found.value, found.kw) for found in held(one, request_id)}
        assert values == {"one": ("100.0", 100.0), "one-energy": (str(100.0 / 60.0), 100.0)}


async def test_granularity_and_back_duration_are_exact(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        await one.clock.advance(37.3)
        wanted = {45: 45, 90: 270, 420: 420}
        asked = {step_s: ask(one, "telemetry-usage", granularity_s=step_s, back_duration_s=back_s)
                 for step_s, back_s in wanted.items()}  # fmt: skip
        await one.clock.advance(3600)
        for step_s, request_id in asked.items():
            found = starts(one, request_id)
            assert (found[0].timestamp() % step_s, found[0] >= START + timedelta(seconds=37)) == (0.0, True)
            assert found == every(step_s, found[0], len(found))
            per_message = {len(update.reports[0].intervals) for update in updates(one, request_id)}
            assert per_message == {wanted[step_s] // step_s}
        assert all(found.duplicates == 0 for found in one.vtn.journal.intervals(one.ven_id))


async def test_a_one_shot_is_one_report_and_then_over(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        request_id = ask(one, "telemetry-usage")
        await one.clock.advance(600)
        assert starts(one, request_id) == [START + timedelta(seconds=60)]
        assert len(updates(one, request_id)) == 1


async def test_a_request_for_a_time_to_come_waits_for_it(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        begin = START + timedelta(seconds=600)
        period = Period(start=begin, duration_s=180)
        request_id = ask(one, "telemetry-usage", back_duration_s=60, period=period)
        await one.clock.advance(599)
        assert held(one, request_id) == []
        await one.clock.advance(900)
        assert starts(one, request_id) == every(60, begin, 3)


@pytest.mark.parametrize("named", [False, True])
async def test_a_history_is_the_time_it_names_or_lies_behind(tmp_path: Path, named: bool) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        begin = START - timedelta(hours=3)
        period = Period(start=begin, duration_s=7200)
        request_id = (
            ask(one, "history-usage", period=period) if named else ask(one, "history-usage", back_duration_s=1800)
        )
        await one.clock.advance(30)
        if not named:
            begin = START - timedelta(seconds=1800)
        assert starts(one, request_id) == every(60, begin, 120 if named else 30)
        assert {found.rid for found in held(one, request_id)} == {"site-1-kw-history", "site-2-kw-history"}
        await one.clock.advance(600)
        assert len(updates(one, request_id)) == 1
        await one.restart()
        await one.clock.advance(600)
        assert len(updates(one, request_id)) == 1


async def test_a_long_history_goes_out_in_parts_that_are_held_once(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        one.fault(FaultKind.LOSE_REPLY, Service.REPORT, times=3)
        period = Period(start=START - timedelta(hours=24), duration_s=86400)
        request_id = ask(one, "history-usage", period=period, rids=("site-1-kw-history",))
        await one.clock.advance(120)
        assert starts(one, request_id) == every(60, period.start, 1440)
        assert {found.conflicts for found in held(one, request_id)} == {0}
        assert {len(update.reports[0].intervals) for update in updates(one, request_id)} == {500, 440}


async def test_a_history_that_names_no_time_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        ask(one, "history-usage")
        await one.clock.advance(30)
        (created,) = one.transport.named(CreatedReport)
        assert (created.response.code, created.pending) == (461, ())
        assert "names no time" in created.response.description


async def test_what_was_not_measured_is_absent_from_a_history(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        begin = START - timedelta(seconds=600)
        one.meters.missing |= {("site-1", begin), ("site-1", begin + timedelta(seconds=60)), ("site-2", begin)}
        request_id = ask(one, "history-usage", period=Period(start=begin, duration_s=180))
        await one.clock.advance(60)
        assert [(found.rid, found.start) for found in held(one, request_id)] == [
            ("site-2-kw-history", begin + timedelta(seconds=60)),
            ("site-1-kw-history", begin + timedelta(seconds=120)),
            ("site-2-kw-history", begin + timedelta(seconds=120)),
        ]


async def test_green_button_is_a_feed_of_watt_hours_per_resource(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        begin = START - timedelta(hours=2)
        one.meters.missing.add(("site-1", begin + timedelta(seconds=900)))
        one.meters.uncertain.add(("site-1", begin))
        period = Period(start=begin, duration_s=3600)
        request_id = ask(one, "history-greenbutton", granularity_s=900, period=period)
        await one.clock.advance(60)
        (update,) = updates(one, request_id)
        first, second = update.reports[0].intervals
        assert [first.uid, second.uid] == ["site-1-kw-greenbutton", "site-2-kw-greenbutton"]
        assert first.start == begin
        assert first.green_button is not None
        feed = etree.fromstring(first.green_button)
        readings = [
            (
                int(reading.findtext(f"{{{ESPI}}}timePeriod/{{{ESPI}}}start")) - begin.timestamp(),
                reading.findtext(f"{{{ESPI}}}value"),
                reading.findtext(f"{{{ESPI}}}ReadingQuality/{{{ESPI}}}quality"),
            )
            for reading in feed.iter(f"{{{ESPI}}}IntervalReading")
        ]
        assert readings == [(0.0, "25000", "13"), (1800.0, "25000", "0"), (2700.0, "25000", "0")]
        assert feed.findtext(f".//{{{ESPI}}}intervalLength") == "900"


async def test_status_is_what_is_now(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        request_id = ask(one, "telemetry-status", granularity_s=60, back_duration_s=60)
        await one.clock.advance(200)
        (interval,) = updates(one, request_id)[0].reports[0].intervals
        assert (interval.start, interval.duration_s) == (START + timedelta(seconds=60), 60.0)
        assert [payload.rid for payload in interval.payloads] == ["site-1-kw-status", "site-2-kw-status"]
        status = interval.payloads[0].value
        assert isinstance(status, ResourceStatus)
        assert (status.online, status.manual_override) == (True, False)
        assert status.capacity is not None
        assert status.capacity.current == 100.0
        assert starts(one, request_id) == every(60, START + timedelta(seconds=60), 2)


async def test_nobody_knows_afterwards_what_the_status_was(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL) as one:
        await serving(one)
        request_id = ask(one, "telemetry-status", granularity_s=60, back_duration_s=60)
        await one.clock.advance(130)
        await one.stop()
        await one.clock.advance(600)
        await one.restart()
        await one.clock.advance(120)
        first = START + timedelta(seconds=60)
        before, after = every(60, first, 1), every(60, first + timedelta(seconds=600), 3)
        found = starts(one, request_id)
        assert found[: len(before)] == before
        assert set(found) <= set(before + after)
        assert after[-1] in found


@pytest.mark.parametrize("quality", list(Quality))
async def test_data_carries_its_quality(tmp_path: Path, quality: Quality) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        if quality is Quality.UNCERTAIN:
            one.meters.uncertain.add(("site-1", START + timedelta(seconds=60)))
        request_id = ask(one, "telemetry-usage")
        await one.clock.advance(150)
        (interval,) = updates(one, request_id)[0].reports[0].intervals
        words = {Quality.GOOD: "Quality Good - Non Specific", Quality.UNCERTAIN: "Quality Uncertain - Non Specific"}
        assert [payload.quality for payload in interval.payloads] == [words[quality], words[Quality.GOOD]]


async def test_metadata_asked_for_again_ends_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"report_interval_s": 60}) as one:
        await serving(one)
        (running,) = [record.request.request_id for record in one.vtn.reports.all_requests()]
        request_id = ask(one, METADATA)
        await one.until(lambda: len(one.transport.named(RegisterReport)) == 2)
        again = one.transport.named(RegisterReport)[1]
        assert again.report_request_id == request_id
        await one.clock.advance(300)
        assert state(one, request_id) is RequestState.ENDED
        assert state(one, running) is RequestState.PENDING
        assert len(starts(one, running)) >= 5
        assert len(one.transport.named(RegisterReport)) == 2


async def test_metadata_is_sent_until_the_vtn_has_it(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        request_id = ask(one, METADATA)
        await one.until(lambda: bool(one.transport.named(CreatedReport)))
        one.fault(FaultKind.SERVER_ERROR, Service.REPORT, times=4)
        await one.restart()
        await one.until(lambda: state(one, request_id) is RequestState.ENDED, 120)


async def test_a_last_report_follows_a_cancel_that_asks_for_it(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        request_id = ask(one, "telemetry-usage", granularity_s=10, back_duration_s=300)
        await one.clock.advance(200)
        assert held(one, request_id) == []
        with one.operator():
            one.vtn.reports.cancel(request_id, with_update=False, report_to_follow=True)
        await one.until(lambda: bool(one.transport.named(CanceledReport)))
        cancelled = one.clock.now()
        await one.clock.advance(900)
        found = starts(one, request_id)
        first = START + timedelta(seconds=10)
        assert found == every(10, first, len(found))
        assert cancelled - timedelta(seconds=20) <= found[-1] < cancelled
        assert state(one, request_id) is RequestState.ENDED
        assert len(updates(one, request_id)) == 1


async def test_without_a_report_to_follow_nothing_follows(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        request_id = ask(one, "telemetry-usage", granularity_s=10, back_duration_s=300)
        await one.clock.advance(200)
        with one.operator():
            one.vtn.reports.cancel(request_id, with_update=False, report_to_follow=False)
        await one.clock.advance(900)
        assert (held(one, request_id), state(one, request_id)) == ([], RequestState.ENDED)


async def test_a_cancel_that_rides_on_an_acknowledgement(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        first = ask(one, "telemetry-usage", granularity_s=10, back_duration_s=10)
        second = ask(one, "telemetry-usage", granularity_s=10, back_duration_s=10)
        await one.until(lambda: bool(updates(one, first)) and bool(updates(one, second)))
        with one.operator():
            one.vtn.reports.cancel(first, with_update=True, report_to_follow=False)
        await one.until(lambda: state(one, first) is RequestState.ENDED)
        await one.clock.advance(30)
        replies = one.transport.named(CanceledReport)
        assert {(reply.response.code, reply.pending) for reply in replies} == {(200, (second,))}
        before = len(updates(one, first))
        await one.clock.advance(60)
        assert len(updates(one, first)) == before
        assert len(updates(one, second)) > before


async def test_a_cancel_may_come_twice_and_an_unknown_one_ends_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET) as one:
        await serving(one)
        request_id = ask(one, "telemetry-usage", granularity_s=10, back_duration_s=10)
        await one.until(lambda: bool(updates(one, request_id)))
        with one.operator():
            for unknown in ("c1", "c2"):
                one.vtn.mailbox.put(
                    one.ven_id, CancelReport(request_id=unknown, report_request_ids=("nobody's",), ven_id=one.ven_id)
                )
            one.vtn.reports.cancel(request_id, with_update=False, report_to_follow=False)
            one.vtn.reports.cancel(request_id, with_update=False, report_to_follow=False)
        await one.until(lambda: len(one.transport.named(CanceledReport)) == 4)
        replies = one.transport.named(CanceledReport)
        assert [reply.response.code for reply in replies] == [452, 452, 200, 200]
        assert [reply.pending for reply in replies] == [(request_id,), (request_id,), (), ()]
        assert one.status.state == "serving"


async def test_a_day_of_outage_arrives_whole_oldest_first_each_interval_once(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"report_interval_s": 900, "poll_interval_s": 60}) as one:
        await serving(one)
        (request_id,) = [record.request.request_id for record in one.vtn.reports.all_requests()]
        await one.clock.advance(900)
        one.transport.down = True
        await one.clock.advance(86400)
        await one.restart()
        one.transport.down = False
        one.fault(FaultKind.LOSE_REPLY, Service.REPORT, times=3)
        await one.clock.advance(1800)
        found = held(one, request_id)
        assert starts(one, request_id) == every(900, START, len(found) // 2)
        assert len(found) // 2 >= 98
        assert {one.conflicts for one in found} == {0}
        assert one.status.reports_owed == 0
        sent = [update.reports[0].start for update in updates(one, request_id)]
        assert sent == sorted(sent, key=str)


async def test_payloads_apart_are_one_an_interval_and_feeds_stay_whole(tmp_path: Path) -> None:
    async with world(tmp_path, vtn=QUIET, reports=ALL, report_payloads_apart=True) as one:
        await serving(one)
        usage = ask(one, "telemetry-usage", granularity_s=60, back_duration_s=120)
        period = Period(start=START - timedelta(hours=1), duration_s=3600)
        feeds = ask(one, "history-greenbutton", granularity_s=900, period=period)
        await one.clock.advance(200)
        (update,) = updates(one, usage)
        assert [[payload.rid for payload in interval.payloads] for interval in update.reports[0].intervals] == [
            ["site-1-kw"],
            ["site-2-kw"],
        ] * 2
        (update,) = updates(one, feeds)
        assert [interval.uid for interval in update.reports[0].intervals] == [
            "site-1-kw-greenbutton",
            "site-2-kw-greenbutton",
        ]
