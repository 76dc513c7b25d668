"""Hours by purpose, across deaths."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.generator.journal import HoursLedger
from agent.generator.permits import WINDOW, Purpose

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def opened(folder: Path, engine: str = "g1") -> HoursLedger:
    return HoursLedger.open(folder / "hours.sqlite", engine=engine, permit="VA-1")


def test_hours_are_kept_by_purpose(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.begin(Purpose.TEST, 1000, NOW)
    ledger.end(1000 + 1800, NOW + timedelta(minutes=30))
    ledger.begin(Purpose.OUTAGE, 2800, NOW + timedelta(hours=2))
    ledger.count(2800 + 3600, NOW + timedelta(hours=3))
    assert ledger.running_for() is Purpose.OUTAGE
    assert ledger.used_h(NOW + timedelta(hours=3)) == {Purpose.TEST: 0.5, Purpose.OUTAGE: 1.0}
    ledger.close()


def test_a_run_outlives_the_process(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.begin(Purpose.MARKET, 100, NOW)
    first.count(160, NOW + timedelta(minutes=1))
    second = opened(tmp_path)
    assert (second.running_for(), second.counted_to_s()) == (Purpose.MARKET, 160)
    second.end(700, NOW + timedelta(minutes=10))
    assert second.used_h(NOW + timedelta(hours=1)) == {Purpose.MARKET: pytest.approx(600 / 3600)}
    first.close()
    second.close()


def test_a_change_of_purpose_ends_one_run_and_begins_another(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.begin(Purpose.MARKET, 0, NOW)
    ledger.begin(Purpose.OUTAGE, 3600, NOW + timedelta(hours=1))
    ledger.end(7200, NOW + timedelta(hours=2))
    assert ledger.used_h(NOW + timedelta(hours=3)) == {Purpose.MARKET: 1.0, Purpose.OUTAGE: 1.0}
    ledger.close()


def test_a_year_later_they_no_longer_count(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.begin(Purpose.TEST, 0, NOW)
    ledger.end(3600, NOW + timedelta(hours=1))
    assert ledger.used_h(NOW + WINDOW) == {Purpose.TEST: 1.0}
    assert ledger.used_h(NOW + WINDOW + timedelta(hours=2)) == {}
    ledger.close()


def test_engines_do_not_share_hours_and_an_hour_meter_that_was_replaced_takes_none_back(tmp_path: Path) -> None:
    ledger, other = opened(tmp_path), opened(tmp_path, "g2")
    ledger.begin(Purpose.TEST, 5000, NOW)
    ledger.end(8600, NOW + timedelta(hours=1))
    ledger.begin(Purpose.TEST, 0, NOW + timedelta(hours=2))
    ledger.end(1800, NOW + timedelta(hours=3))
    assert ledger.used_h(NOW + timedelta(hours=4)) == {Purpose.TEST: 1.5}
    assert other.used_h(NOW + timedelta(hours=4)) == {}
    ledger.close()
    other.close()


def test_runs_cannot_be_deleted(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.begin(Purpose.TEST, 0, NOW)
    ledger.close()
    with sqlite3.connect(tmp_path / "hours.sqlite") as connection, pytest.raises(sqlite3.IntegrityError, match="kept"):
        connection.execute("DELETE FROM run")
    connection.close()
