"""A serving gateway over a database that can be restarted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from aggregator.board import NowBoard
from aggregator.gateway.server import Gateway
from aggregator.portfolio.commitment import Award, Commitment, State, Timeline
from aggregator.portfolio.config import GatewaySettings
from aggregator.portfolio.programme import shipped
from aggregator.storage import audit, budgets, dispatches
from aggregator.storage.sites import sync_sites
from aggregator.storage.store import Store, open_store
from certs.tls import Identity
from grid.audit import AuditEntry
from grid.clock import SystemClock
from grid.intervals import floor_to
from grid.messages import BudgetInterval, SiteBudget
from tests.aggregator.conftest import SITES, Pki
from tests.aggregator.site_client import connect

CLOCK = SystemClock()
NOW = floor_to(CLOCK.now(), 10)


class Bench:
    """A serving gateway over a database that can be restarted."""

    def __init__(self, folder: Path, pki: Pki, key: Ed25519PrivateKey) -> None:
        self._folder, self._pki, self._key = folder, pki, key
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        g = self._pki.gateway
        settings = GatewaySettings(certificate=g.certificate, key_file=g.key, roots=g.roots)
        self.store = await self._stack.enter_async_context(open_store(self._folder / "a.sqlite", self._key, CLOCK))
        async with self.store.transaction() as tx:
            await sync_sites(tx.connection, SITES)
        self.board = NowBoard(CLOCK, SITES)
        gateway = Gateway(settings, SITES, self.store, self.board, CLOCK, CollectorRegistry())
        self.gateway = await self._stack.enter_async_context(gateway)

    async def stop(self) -> None:
        await self._stack.aclose()

    def site(self, site_id: str = "a", identity: Identity | None = None) -> Any:
        return connect(self.gateway.port, identity or self._pki.sites[site_id], site_id, CLOCK)

    async def actions(self) -> list[AuditEntry]:
        async with self.store.reading() as connection:
            return [item for item in await audit.page(connection, after=-1, until=1000) if isinstance(item, AuditEntry)]


@pytest.fixture
async def bench(tmp_path: Path, pki: Pki, key: Ed25519PrivateKey) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, pki, key)
    await made.start()
    yield made
    await made.stop()


async def issue_budget(store: Store, revision: int, *, lasts_s: float = 600) -> SiteBudget:
    """A budget of a commitment, as dispatch issues one."""
    end = CLOCK.now() + timedelta(seconds=lasts_s)
    start = end - timedelta(seconds=600)
    budget = SiteBudget(
        site_id="a", revision=revision, issued_at=start, not_after=end,
        intervals=(BudgetInterval(start=start, end=end, limit_kw=80.0, dispatch_ids=("p/e",)),),
    )  # fmt: skip
    commitment = Commitment(
        commitment_id=revision, enrolment_id="p", event_id="e", modification_number=0, state=State.AWARDED,
        committed_kw=20.0, awards=(Award(site_id="a", owed_kw=20.0, baseline_kw=100.0),),
        timeline=Timeline(start=start, ramp_start=start, hold_start=start, hold_end=end, release_end=end),
        programme=shipped("demo-dispatch"), created_at=start,
    )  # fmt: skip
    async with store.transaction() as tx:
        await dispatches.keep_commitment(tx.connection, commitment)
        issued = budgets.IssuedBudget(
            budget=budget, commitment_id=revision, purpose="award", baseline_kw=100.0, owed_kw=20.0
        )
        await budgets.issue(tx.connection, issued)
    return budget
