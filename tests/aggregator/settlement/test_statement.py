"""Worked figures of a statement, and that it is a pure function of its inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import SettlementError
from aggregator.portfolio.programme import PerformanceStep, shipped
from aggregator.settlement.performance import paid_share
from aggregator.settlement.statement import (
    Inputs,
    MeteredInterval,
    SiteInputs,
    canonical_statement,
    statement,
)
from tests.aggregator.conftest import T0

PROGRAMME = shipped("demo-dispatch")


def _metered(first_s: int, values: Sequence[float | None]) -> tuple[MeteredInterval, ...]:
    return tuple(MeteredInterval(start=T0 + timedelta(seconds=first_s + 10 * i), kw=kw) for i, kw in enumerate(values))


def _site(site_id: str, owed_kw: float, before: Sequence[float | None], hold: Sequence[float | None]) -> SiteInputs:
    return SiteInputs(site_id=site_id, owed_kw=owed_kw, before=_metered(-60, before), hold=_metered(20, hold))


def _inputs(*sites: SiteInputs, committed_kw: float = 60.0) -> Inputs:
    return Inputs(
        commitment_id=1, enrolment_id="portfolio", event_id="e1", modification_number=0, version=1,
        status="preliminary", committed_kw=committed_kw, hold_start=T0 + timedelta(seconds=20),
        hold_end=T0 + timedelta(seconds=110), programme=PROGRAMME, sites=sites,
    )  # fmt: skip


def test_worked_figures() -> None:
    """60 kW for 90 s is 1.5 kWh; two sites give 41 kW and 20 kW, 1.525 kWh, of which 1.5 are paid."""
    made = statement(
        _inputs(
            _site("a", 40.0, [200.0] * 6, [159.0] * 9),
            _site("b", 20.0, [99.0, 101.0] * 3, [80.0] * 9),
        )
    )
    a, b = made["sites"]
    assert (made["committed_kwh"], made["delivered_kwh"]) == ("1.500000", "1.525005")
    assert (a["baseline_kw"], a["delivered_kwh"]) == ("200.000", "1.025001")
    assert (b["baseline_kw"], b["delivered_kwh"]) == ("100.000", "0.500004")
    assert a["intervals"][0]["reduction_kw"] == "41.000"
    assert (made["payment_usd"], made["paid_share"]) == ("1.13", "1.000000")
    assert made["programme"]["verified"] is False


def test_a_site_that_died_delivers_nothing_in_the_intervals_it_did_not_measure() -> None:
    dead_after_3: list[float | None] = [160.0] * 3 + [None] * 6
    made = statement(_inputs(_site("a", 40.0, [200.0] * 6, dead_after_3), _site("b", 20.0, [100.0] * 6, [80.0] * 9)))
    a, b = made["sites"]
    assert a["missing"] == [(T0 + timedelta(seconds=50 + 10 * i)).isoformat() for i in range(6)]
    assert [i["delivered_kwh"] for i in a["intervals"]] == ["0.111111"] * 3 + ["0.000000"] * 6
    assert b["missing"] == []
    assert made["missing_intervals"] == 6
    assert made["delivered_kwh"] == "0.833337"
    # below the commitment every delivered kWh is paid: 0.833337 * 0.75
    assert made["payment_usd"] == "0.63"


def test_missing_baseline_intervals_are_reported_and_no_baseline_pays_nothing() -> None:
    made = statement(
        _inputs(
            _site("a", 40.0, [None, 200.0, None, 200.0, 200.0, 200.0], [160.0] * 9),
            _site("b", 20.0, [None] * 6, [10.0] * 9),
        )
    )
    a, b = made["sites"]
    assert a["baseline_kw"] == "200.000"
    assert a["baseline_missing"] == [(T0 + timedelta(seconds=s)).isoformat() for s in (-60, -40)]
    assert (b["baseline_kw"], b["delivered_kwh"]) == (None, "0.000000")


def test_drawing_more_than_the_baseline_counts_against_the_delivery() -> None:
    made = statement(_inputs(_site("a", 60.0, [200.0] * 6, [150.0] * 8 + [290.0])))
    assert Decimal(made["delivered_kwh"]) == Decimal("0.138889") * 8 - Decimal("0.25")
    assert statement(_inputs(_site("a", 60.0, [200.0] * 6, [210.0] * 9)))["payment_usd"] == "0.00"


METERED = st.lists(st.one_of(st.none(), st.floats(-1e5, 1e5)), min_size=9, max_size=9)


@given(METERED, METERED, st.floats(0.001, 1e5))
def test_a_re_run_of_stored_inputs_is_byte_for_byte_equal(
    a: list[float | None], b: list[float | None], committed_kw: float
) -> None:
    inputs = _inputs(_site("a", 1.0, a[:6], b), _site("b", 2.0, b[:6], a), committed_kw=committed_kw)
    stored = inputs.model_dump_json()
    first = canonical_statement(stored)
    assert canonical_statement(stored) == first
    assert canonical_statement(Inputs.model_validate_json(stored).model_dump_json()) == first
    made: dict[str, Any] = json.loads(first)
    parts = sum((Decimal(i["delivered_kwh"]) for s in made["sites"] for i in s["intervals"]), Decimal(0))
    assert parts == Decimal(made["delivered_kwh"])


def test_the_step_that_holds_the_ratio_pays() -> None:
    steps = (
        PerformanceStep(ratio_from=Decimal("0.6"), ratio_to=Decimal("0.75"), a=Decimal(0), b=Decimal("0.5")),
        PerformanceStep(ratio_from=Decimal("0.75"), ratio_to=Decimal("1.05"), a=Decimal(0), b=Decimal(1)),
        PerformanceStep(ratio_from=Decimal("1.05"), a=Decimal("1.05"), b=Decimal(0)),
    )
    ratios = ("0.59", "0.6", "0.75", "1.0", "1.05", "3")
    assert [paid_share(steps, Decimal(r)) for r in ratios] == [
        Decimal(p) for p in ("0", "0.30", "0.75", "1.0", "1.05", "1.05")
    ]


def test_a_programme_without_settlement_pays_nothing_and_says_so() -> None:
    inputs = _inputs(_site("a", 1.0, [1.0] * 6, [1.0] * 9)).model_copy(update={"programme": shipped("demo-standby")})
    with pytest.raises(SettlementError, match="no settlement rules"):
        statement(inputs)
