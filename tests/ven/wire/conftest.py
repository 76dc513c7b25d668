"""A utility's PKI with an EC and an RSA identity, and a time that stands still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509 import Certificate

from certs.authority import CERTIFICATE_FILE, Authority
from certs.files import KeyType, LeafKey, read_certificates, read_leaf_key
from certs.issuance import Role, issue
from certs.tls import Identity
from certs.trust import ChainTrust
from grid.clock import SystemClock
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier

CLOCK = SystemClock()
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Party:
    """One who signs."""

    identity: Identity
    key: LeafKey
    chain: tuple[Certificate, ...]

    @property
    def signer(self) -> Signer:
        return Signer(self.key, self.chain)


@dataclass(frozen=True)
class Pki:
    """A trust domain and a party for each kind of key; certificates hold from now, so tests are made now."""

    root: Certificate
    root_file: Path
    parties: Mapping[KeyType, Party]
    now: datetime

    def verifier(self, guard: ReplayGuard | None = None) -> Verifier:
        return Verifier(ChainTrust([self.root]), guard or ReplayGuard())


def make_pki(folder: Path, name: str) -> Pki:
    authority = Authority.create(folder / "ca", name=name, clock=CLOCK)
    parties = {}
    for key_type in KeyType:
        made = issue(authority, role=Role.VEN, name=f"ven-{key_type}", folder=folder, clock=CLOCK, key_type=key_type)
        chain = tuple(read_certificates(made.certificate))
        parties[key_type] = Party(identity=made, key=read_leaf_key(made.key), chain=chain)
    return Pki(root=authority.certificate, root_file=folder / "ca" / CERTIFICATE_FILE, parties=parties, now=CLOCK.now())


@pytest.fixture(scope="session")
def utility(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("utility"), "Utility")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("stranger"), "Stranger")


@pytest.fixture(params=list(KeyType))
def party(utility: Pki, request: pytest.FixtureRequest) -> Party:
    return utility.parties[request.param]
