"""The utility's own arithmetic: what it expects, what it received, what was delivered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from grid.events import OptType
from ven.simulation.book import CalledEvent, NotReadyError, OptRecord, VenRecord
from ven.simulation.delivery import delivery, expected_intervals

DTSTART = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
EVENT = CalledEvent(
    event_id="e",
    ven_id="v",
    dtstart=DTSTART,
    active_s=110,
    ramp_s=20,
    release_s=20,
    granularity_s=10,
    requested_kw=20.0,
)


def at(seconds: float) -> datetime:
    return DTSTART + timedelta(seconds=seconds)


def record(created_s: float = -95.5) -> VenRecord:
    return VenRecord(
        ven_id="v",
        ven_name="v",
        fingerprint="f",
        registration_id="r",
        registered_at=at(-200),
        resources={"a-kw": "a", "b-kw": "b"},
        reports_created_at=at(created_s),
    )


def report(ven: VenRecord, rid: str, first_s: int, last_s: int, kw: float) -> None:
    ven.receive(rid, [(at(start), kw) for start in range(first_s, last_s, 10)])


def test_expected_is_every_rid_on_every_whole_boundary_to_the_end_of_release() -> None:
    ven = record(created_s=-95.5)
    starts = [interval.start for interval in expected_intervals(EVENT, ven)]
    assert (starts[0], starts[-1]) == (at(-90), at(120))
    assert delivery(EVENT, ven, 60.0).intervals_expected == 2 * (9 + 11 + 2)


@pytest.mark.parametrize(("created_s", "first_s"), [(-90.0, -90), (-89.999, -80), (-80.001, -80)])
def test_a_report_created_on_a_boundary_counts_from_it(created_s: float, first_s: int) -> None:
    assert expected_intervals(EVENT, record(created_s))[0].start == at(first_s)


def test_nothing_is_expected_of_a_ven_without_reports() -> None:
    ven = record()
    ven.reports_created_at = None
    assert expected_intervals(EVENT, ven) == []
    assert expected_intervals(EVENT, record(created_s=500)) == []


def test_delivery_counts_the_hold_against_the_minute_before() -> None:
    ven = record()
    report(ven, "a-kw", -90, -60, 999.0)
    report(ven, "a-kw", -60, 0, 100.0)
    report(ven, "a-kw", 0, 20, 95.0)
    report(ven, "a-kw", 20, 110, 80.0)
    report(ven, "a-kw", 110, 130, 999.0)
    report(ven, "b-kw", -90, 130, 50.0)
    result = delivery(EVENT, ven, 60.0)
    assert result.baseline_kw == pytest.approx(150.0)
    assert result.delivered_kwh == pytest.approx(20.0 * 90 / 3600)
    assert result.by_resource["a"].delivered_kwh == pytest.approx(0.5)
    assert result.by_resource["b"].delivered_kwh == pytest.approx(0.0)
    assert result.intervals_received == result.intervals_expected == 44
    assert result.complete_until == at(130)


def test_a_missing_interval_delivers_nothing_and_shows() -> None:
    ven = record()
    report(ven, "a-kw", -90, 130, 80.0)
    report(ven, "b-kw", -90, 30, 50.0)
    report(ven, "b-kw", 40, 130, 40.0)
    result = delivery(EVENT, ven, 60.0)
    assert result.intervals_received == result.intervals_expected - 1
    assert result.complete_until == at(30)
    assert result.by_resource["b"].delivered_kwh == pytest.approx(10.0 * 70 / 3600)
    assert (result.by_resource["a"].missing, result.by_resource["b"].missing) == ((), (at(30),))


def test_without_a_baseline_nothing_counts_as_delivered() -> None:
    ven = record()
    report(ven, "a-kw", 0, 130, 80.0)
    result = delivery(EVENT, ven, 60.0)
    assert (result.by_resource["a"].baseline_kw, result.delivered_kwh) == (None, 0.0)


def test_the_first_report_of_an_interval_counts() -> None:
    ven = record()
    report(ven, "a-kw", 0, 20, 80.0)
    report(ven, "a-kw", 10, 30, 70.0)
    assert [ven.readings_kw["a-kw", at(start)] for start in (0, 10, 20)] == [80.0, 80.0, 70.0]
    assert ven.duplicates == 1


def test_the_portfolio_is_sized_by_the_last_complete_intervals() -> None:
    ven = record()
    with pytest.raises(NotReadyError, match="wait for its reports"):
        ven.portfolio_kw(6)
    report(ven, "a-kw", -90, -20, 100.0)
    report(ven, "b-kw", -90, -50, 60.0)
    report(ven, "b-kw", -50, -30, 40.0)
    assert ven.portfolio_kw(2) == pytest.approx(140.0)
    assert ven.portfolio_kw(3) == pytest.approx(100.0 + (60.0 + 40.0 + 40.0) / 3)


def test_a_repeated_answer_is_counted_and_a_changed_one_listed() -> None:
    event = CalledEvent(
        event_id="e",
        ven_id="v",
        dtstart=DTSTART,
        active_s=110,
        ramp_s=20,
        release_s=20,
        granularity_s=10,
        requested_kw=20.0,
    )
    for opt in (OptType.OPT_IN, OptType.OPT_IN, OptType.OPT_OUT):
        event.answered(OptRecord(ven_id="v", opt=opt, modification_number=0, at=DTSTART))
    assert [(answer.opt, answer.repeats) for answer in event.opts] == [("optIn", 1), ("optOut", 0)]
