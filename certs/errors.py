"""What can go wrong with certificates.

NegawattError
└── CertificateError     a certificate, key or authority is missing, wrong or not trusted
"""

from __future__ import annotations

from grid.errors import NegawattError


class CertificateError(NegawattError):
    """A certificate, key or authority is missing, wrong or not trusted."""

    exit_code = 4
