"""A database of its own for each test, and the two trust domains made once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.storage.sites import sync_sites
from aggregator.storage.store import Store, open_store
from certs.authority import Authority
from certs.issuance import Role, issue
from certs.tls import Identity
from grid.clock import SystemClock, VirtualClock

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Leaves of the two trust domains."""

    gateway: Identity
    sites: Mapping[str, Identity]
    ven: Identity
    """Of the utility's domain, which the gateway must not let in."""
    site_roots: Path


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder, clock = tmp_path_factory.mktemp("pki"), SystemClock()
    ours = Authority.create(folder / "sites", name="Site PKI", clock=clock)
    utility = Authority.create(folder / "utility", name="Utility PKI", clock=clock)
    sites = {
        name: issue(ours, role=Role.SITE, name=name, folder=folder / name, clock=clock) for name in (*SITES, "stranger")
    }
    gateway = issue(ours, role=Role.GATEWAY, name="gateway", folder=folder / "gateway", clock=clock)
    ven = issue(utility, role=Role.VEN, name="ven", folder=folder / "ven", clock=clock)
    return Pki(gateway=gateway, sites=sites, ven=ven, site_roots=gateway.roots)
