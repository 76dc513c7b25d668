"""Issuing a leaf certificate with its key: who it may be is its role.

The role decides the key usages and, for a site, the URI that the uplink gateway holds every frame against.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.authority import BACKDATED, Authority
from certs.errors import CertificateError
from certs.files import KeyType, generate_key, write_certificates, write_private_key
from certs.identity import site_urn
from certs.tls import Identity
from grid.clock import Clock

LEAF_LIFETIME = timedelta(days=365)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Role(StrEnum):
    """What the holder of a certificate is."""

    VEN = "ven"
    VTN = "vtn"
    GATEWAY = "gateway"
    SITE = "site"


def issue(
    authority: Authority,
    *,
    role: Role,
    name: str,
    folder: Path,
    clock: Clock,
    hosts: Sequence[str] | None = None,
    key_type: KeyType = KeyType.EC,
) -> Identity:
    """Make ``name.key``, ``name.pem`` and ``name-roots.pem`` in ``folder``. Raises CertificateError.

    ``hosts`` is where the holder answers: loopback for servers when left out, nowhere for a VEN, which needs it only
    in push mode.
    """
    if not _NAME.fullmatch(name):
        raise CertificateError(f"{name!r} cannot name a certificate: use letters, digits, '.', '_' and '-', 64 at most")
    key = generate_key(key_type)
    now = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + LEAF_LIFETIME, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(key_type), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES[role]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(role, name, hosts)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, SHA256())
    )
    identity = Identity(
        certificate=folder / f"{name}.pem", key=folder / f"{name}.key", roots=folder / f"{name}-roots.pem"
    )
    write_private_key(identity.key, key)
    write_certificates(identity.certificate, certificate)
    write_certificates(identity.roots, authority.certificate)
    return identity


_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_USAGES = {
    # In push mode a VTN connects and a VEN answers.
    Role.VEN: (_CLIENT, _SERVER),
    Role.VTN: (_SERVER, _CLIENT),
    Role.GATEWAY: (_SERVER,),
    Role.SITE: (_CLIENT,),
}


def _names(role: Role, name: str, hosts: Sequence[str] | None) -> list[x509.GeneralName]:
    if role is Role.SITE:
        return [x509.UniformResourceIdentifier(site_urn(name))]
    if role is Role.VEN:
        return [x509.DNSName(name), *(_host(host) for host in hosts or ())]
    return [_host(host) for host in (LOOPBACK_HOSTS if hosts is None else hosts)]


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(key_type: KeyType) -> x509.KeyUsage:
    """Signing; and what TLS 1.2 needs of the key, which for RSA is the key transport of TLS_RSA_* suites."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=key_type is KeyType.RSA,
        data_encipherment=False,
        key_agreement=key_type is KeyType.EC,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
