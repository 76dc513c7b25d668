"""Settings of the utility's VTN."""

from __future__ import annotations

from pydantic import Field

from certs.tls import Identity
from grid.process.config import FilePath, Settings


class VtnSettings(Settings):
    """The whole configuration file of ``negawatt vtn run``."""

    vtn_id: str = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """Of the OpenADR endpoint; 0 takes any free one."""
    admin_port: int = Field(default=0, ge=0, le=65535)
    """Of the plain admin HTTP on loopback."""
    certificate: FilePath
    key_file: FilePath
    roots: FilePath
    """Roots of the utility's trust domain, which VENs' certificates chain to."""
    ven_fingerprints: tuple[str, ...] = ()
    """Certificates that may register, by OpenADR fingerprint; empty takes any of our domain."""
    poll_interval_s: int = Field(default=1, ge=1)
    """oadrRequestedOadrPollFreq."""
    report_interval_s: int = Field(default=10, ge=1)
    """Granularity and back duration of the reports we ask for."""
    release_s: float = Field(default=20.0, ge=0)
    """How long after an event we expect its reports."""
    baseline_s: float = Field(default=60.0, gt=0)
    """Length of our meter-before baseline."""

    @property
    def identity(self) -> Identity:
        """Who we are to the VENs; the same key signs messages."""
        return Identity(certificate=self.certificate, key=self.key_file, roots=self.roots)
