"""Settings of the utility's VTN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from certs.tls import Identity
from grid.process.config import FilePath, Settings
from ven.endpoint import KEEP_ALIVE_S, PREFIX
from ven.wire.replay import WINDOW_S


class VtnSettings(Settings):
    """The whole configuration file of ``negawatt vtn run``."""

    vtn_id: str = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """Of the OpenADR endpoint; 0 takes any free one."""
    prefix: str = Field(default=PREFIX, pattern="^/")
    """Of the endpoint's paths."""
    keep_alive_s: float = Field(default=KEEP_ALIVE_S, gt=0)
    """How long an idle connection is kept; longer than the poll interval saves a handshake a poll."""
    admin_port: int = Field(default=0, ge=0, le=65535)
    """Of the plain admin HTTP on loopback."""
    tls: bool = True
    """False serves plain HTTP: for tests and benchmarks."""
    xml_signature: bool = True
    """Sign what we send, and take only what is signed."""
    replay_window_s: float = Field(default=WINDOW_S, gt=0)
    """How far the time of a signature may be off."""
    certificate: FilePath | None = None
    key_file: FilePath | None = None
    roots: FilePath | None = None
    """Roots of the utility's trust domain, which VENs' certificates chain to."""
    journal: FilePath | None = None
    """SQLite file with the whole book; without one it is kept in memory."""
    ven_fingerprints: tuple[str, ...] = ()
    """Certificates that may register, by OpenADR fingerprint; empty takes any of our domain."""
    ven_id_is_fingerprint: bool = False
    """The fingerprint is the venID, in every message."""
    assigned_ven_ids: Mapping[str, str] = {}
    """venIDs that the utility chose, by OpenADR fingerprint."""
    market_contexts: tuple[str, ...] = ()
    """Programmes that an opt may name; empty takes any."""
    poll_interval_s: int = Field(default=1, ge=1)
    """oadrRequestedOadrPollFreq."""
    drain: bool = False
    """Tell VENs in an extension that they may poll again at once while messages wait."""
    resend_s: float = Field(default=60.0, gt=0)
    """When a message that was not answered is sent again."""
    completed_kept_s: float = Field(default=0.0, ge=0)
    """How long an event that is over is still told of, as completed."""
    request_reports: bool = True
    """Ask every VEN that registers its reports for power and energy."""
    report_interval_s: int = Field(default=10, ge=1)
    """Granularity and back duration of the reports we ask for."""
    release_s: float = Field(default=20.0, ge=0)
    """How long after an event we expect its reports."""
    baseline_s: float = Field(default=60.0, gt=0)
    """Length of our meter-before baseline."""
    push_timeout_s: float = Field(default=10.0, gt=0)
    """How long a push VEN may take to answer."""
    push_retry_s: float = Field(default=1.0, gt=0)
    """The first pause after a push that failed; it doubles up to a minute."""
    messages_kept: int = Field(default=1000, ge=0)
    """How many of the last messages GET /messages can show."""
    fault_seed: int = 0
    """Of the dice that faults with a probability throw."""

    @model_validator(mode="after")
    def _has_identity(self) -> Self:
        if (self.tls or self.xml_signature) and None in (self.certificate, self.key_file, self.roots):
            raise ValueError(
                "certificate, key_file and roots are needed: set them, or tls = false and xml_signature = false"
            )
        return self

    @property
    def identity(self) -> Identity:
        """Who we are to the VENs; the same key signs messages. Only where TLS or signatures are on."""
        assert self.certificate is not None
        assert self.key_file is not None
        assert self.roots is not None
        return Identity(certificate=self.certificate, key=self.key_file, roots=self.roots)
