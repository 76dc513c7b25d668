"""What each job has spent of the throughput it may lose: a debit account per job.

A job's allowance is a mean over a window its users agreed to: a rolling day, or the whole run where its length is
known. So throughput may dip below the tier's floor for a short deep event while there is credit, and what was spent
makes further loss dearer: w = price / (1 - used), used the spent share of the whole window's allowance. How deep a
job may go is what keeps the mean at its floor whatever comes after the event: a rolling account counts only time the
job has run, and gives nothing back for losses that expire while the event runs. Losses are in seconds of full
throughput; an account is plain data, small enough to journal every minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.workloads.jobs import FlexTier
from grid.intervals import floor_to

DAY_S = 86_400.0
BUCKET_S = 900.0
"""A rolling account expires in pieces of this length, the later end first held against it."""
MOST_DEBIT = 100.0
"""An account that is spent is this much dearer, not infinitely: floors do the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What was agreed with a job's users."""

    floor: float
    """Least mean throughput, as a share of uncapped."""
    window_s: float = DAY_S
    """Over which the mean is taken."""
    whole_run: bool = False
    """The window is the job's run, known in length, and does not roll."""

    @classmethod
    def rolling(cls, tier: FlexTier) -> Allowance:
        """Over any 24 hours."""
        return cls(floor=tier.floor)

    @classmethod
    def over_run(cls, tier: FlexTier, run_s: float) -> Allowance:
        """Over a run of ``run_s``."""
        return cls(floor=tier.floor, window_s=run_s, whole_run=True)

    @property
    def lost_s(self) -> float:
        """What may be lost in a whole window."""
        return (1.0 - self.floor) * self.window_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What was lost from ``start`` on, for BUCKET_S."""

    start: datetime
    lost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One job's: all there is to journal."""

    allowance: Allowance
    since: datetime
    """When the job began to run."""
    buckets: tuple[Bucket, ...] = ()
    """Oldest first; those with a loss."""

    @property
    def lost_s(self) -> float:
        return sum(b.lost_s for b in self.buckets)

    @property
    def used(self) -> float:
        """Share of the whole window's allowance that is spent, 0 to 1; 1 where nothing may be lost."""
        allowed_s = self.allowance.lost_s
        return min(1.0, self.lost_s / allowed_s) if allowed_s > 0 else 1.0

    @property
    def debit(self) -> float:
        """What the job's price is multiplied by: 1 / (1 - used)."""
        return min(MOST_DEBIT, 1.0 / max(1.0 - self.used, 1.0 / MOST_DEBIT))

    def debited(self, throughput: float, now: datetime, seconds: float) -> Account:
        """After ``seconds`` up to ``now`` at this share of uncapped throughput; 0 for a paused job."""
        lost_s = max(0.0, 1.0 - throughput) * seconds
        kept = self._kept(now)
        start = floor_to(now - timedelta(seconds=seconds), BUCKET_S)
        if kept and kept[-1].start >= start:
            kept = (*kept[:-1], replace(kept[-1], lost_s=kept[-1].lost_s + lost_s))
        elif lost_s > 0:
            kept = (*kept, Bucket(start=start, lost_s=lost_s))
        return replace(self, buckets=kept)

    def floor(self, now: datetime, hold_s: float) -> float:
        """The least throughput that may be held for the next ``hold_s``, with full throughput after it.

        The tier's own floor where it is not to be held at all.
        """
        allowance = self.allowance
        hold_s = min(hold_s, allowance.window_s)
        if hold_s <= 0:
            return allowance.floor
        ran_s = max(0.0, (now - self.since).total_seconds())
        counted_s = allowance.window_s if allowance.whole_run else min(allowance.window_s, ran_s + hold_s)
        left_s = (1.0 - allowance.floor) * counted_s - self.lost_s
        return min(1.0, max(0.0, 1.0 - left_s / hold_s))

    def _kept(self, now: datetime) -> tuple[Bucket, ...]:
        """Buckets that reach into the window."""
        if self.allowance.whole_run or not self.buckets:
            return self.buckets
        oldest = now - timedelta(seconds=self.allowance.window_s + BUCKET_S)
        if self.buckets[0].start > oldest:
            return self.buckets
        return tuple(b for b in self.buckets if b.start > oldest)


class QosLedger:
    """The accounts of the jobs that run."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = dict(accounts)

    @property
    def accounts(self) -> Mapping[str, Account]:
        """By job; what a journal keeps, and a restart begins with."""
        return self._accounts

    def keep(self, allowances: Mapping[str, Allowance], now: datetime) -> None:
        """Open an account for each new job, close those of jobs that are gone; what was spent outlives a new tier."""
        self._accounts = {
            job_id: replace(known, allowance=allowance)
            if (known := self._accounts.get(job_id)) is not None
            else Account(allowance=allowance, since=now)
            for job_id, allowance in allowances.items()
        }

    def debit(self, throughput: Mapping[str, float], now: datetime, seconds: float) -> None:
        """Take in ``seconds`` up to ``now``, at most BUCKET_S; a job that is not named ran at full throughput."""
        for job_id, account in self._accounts.items():
            share = throughput.get(job_id, 1.0)
            if share < 1.0 or account.buckets:
                self._accounts[job_id] = account.debited(share, now, seconds)
