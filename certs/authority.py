"""A certificate authority of one trust domain: a self-signed root that signs leaves directly.

Two authorities exist from the first day, the utility's and our site PKI, and neither trusts the other's leaves.
The root's key, EC P-256 unless RSA is asked for, stays in its folder, 0600.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from certs.errors import CertificateError
from certs.files import (
    KeyType,
    LeafKey,
    generate_key,
    read_certificates,
    read_leaf_key,
    write_certificates,
    write_private_key,
)
from grid.clock import Clock

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca.key"
ROOT_LIFETIME = timedelta(days=3650)
BACKDATED = timedelta(minutes=5)
"""How far before now a certificate begins to hold, for peers whose clock is behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A root certificate and its key."""

    certificate: x509.Certificate
    key: LeafKey

    @classmethod
    def create(cls, folder: Path, *, name: str, clock: Clock, key_type: KeyType = KeyType.EC) -> Authority:
        """Make a new root in ``folder``. Raises CertificateError when one is there already."""
        key = generate_key(key_type)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = clock.now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        write_private_key(folder / KEY_FILE, key)
        write_certificates(folder / CERTIFICATE_FILE, certificate)
        return cls(certificate=certificate, key=key)

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """Read the root ``create`` made. Raises CertificateError."""
        if not (folder / CERTIFICATE_FILE).exists():
            raise CertificateError(f"there is no authority in {folder}: run `negawatt certs init` first")
        key = read_leaf_key(folder / KEY_FILE)
        (certificate,) = read_certificates(folder / CERTIFICATE_FILE)
        if key.public_key() != certificate.public_key():
            raise CertificateError(f"{folder / KEY_FILE} is not the key of {folder / CERTIFICATE_FILE}")
        return cls(certificate=certificate, key=key)


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
