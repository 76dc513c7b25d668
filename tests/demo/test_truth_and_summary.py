"""The demo's figures are arithmetic on the plant's log, and its verdict fails when any of them does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aggregator.demo.errors import DemoError
from aggregator.demo.summary import AuditSummary, SettlementSummary, SiteSummary, Summary
from aggregator.demo.truth import (
    TrueSecond,
    caps_share,
    read_truth,
    seconds_over_limit,
    settle_s,
    tracking_rmse_pct,
)
from grid.intervals import Interval

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def seconds(*site_kw: float, battery_kw: float = 2.0, caps_kw: float = 18.0) -> list[TrueSecond]:
    return [
        TrueSecond(start=START + timedelta(seconds=k), site_kw=kw, battery_kw=battery_kw, caps_kw=caps_kw)
        for k, kw in enumerate(site_kw)
    ]


def test_tracking_is_judged_on_five_second_means() -> None:
    hold = seconds(*([79.0, 81.0, 79.0, 81.0, 80.0] * 3), *([81.0] * 5))
    assert tracking_rmse_pct(hold, 80.0, 100.0) == pytest.approx(0.5)
    assert seconds_over_limit(hold, 80.0) == 11
    assert caps_share(hold) == pytest.approx(0.9)


def test_settled_is_the_first_mean_from_which_all_later_ones_stay_close() -> None:
    ramp = [95.0] * 5 + [81.0] * 5 + [90.0] * 5 + [81.5] * 5 + [79.0] * 5
    assert settle_s(seconds(*ramp), 80.0, 100.0) == 15.0
    assert settle_s(seconds(*ramp, *([90.0] * 5)), 80.0, 100.0) is None


def test_a_missing_second_of_truth_is_an_error_and_a_half_written_row_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    rows = [
        {"t": (START + timedelta(seconds=k)).isoformat(), "site_kw": 1.0, "battery_kw": 0.0, "caps_kw": 0.0}
        for k in range(5)
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"t": "2026')
    assert len(read_truth(log, Interval.lasting(START, 5))) == 5
    with pytest.raises(DemoError, match="5 of 6 seconds"):
        read_truth(log, Interval.lasting(START, 6))


def site(**changes: Any) -> SiteSummary:
    figures: dict[str, Any] = {
        "site_id": "a", "status": "ok", "baseline_kw": 100.0, "limit_kw": 80.0, "mean_kw": 79.8,
        "tracking_rmse_pct": 0.5, "seconds_over_limit": 3, "reduction_share": 0.5, "caps_share": 0.9,
        "response_s": 1.5, "settle_s": 20.0, "caps_restored": True,
    }  # fmt: skip
    return SiteSummary(**{**figures, **changes})


def summary(**changes: Any) -> Summary:
    figures: dict[str, Any] = {
        "registrations": 4, "opt": "optIn", "requested_kw": 40.0, "requested_kwh": 1.0, "seed": 1,
        "sites": (site(), site(site_id="b")), "utility_intervals_received": 30, "utility_intervals_expected": 30,
        "utility_delivered_kwh": 1.01, "audit": AuditSummary(entries=9, verified=True),
        "settlement": SettlementSummary(
            committed_kwh=Decimal("1.000"), delivered_kwh=Decimal("1.012"), payment_usd=Decimal("0.50")
        ),
    }  # fmt: skip
    return Summary(**{**figures, **changes})


def test_a_good_run_has_no_shortcomings() -> None:
    assert summary().shortcomings() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"registrations": 2}, "2 registrations"),
        ({"opt": "optOut"}, "answered optOut"),
        ({"audit": AuditSummary(entries=9, verified=False)}, "does not verify"),
        ({"utility_intervals_received": 29}, "29 of 30 intervals"),
        ({"utility_delivered_kwh": 0.97}, "0.970 of 1.000 kWh delivered"),
        ({"utility_delivered_kwh": 1.06}, "1.060 of 1.000 kWh delivered"),
        ({"utility_delivered_kwh": 1.03}, "our statement"),
        ({"sites": (site(tracking_rmse_pct=2.1),)}, "tracking RMSE 2.10%"),
        ({"sites": (site(caps_restored=False),)}, "caps are not restored"),
        ({"sites": (site(caps_share=0.7),)}, "caps gave 70%"),
        ({"sites": (site(reduction_share=0.05),)}, "gave 5%"),
        ({"sites": (site(response_s=None),)}, "not every GPU"),
        ({"sites": (site(status="lost", caps_restored=False),)}, "caps are not restored"),
    ],
)
def test_each_promise_that_is_not_kept_is_named(changes: dict[str, Any], says: str) -> None:
    assert any(says in line for line in summary(**changes).shortcomings())


def test_a_lost_site_excuses_the_whole_but_not_the_survivors() -> None:
    lost = site(site_id="b", status="lost", tracking_rmse_pct=20.0, response_s=None)
    short = {"utility_intervals_received": 20, "utility_delivered_kwh": 0.5}
    assert summary(sites=(site(), lost), **short).shortcomings() == []
    assert summary(sites=(site(tracking_rmse_pct=3.0), lost), **short).shortcomings() != []
