"""The OpenADR fingerprint of a certificate.

The last ten bytes of the SHA-256 of its DER form, upper-case hex with colons (OpenADR 2.0b, security section).
Some VTNs want it as the venID; every utility wants it told before it lets a VEN in.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from certs.errors import CertificateError


def openadr_fingerprint(certificate: bytes) -> str:
    """Fingerprint of a PEM or DER certificate. Raises CertificateError."""
    try:
        pem = certificate.lstrip().startswith(b"-----BEGIN")
        parsed = x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise CertificateError(f"not a PEM or DER certificate: {error}") from error
    return parsed.fingerprint(SHA256())[-10:].hex(":").upper()
