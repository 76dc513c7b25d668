"""The debit ledger: what is spent, what it makes dearer, and how deep a job may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.workloads.jobs import FlexTier
from agent.workloads.ledger import BUCKET_S, DAY_S, MOST_DEBIT, Account, Allowance, QosLedger

T0 = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)
HOUR_S = 3600.0


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def run(account: Account, start_s: float, seconds: float, throughput: float) -> Account:
    """In steps of a minute."""
    for k in range(round(seconds / 60)):
        account = account.debited(throughput, after(start_s + (k + 1) * 60), 60.0)
    return account


def test_what_is_spent_is_a_share_of_the_whole_windows_allowance() -> None:
    account = Account(allowance=Allowance.rolling(FlexTier.FLEX_1), since=T0)
    assert (account.used, account.debit) == (0.0, 1.0)
    account = run(account, 0, HOUR_S, 0.4)
    assert account.used == pytest.approx(0.6 * HOUR_S / (0.1 * DAY_S))
    assert account.debit == pytest.approx(1 / 0.75)
    assert run(account, HOUR_S, 12 * HOUR_S, 0.0).debit == MOST_DEBIT


def test_a_job_that_may_lose_nothing_has_spent_everything() -> None:
    account = Account(allowance=Allowance.rolling(FlexTier.FLEX_0), since=T0)
    assert (account.used, account.floor(after(DAY_S), HOUR_S)) == (1.0, 1.0)


def test_a_day_later_it_is_forgotten_and_not_before() -> None:
    account = run(Account(allowance=Allowance.rolling(FlexTier.FLEX_2), since=T0), 0, HOUR_S, 0.5)
    assert account.debited(1.0, after(DAY_S), 60).used == account.used
    assert account.debited(1.0, after(DAY_S + HOUR_S + 2 * BUCKET_S), 60).used == 0.0


def test_a_run_of_known_length_forgets_nothing_and_may_spend_all_of_it_at_once() -> None:
    allowance = Allowance.over_run(FlexTier.FLEX_3, 5 * HOUR_S)
    account = Account(allowance=allowance, since=T0)
    assert account.floor(after(0), 2.5 * HOUR_S) == 0.0
    assert account.floor(after(0), 3 * HOUR_S) == pytest.approx(1 - 2.5 / 3)
    account = run(account, 0, HOUR_S, 0.0)
    assert account.debited(1.0, after(2 * DAY_S), 60).lost_s == HOUR_S
    assert account.floor(after(HOUR_S), 3 * HOUR_S) == pytest.approx(0.5)


def test_a_job_that_just_began_may_go_to_its_floor_and_one_that_ran_for_a_day_far_below() -> None:
    account = Account(allowance=Allowance.rolling(FlexTier.FLEX_1), since=T0)
    assert account.floor(T0, HOUR_S) == pytest.approx(0.9)
    assert account.floor(after(DAY_S), 4 * HOUR_S) == pytest.approx(1 - 2.4 / 4)
    assert account.floor(after(DAY_S), HOUR_S) == 0.0
    assert account.floor(after(DAY_S), 0.0) == 0.9


@settings(max_examples=50, deadline=None)
@given(
    tier=st.sampled_from((FlexTier.FLEX_1, FlexTier.FLEX_2, FlexTier.FLEX_3)),
    events=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=8),
    window_h=st.sampled_from((4, 24)),
)
def test_no_window_a_job_has_run_has_a_lower_mean_than_its_floor(
    tier: FlexTier, events: list[tuple[int, int]], window_h: int
) -> None:
    """Event after event, always as deep as is allowed; in quarters of an hour, each event's length known."""
    quarter = BUCKET_S
    allowance = Allowance(floor=tier.floor, window_s=window_h * HOUR_S)
    account = Account(allowance=allowance, since=T0)
    lost: list[float] = []
    for before, length in events:
        lost += [0.0] * before
        for k in range(length):
            now = after(len(lost) * quarter)
            account = account.debited(1.0, now, quarter) if lost and lost[-1] == 0.0 else account
            theta = account.floor(now, (length - k) * quarter)
            account = account.debited(theta, now + timedelta(seconds=quarter), quarter)
            lost.append((1.0 - theta) * quarter)
        for end in range(len(lost) + 1):
            window = lost[max(0, end - window_h * 4) : end]
            assert sum(window) <= (1 - tier.floor) * len(window) * quarter + 1e-6


def test_the_ledger_follows_the_jobs_and_takes_missing_ones_to_run_freely() -> None:
    ledger = QosLedger({})
    day = Allowance.rolling(FlexTier.FLEX_2)
    ledger.keep({"a": day, "b": day}, T0)
    ledger.debit({"a": 0.5}, after(600), 600.0)
    assert ledger.accounts["a"].lost_s == 300.0
    assert ledger.accounts["b"].lost_s == 0.0
    again = QosLedger(ledger.accounts)
    again.keep({"a": Allowance.rolling(FlexTier.FLEX_1), "c": day}, after(600))
    assert set(again.accounts) == {"a", "c"}
    assert again.accounts["a"].lost_s == 300.0
    assert again.accounts["a"].since == T0
