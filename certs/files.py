"""Keys and certificates as PEM files: private keys are 0600 from the moment they exist."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certs.errors import CertificateError

LeafKey = EllipticCurvePrivateKey | RSAPrivateKey


class KeyType(StrEnum):
    """The kinds of key that OpenADR 2.0b knows: EC on P-256, RSA of 2048 bits."""

    EC = "ec"
    RSA = "rsa"


def generate_key(key_type: KeyType) -> LeafKey:
    """A new key. An RSA key takes a large part of a second to find."""
    if key_type is KeyType.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def write_private_key(path: Path, key: PrivateKeyTypes) -> None:
    """Write PKCS#8 PEM, readable by its owner only. Raises CertificateError when the file exists."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CertificateError(f"{path} exists already: a key is never overwritten; choose another folder") from error
    except OSError as error:
        raise CertificateError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)


def read_private_key(path: Path) -> PrivateKeyTypes:
    """Read an unencrypted PEM key. Raises CertificateError, also when others may read the file."""
    try:
        if path.stat().st_mode & 0o077:
            raise CertificateError(f"{path} can be read by others: run `chmod 600 {path}`")
        return load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"cannot read the private key {path}: {error}") from error


def read_leaf_key(path: Path) -> LeafKey:
    """Read a key that can stand behind a TLS or XML signature: EC or RSA. Raises CertificateError."""
    key = read_private_key(path)
    if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        raise CertificateError(f"{path} is a {type(key).__name__}: use an EC or RSA key")
    return key


def write_certificates(path: Path, *certificates: x509.Certificate) -> None:
    """Write one PEM file, the leaf first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in certificates))


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Every certificate of a PEM file, in order. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read certificates from {path}: {error}") from error
