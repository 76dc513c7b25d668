"""Ed25519 keys that sign audit heads: 0600, one per writer of a chain, made by that writer with its first entry.

A chain goes with its key: who only reads one, or goes on with one, opens the key it has and never makes another.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certs.errors import CertificateError
from certs.files import read_private_key, write_private_key


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``, made when there is none. Raises CertificateError."""
    if not path.exists():
        write_private_key(path, Ed25519PrivateKey.generate())
    return open_signing_key(path)


def open_signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``, which a chain is already signed with. Raises CertificateError, also when there is none."""
    if not path.exists():
        raise CertificateError(f"there is no {path}, the key that signs the audit chain: restore it from a backup")
    key = read_private_key(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise CertificateError(f"{path} is not an Ed25519 key: restore the one that signs the audit chain")
    return key
