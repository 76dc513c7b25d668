"""Settings of one VEN: one identity at one VTN for one programme (an enrolment).

The aggregator embeds ``VenSettings`` in its own file, once per enrolment; ``negawatt ven run`` has a list of them.
"""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from certs.tls import Identity
from grid.events import OptType
from grid.process.config import FilePath, Settings


class ResourceSettings(Settings):
    """One resource of the enrolment and the report channel that carries its power."""

    resource_id: str = Field(min_length=1)
    """What the VTN and the ReportSource call it."""
    rid: str = Field(min_length=1)
    """rID of its power in our reports; unique in the enrolment."""


class VenSettings(Settings):
    """One VEN."""

    enrolment_id: str = Field(min_length=1)
    ven_name: str = Field(min_length=1)
    vtn_url: str
    """https URL down to the profile, e.g. https://vtn.example.com/OpenADR2/Simple/2.0b."""
    vtn_id: str | None = None
    """When set, a VTN that calls itself otherwise is refused."""
    certificate: FilePath
    """Our certificate of the utility's trust domain, PEM, leaf first."""
    key_file: FilePath
    vtn_roots: FilePath
    """The roots of the utility's trust domain."""
    market_contexts: tuple[str, ...] = ()
    """Market contexts of the programme; empty takes any."""
    resources: tuple[ResourceSettings, ...] = Field(min_length=1)
    default_opt: OptType = OptType.OPT_OUT
    """The answer when no decision comes in time."""
    decision_timeout_s: float = Field(default=2.0, gt=0)
    poll_interval_s: float = Field(default=10.0, gt=0)
    """Used until the VTN names a poll frequency."""
    report_granularity_min_s: float = Field(default=10.0, ge=1)
    """The shortest report interval we offer."""
    report_granularity_max_s: float = Field(default=3600.0, ge=1)
    report_lateness_s: float = Field(default=30.0, ge=0)
    """How long after its end a report waits for missing readings before it goes out without them."""

    @field_validator("vtn_url")
    @classmethod
    def _secure(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError("must be an https URL with a host: OpenADR 2.0b runs over mutual TLS")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what in ("rid", "resource_id"):
            values = [getattr(resource, what) for resource in self.resources]
            if len(set(values)) != len(values):
                raise ValueError(f"resources: every {what} must be unique in the enrolment")
        if self.report_granularity_min_s > self.report_granularity_max_s:
            raise ValueError("report_granularity_min_s is above report_granularity_max_s")
        return self

    @property
    def identity(self) -> Identity:
        """Who we are to this VTN."""
        return Identity(certificate=self.certificate, key=self.key_file, roots=self.vtn_roots)

    @property
    def vtn_host(self) -> str:
        """Host of the VTN, which its certificate must name."""
        host = urlsplit(self.vtn_url).hostname
        assert host is not None
        return host
