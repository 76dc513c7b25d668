"""A database of its own for each test, and the two trust domains made once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.storage.sites import sync_sites
from aggregator.storage.store import Store, open_store
from grid.clock import VirtualClock

T0 = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
SITES = {"a": "Site A", "b": "Site B", "c": "Site C"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(T0)


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
async def store(tmp_path: Path, key: Ed25519PrivateKey, clock: VirtualClock) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "aggregator.sqlite", key, clock) as opened:
        async with opened.transaction() as tx:
            await sync_sites(tx.connection, SITES)
        yield opened
