"""The ways to poll, and the identities for them, made at run time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from certs.authority import Authority
from certs.files import KeyType, read_certificates, read_leaf_key
from certs.issuance import Role, issue
from certs.tls import Identity
from certs.trust import ChainTrust
from grid.clock import SystemClock
from ven.wire.codec import Codec
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier

CLOCK = SystemClock()
HOST = "127.0.0.1"


class Mode(StrEnum):
    """How messages are protected."""

    PLAIN = "plain"
    MTLS = "mtls"
    EC_SIGNED = "ec_signed"
    """Over mTLS; keys are EC on P-256."""
    RSA_SIGNED = "rsa_signed"
    """Over mTLS; keys are RSA of 2048 bits."""

    @property
    def tls(self) -> bool:
        return self is not Mode.PLAIN

    @property
    def signed(self) -> bool:
        return self in (Mode.EC_SIGNED, Mode.RSA_SIGNED)

    @property
    def key_type(self) -> KeyType:
        return KeyType.RSA if self is Mode.RSA_SIGNED else KeyType.EC


@dataclass(frozen=True)
class Domain:
    """The utility's PKI."""

    folder: Path
    authority: Authority

    @classmethod
    def create(cls, folder: Path) -> Domain:
        return cls(folder, Authority.create(folder / "ca", name="Utility", clock=CLOCK))

    def vtn(self, key_type: KeyType) -> Identity:
        return self._issue(Role.VTN, f"vtn-{key_type.value}", key_type)

    def ven(self, name: str, key_type: KeyType = KeyType.EC) -> Identity:
        return self._issue(Role.VEN, f"{name}-{key_type.value}", key_type)

    def _issue(self, role: Role, name: str, key_type: KeyType) -> Identity:
        folder = self.folder / name
        if folder.exists():
            return Identity(
                certificate=folder / f"{name}.pem", key=folder / f"{name}.key", roots=folder / f"{name}-roots.pem"
            )
        return issue(self.authority, role=role, name=name, folder=folder, clock=CLOCK, key_type=key_type)


def codec_of(mode: Mode, identity: Identity) -> Codec:
    """How a VEN of ours writes and reads."""
    if not mode.signed:
        return Codec(None, None)
    return Codec(
        Signer(read_leaf_key(identity.key), read_certificates(identity.certificate)),
        Verifier(ChainTrust(read_certificates(identity.roots), HOST), ReplayGuard()),
    )


def parser_of(name: str) -> argparse.ArgumentParser:
    """What every process that polls is told."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--mode", type=Mode, choices=list(Mode), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--roots", type=Path, required=True)
    parser.add_argument("--vtn", type=Path, required=True, help="the VTN's certificate")
    parser.add_argument("--identities", type=Path, help="weigh a VEN for each line of this file")
    return parser


def identity_of(options: argparse.Namespace) -> Identity:
    return Identity(certificate=options.certificate, key=options.key, roots=options.roots)


_FIELDS = ("certificate", "key", "roots")


def write_identities(path: Path, identities: Sequence[Identity]) -> None:
    """One a line."""
    path.write_text("".join("\t".join(str(getattr(one, field)) for field in _FIELDS) + "\n" for one in identities))


def identities_in(path: Path) -> list[Identity]:
    """What ``write_identities`` wrote."""
    rows = (map(Path, line.split("\t")) for line in path.read_text().splitlines())
    return [Identity(certificate=certificate, key=key, roots=roots) for certificate, key, roots in rows]
