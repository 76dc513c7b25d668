"""The demo's figures are arithmetic on the plant's log, and its verdict fails when any of them does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aggregator.demo.collect import all_written, held_budget, verify_audit
from aggregator.demo.errors import DemoError
from aggregator.demo.summary import AuditSummary, OutageSummary, SettlementSummary, SiteSummary, Summary
from aggregator.demo.truth import (
    TrueSecond,
    caps_share,
    most_battery_kw,
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


def test_the_caps_share_is_of_what_caps_and_battery_took_off_the_meter() -> None:
    assert caps_share(seconds(80.0, caps_kw=18.0, battery_kw=2.0)) == pytest.approx(0.9)
    assert caps_share(seconds(100.0, caps_kw=0.0, battery_kw=0.0)) is None
    assert caps_share(seconds(100.0, caps_kw=1.0, battery_kw=-1.0)) is None


def test_a_battery_that_charges_does_not_rest() -> None:
    assert most_battery_kw([*seconds(1.0, battery_kw=0.0), *seconds(1.0, battery_kw=-3.0)]) == 3.0


def test_what_a_site_held_is_the_newest_revision_it_accepted() -> None:
    def revision(number: int, limit_kw: float, accepted: bool | None) -> dict[str, Any]:
        acked_at = None if accepted is None else (START + timedelta(seconds=number)).isoformat()
        figures = {"limit_kw": limit_kw, "baseline_kw": 100.0, "acked_at": acked_at, "accepted": accepted}
        return {"site_id": "a", "revision": number, **figures}

    refused, first, second, unheard = (
        revision(1, 90.0, False),
        revision(2, 80.0, True),
        revision(3, 79.0, True),
        revision(4, 70.0, None),
    )
    budget = held_budget([refused, first, second, unheard], "a")
    assert budget is not None
    assert (budget.limit_kw, budget.first_acked_at) == (79.0, START + timedelta(seconds=2))
    assert held_budget([refused, unheard], "a") is None
    assert held_budget([first], "b") is None


def test_a_response_is_there_when_every_gpu_that_can_be_and_the_battery_were_written() -> None:
    first, last = at(0.2).isoformat(), at(0.4).isoformat()
    writes = {"gpus": {"1": first, "2": last, "3": None}, "battery": first, "lost": ["3"]}
    assert all_written(writes) == at(0.4)
    assert all_written({**writes, "lost": []}) is None
    assert all_written({**writes, "battery": None}) is None


async def test_a_chain_that_does_not_verify_is_a_figure_with_its_reason(tmp_path: Path) -> None:
    export, key = tmp_path / "audit.jsonl", tmp_path / "audit.pub"
    export.write_text("{}\n")
    key.write_text("no key\n")
    audit = await verify_audit(export, key)
    assert not audit.verified
    assert audit.why is not None
    assert audit.why.startswith("negawatt: ")


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


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def site(**changes: Any) -> SiteSummary:
    figures: dict[str, Any] = {
        "site_id": "a", "status": "ok", "baseline_kw": 100.0, "limit_kw": 80.0, "mean_kw": 79.8,
        "tracking_rmse_pct": 0.5, "seconds_over_limit": 3, "reduction_share": 0.5, "caps_share": 0.9,
        "response_s": 1.5, "settle_s": 20.0, "caps_restored": True, "utility_missing": (), "statement_missing": (),
    }  # fmt: skip
    return SiteSummary(**{**figures, **changes})


def summary(**changes: Any) -> Summary:
    figures: dict[str, Any] = {
        "registrations": 4, "opt": "optIn", "requested_kw": 40.0, "requested_kwh": 1.0, "seed": 1,
        "sites": (site(), site(site_id="b")), "utility_intervals_received": 30, "utility_intervals_expected": 30,
        "utility_delivered_kwh": 1.01, "audit": AuditSummary(entries=9, verified=True), "outage": None,
        "dtstart": START, "hold_start": at(20), "hold_end": at(110), "release_end": at(130),
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
        ({"audit": AuditSummary(entries=0, verified=False, why="entry 3 was altered")}, "verify: entry 3 was altered"),
        ({"settlement": None}, "not settled"),
        ({"utility_intervals_received": 29}, "29 of 30 intervals"),
        ({"utility_delivered_kwh": 0.97}, "0.970 of 1.000 kWh delivered"),
        ({"utility_delivered_kwh": 1.06}, "1.060 of 1.000 kWh delivered"),
        ({"utility_delivered_kwh": 1.03}, "our statement"),
        ({"sites": (site(tracking_rmse_pct=2.1),)}, "tracking RMSE 2.10%"),
        ({"sites": (site(caps_restored=False),)}, "caps are not restored"),
        ({"sites": (site(caps_share=0.7),)}, "caps gave 70%"),
        ({"sites": (site(reduction_share=0.05),)}, "gave 5%"),
        ({"sites": (site(caps_share=None),)}, "nothing was reduced"),
        ({"sites": (site(response_s=None),)}, "not every GPU"),
        ({"sites": (site(tracking_rmse_pct=None),)}, "accepted no budget"),
        ({"sites": (site(utility_missing=(at(30),)),)}, "a: the utility misses 12:00:30"),
        ({"sites": (site(statement_missing=(at(30),)),)}, "misses nothing, the statement 12:00:30"),
        ({"sites": (site(status="lost", caps_restored=False),)}, "caps are not restored"),
    ],
)
def test_each_promise_that_is_not_kept_is_named(changes: dict[str, Any], says: str) -> None:
    assert any(says in line for line in summary(**changes).shortcomings())


DEAD = tuple(at(s) for s in range(40, 130, 10))
DEAD_IN_HOLD = DEAD[:7]


def killed(**changes: Any) -> Summary:
    """A run in which b was killed 40 s into the event and everything was as it must be then."""
    lost: dict[str, Any] = {
        "site_id": "b", "status": "lost", "tracking_rmse_pct": 20.0, "response_s": None, "caps_share": None,
        "utility_missing": DEAD, "statement_missing": DEAD_IN_HOLD, **changes.pop("lost", {}),
    }  # fmt: skip
    outage: dict[str, Any] = {
        "site_id": "b", "killed_at": at(40), "restarted_at": at(131), "dead_intervals": DEAD,
        "doubtful_intervals": (at(30),), "battery_kw": 0.0, **changes.pop("outage", {}),
    }  # fmt: skip
    figures: dict[str, Any] = {
        "sites": (site(**changes.pop("survivor", {})), site(**lost)), "outage": OutageSummary(**outage),
        "utility_intervals_received": 21, "utility_delivered_kwh": 0.5,
        "settlement": SettlementSummary(
            committed_kwh=Decimal("1.000"), delivered_kwh=Decimal("0.501"), payment_usd=Decimal("0.25")
        ),
    }  # fmt: skip
    return summary(**{**figures, **changes})


def test_a_lost_site_excuses_its_own_dead_intervals() -> None:
    assert killed().shortcomings() == []
    doubtful = {"utility_missing": (at(30), *DEAD), "statement_missing": (at(30), *DEAD_IN_HOLD)}
    assert killed(lost=doubtful).shortcomings() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"survivor": {"tracking_rmse_pct": 3.0}}, "a: tracking RMSE"),
        ({"survivor": {"utility_missing": (at(120),)}}, "a: the utility misses 12:02:00"),
        ({"lost": {"utility_missing": DEAD[1:], "statement_missing": DEAD_IN_HOLD[1:]}}, "b: nobody metered 12:00:40"),
        ({"lost": {"utility_missing": (at(20), *DEAD)}}, "b: the utility misses 12:00:20"),
        ({"lost": {"statement_missing": DEAD_IN_HOLD[1:]}}, "b: of the hold the utility misses"),
        ({"lost": {"caps_restored": False}}, "b: caps are not restored"),
        ({"outage": {"battery_kw": 7.0}}, "b: the battery moved 7.0 kW after its dead-man"),
        ({"utility_delivered_kwh": 0.6}, "our statement"),
    ],
)
def test_a_lost_site_excuses_nothing_else(changes: dict[str, Any], says: str) -> None:
    assert any(says in line for line in killed(**changes).shortcomings())


def test_figures_are_numbers_in_json_and_come_back_the_same() -> None:
    text = killed().model_dump_json()
    settlement = json.loads(text)["settlement"]
    assert (settlement["committed_kwh"], settlement["delivered_kwh"], settlement["payment_usd"]) == (1.0, 0.501, 0.25)
    assert Summary.model_validate_json(text) == killed()
