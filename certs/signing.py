"""Ed25519 keys that sign audit heads: made on first use, 0600, one per writer of a chain."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certs.errors import CertificateError
from certs.files import read_private_key, write_private_key


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``, made when there is none. Raises CertificateError."""
    if not path.exists():
        write_private_key(path, Ed25519PrivateKey.generate())
    key = read_private_key(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise CertificateError(f"{path} is not an Ed25519 key: move it away and one will be made")
    return key
