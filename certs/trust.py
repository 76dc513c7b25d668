"""Whether a certificate chains to the roots of a trust domain, now, and may stand for whom it claims.

Utilities' PKIs differ in what else their leaves carry, so no policy but the chain, the validity and, for a server,
its name is asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import BasicConstraints, Certificate, DNSName, IPAddress, SubjectAlternativeName
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from certs.errors import CertificateError
from certs.fingerprint import openadr_fingerprint

RSA_BITS_MIN = 2048
EC_BITS_MIN = 224


class Trust(Protocol):
    """Whom to believe."""

    def check(self, chain: Sequence[Certificate], now: datetime) -> None:
        """The leaf first. Raises CertificateError."""


class FingerprintTrust:
    """One certificate, by its OpenADR fingerprint, whoever issued it and however old it is."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint.strip().upper()

    def check(self, chain: Sequence[Certificate], now: datetime) -> None:
        """The leaf first. Raises CertificateError."""
        found = openadr_fingerprint(chain[0].public_bytes(Encoding.DER))
        if found != self._fingerprint:
            raise CertificateError(f"signed by the certificate {found}, not {self._fingerprint}")


class ChainTrust:
    """The roots of one domain; with a host, only servers that name it."""

    def __init__(self, roots: Sequence[Certificate], host: str | None = None) -> None:
        self._store = Store(list(roots))
        self._host = None if host is None else _host(host)

    def check(self, chain: Sequence[Certificate], now: datetime) -> None:
        """The leaf first. Raises CertificateError."""
        leaf, *intermediates = chain
        check_key(leaf)
        leaves = ExtensionPolicy.permit_all()
        if self._host is not None:
            leaves = leaves.require_present(SubjectAlternativeName, Criticality.AGNOSTIC, None)
        authorities = ExtensionPolicy.permit_all().require_present(BasicConstraints, Criticality.AGNOSTIC, None)
        builder = (
            PolicyBuilder().store(self._store).time(now).extension_policies(ca_policy=authorities, ee_policy=leaves)
        )
        try:
            if self._host is None:
                builder.build_client_verifier().verify(leaf, intermediates)
            else:
                builder.build_server_verifier(self._host).verify(leaf, intermediates)
        except VerificationError as error:
            raise CertificateError(
                f"{leaf.subject.rfc4514_string()} does not chain to the imported roots"
                f"{'' if self._host is None else f' as {self._host.value}'}: {error}"
            ) from error


def check_key(certificate: Certificate) -> None:
    """Raises CertificateError for a key that OpenADR 2.0b holds too weak, or of another kind."""
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise CertificateError(f"an RSA key of {key.key_size} bits: OpenADR 2.0b asks for {RSA_BITS_MIN} or more")
    elif isinstance(key, EllipticCurvePublicKey):
        if key.key_size < EC_BITS_MIN:
            raise CertificateError(f"an EC key of {key.key_size} bits: OpenADR 2.0b asks for {EC_BITS_MIN} or more")
    else:
        raise CertificateError(f"a key of type {type(key).__name__}: OpenADR 2.0b knows RSA and EC")


def _host(name: str) -> DNSName | IPAddress:
    try:
        return IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return DNSName(name)
