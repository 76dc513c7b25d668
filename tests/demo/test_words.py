"""What the demo prints of its summary: no money without saying what it rests on."""

from __future__ import annotations

from decimal import Decimal

from aggregator.demo.run import _in_words
from aggregator.demo.summary import SettlementSummary
from tests.demo.test_truth_and_summary import summary


def _statement(*, programme_verified: bool) -> str:
    settlement = SettlementSummary(
        committed_kwh=Decimal("1.000"), delivered_kwh=Decimal("1.012"), payment_usd=Decimal("0.50"),
        programme_verified=programme_verified,
    )  # fmt: skip
    (line,) = [line for line in _in_words(summary(settlement=settlement)) if line.startswith("statement")]
    return line


def test_money_by_unverified_rules_is_called_so_and_simulated_money_too() -> None:
    assert _statement(programme_verified=False).endswith("0.50 USD by unverified rules, for simulated sites")
    assert _statement(programme_verified=True).endswith("0.50 USD, for simulated sites")
