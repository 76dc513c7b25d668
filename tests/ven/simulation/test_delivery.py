"""The utility's own arithmetic: what it expects, what it received, what was delivered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from grid.events import EventStatus
from grid.intervals import Interval
from ven.simulation.delivery import Delivery, delivery, expected_intervals
from ven.simulation.errors import NotReadyError
from ven.simulation.received import Received
from ven.simulation.records import CalledEvent
from ven.wire.event import WireEvent

DTSTART = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
EVENT = CalledEvent(
    ven_id="v",
    event=WireEvent(
        event_id="e",
        modification_number=0,
        status=EventStatus.FAR,
        created_at=DTSTART,
        market_context="http://x",
        start=DTSTART,
        duration_s=110.0,
        signals=(),
    ),
    ramp_s=20.0,
    release_s=20.0,
    granularity_s=10,
    requested_kw=20.0,
)


def at(seconds: float) -> datetime:
    return DTSTART + timedelta(seconds=seconds)


END = at(110)


class Reported:
    """A VEN's readings, to be entered."""

    def __init__(self, created_s: float | None = -95.5) -> None:
        self.readings_kw: dict[tuple[str, datetime], float] = {}
        self.created_at = None if created_s is None else at(created_s)

    @property
    def received(self) -> Received:
        return Received(
            ven_name="v",
            resources={"a-kw": "a", "b-kw": "b"},
            reports_created_at=self.created_at,
            readings_kw=self.readings_kw,
        )

    def report(self, rid: str, first_s: int, last_s: int, kw: float) -> None:
        self.readings_kw.update({(rid, at(start)): kw for start in range(first_s, last_s, 10)})

    def delivery(self, event: CalledEvent = EVENT, now: datetime = END) -> Delivery:
        return delivery(event, self.received, 60.0, now)

    def expected(self) -> list[Interval]:
        return expected_intervals(EVENT, self.received, END)


def test_expected_is_every_rid_on_every_whole_boundary_to_the_end_of_release() -> None:
    ven = Reported()
    starts = [interval.start for interval in ven.expected()]
    assert (starts[0], starts[-1]) == (at(-90), at(120))
    assert ven.delivery().intervals_expected == 2 * (9 + 11 + 2)


@pytest.mark.parametrize(("created_s", "first_s"), [(-90.0, -90), (-89.999, -80), (-80.001, -80)])
def test_a_report_created_on_a_boundary_counts_from_it(created_s: float, first_s: int) -> None:
    assert Reported(created_s).expected()[0].start == at(first_s)


def test_nothing_is_expected_of_a_ven_without_reports() -> None:
    assert Reported(None).expected() == []
    assert Reported(500).expected() == []


def test_delivery_counts_the_hold_against_the_minute_before() -> None:
    ven = Reported()
    ven.report("a-kw", -90, -60, 999.0)
    ven.report("a-kw", -60, 0, 100.0)
    ven.report("a-kw", 0, 20, 95.0)
    ven.report("a-kw", 20, 110, 80.0)
    ven.report("a-kw", 110, 130, 999.0)
    ven.report("b-kw", -90, 130, 50.0)
    result = ven.delivery()
    assert result.baseline_kw == pytest.approx(150.0)
    assert result.delivered_kwh == pytest.approx(20.0 * 90 / 3600)
    assert result.by_resource["a"].delivered_kwh == pytest.approx(0.5)
    assert result.by_resource["b"].delivered_kwh == pytest.approx(0.0)
    assert result.intervals_received == result.intervals_expected == 44
    assert result.complete_until == at(130)


def test_a_missing_interval_delivers_nothing_and_shows() -> None:
    ven = Reported()
    ven.report("a-kw", -90, 130, 80.0)
    ven.report("b-kw", -90, 30, 50.0)
    ven.report("b-kw", 40, 130, 40.0)
    result = ven.delivery()
    assert result.intervals_received == result.intervals_expected - 1
    assert result.complete_until == at(30)
    assert result.by_resource["b"].delivered_kwh == pytest.approx(10.0 * 70 / 3600)
    assert (result.by_resource["a"].missing, result.by_resource["b"].missing) == ((), (at(30),))


def test_without_a_baseline_nothing_counts_as_delivered() -> None:
    ven = Reported()
    ven.report("a-kw", 0, 130, 80.0)
    result = ven.delivery()
    assert (result.by_resource["a"].baseline_kw, result.delivered_kwh) == (None, 0.0)


def test_a_cancelled_event_counts_until_it_was_cancelled_and_an_open_one_until_now() -> None:
    ven = Reported()
    ven.report("a-kw", -60, 0, 100.0)
    ven.report("a-kw", 0, 130, 80.0)
    cancelled = replace(EVENT, cancelled_at=at(50))
    assert ven.delivery(cancelled).by_resource["a"].delivered_kwh == pytest.approx(20.0 * 30 / 3600)
    assert ven.delivery(replace(EVENT, cancelled_at=at(-5))).delivered_kwh == 0.0
    open_ended = replace(EVENT, event=replace(EVENT.event, duration_s=0.0))
    assert ven.delivery(open_ended, at(70)).by_resource["a"].delivered_kwh == pytest.approx(20.0 * 50 / 3600)


def test_the_portfolio_is_sized_by_the_last_complete_intervals() -> None:
    ven = Reported()
    with pytest.raises(NotReadyError, match="wait for its reports"):
        ven.received.portfolio_kw(6)
    ven.report("a-kw", -90, -20, 100.0)
    ven.report("b-kw", -90, -50, 60.0)
    ven.report("b-kw", -50, -30, 40.0)
    assert ven.received.portfolio_kw(2) == pytest.approx(140.0)
    assert ven.received.portfolio_kw(3) == pytest.approx(100.0 + (60.0 + 40.0 + 40.0) / 3)
