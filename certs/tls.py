"""TLS contexts of an identity, both ends of mutual TLS, and the check made before the first connection.

TLS 1.2 or newer. The roots an identity trusts are the ones imported for its domain and no others, so a
certificate of the other domain fails the handshake.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.errors import CertificateError
from certs.files import read_certificates, read_leaf_key
from certs.trust import ChainTrust
from grid.clock import Clock

CIPHERS = "ECDHE+AESGCM:ECDHE-ECDSA-AES128-SHA256:AES128-SHA256"
"""TLS 1.2 suites: modern ones, and the one OpenADR 2.0b profiles require (TLS_RSA_WITH_AES_128_CBC_SHA256)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where a process finds its certificate, its key and the roots it trusts."""

    certificate: Path
    key: Path
    roots: Path


def server_context(identity: Identity, ciphers: str = CIPHERS) -> ssl.SSLContext:
    """A context that serves as ``identity`` and requires a client certificate of its roots."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity, ciphers)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(identity: Identity, ciphers: str = CIPHERS) -> ssl.SSLContext:
    """A context that connects as ``identity`` and accepts only servers of its roots, by host name."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, ciphers)


def check_identity(identity: Identity, clock: Clock) -> None:
    """Verify our own chain against the imported roots, the validity now and that the key fits.

    Raises CertificateError: a peer that refuses us later cannot say why as clearly (TLS 1.3 shows a disconnect).
    """
    leaf, *intermediates = read_certificates(identity.certificate)
    roots = read_certificates(identity.roots)
    if _public_bytes(read_leaf_key(identity.key).public_key()) != _public_bytes(leaf.public_key()):
        raise CertificateError(f"{identity.key} is not the key of {identity.certificate}")
    now = clock.now()
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise CertificateError(
            f"{identity.certificate} holds from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}: have it renewed, and check this machine's clock"
        )
    try:
        ChainTrust(roots).check([leaf, *intermediates], now)
    except CertificateError as error:
        raise CertificateError(
            f"{identity.certificate} does not chain to the roots in {identity.roots}: "
            "import the issuer's chain, or ask for a certificate of this domain"
        ) from error


def _context(protocol: int, identity: Identity, ciphers: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(ciphers)
        context.load_cert_chain(identity.certificate, identity.key)
        context.load_verify_locations(identity.roots)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"cannot use {identity.certificate} with {identity.key} and {identity.roots}: {error}"
        ) from error
    return context


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
