"""The agent's journal: which budgets it takes, and what it still knows after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.journal import AgentJournal
from grid import audit
from grid.clock import VirtualClock
from grid.messages import BudgetInterval, SiteBudget

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()


def budget(revision: int, limit_kw: float = 80.0, **changes: Any) -> SiteBudget:
    end = NOW + timedelta(minutes=2)
    interval = BudgetInterval(start=NOW, end=end, limit_kw=limit_kw)
    fields: dict[str, Any] = {"site_id": "a", "issued_at": NOW, "intervals": (interval,), "not_after": end}
    return SiteBudget(revision=revision, **{**fields, **changes})


def opened(path: Path) -> AgentJournal:
    return AgentJournal.open(path, site_id="a", key=KEY, clock=VirtualClock(NOW))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[AgentJournal]:
    made = opened(tmp_path / "journal.sqlite")
    yield made
    made.close()


def test_a_budget_is_kept_before_it_is_acknowledged(tmp_path: Path) -> None:
    first = opened(tmp_path / "j")
    assert first.take_budget(budget(3), NOW).accepted
    first.close()
    again = opened(tmp_path / "j")
    assert again.budget() == budget(3)
    assert again.take_budget(budget(3), NOW).accepted
    again.close()


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (budget(2), "stale: revision 3 is held"),
        (budget(3, limit_kw=70.0), "other contents"),
        (budget(4, site_id="b"), "for site b"),
        (budget(4, not_after=NOW), "expired"),
    ],
)
def test_what_must_not_be_executed_is_refused_with_a_reason(
    journal: AgentJournal, refused: SiteBudget, says: str
) -> None:
    journal.take_budget(budget(3), NOW)
    ack = journal.take_budget(refused, NOW)
    assert not ack.accepted
    assert says in ack.reason
    assert journal.budget() == budget(3)


def test_prior_limits_survive_and_are_never_overwritten_by_our_own_caps(tmp_path: Path) -> None:
    first = opened(tmp_path / "j")
    until = NOW + timedelta(minutes=3)
    first.keep_priors({"GPU-1": 400.0, "GPU-2": 350.0}, until)
    first.keep_priors({"GPU-1": 200.0}, until)
    first.close()
    again = opened(tmp_path / "j")
    assert again.prior_limits_w() == {"GPU-1": 400.0, "GPU-2": 350.0}
    assert again.lease_until() == until
    again.forget_priors(["GPU-1", "GPU-2"], complete=True)
    assert (again.prior_limits_w(), again.lease_until()) == ({}, None)
    again.close()


def test_the_limit_of_a_gpu_that_did_not_answer_is_kept_when_the_lease_ends(journal: AgentJournal) -> None:
    journal.keep_priors({"GPU-1": 400.0, "GPU-lost": 350.0}, NOW)
    journal.forget_priors(["GPU-1"], complete=True)
    assert journal.prior_limits_w() == {"GPU-lost": 350.0}
    assert journal.lease_until() is None


def test_every_fact_is_linked_and_signed(journal: AgentJournal) -> None:
    assert journal.newest_head() is None
    journal.take_budget(budget(3), NOW)
    journal.take_budget(budget(2), NOW)
    journal.keep_priors({"GPU-1": 400.0}, NOW)
    head = journal.newest_head()
    assert head is not None
    assert (head.chain, head.seq) == ("site:a", 2)
    signed = audit.AuditHead(chain=head.chain, seq=head.seq, hash=head.hash, signature=head.signature)
    audit.check_head(signed, audit.public_key_from_text(head.public_key))
