"""Settings of one VEN: one identity at one VTN for one programme (an enrolment).

The aggregator embeds ``VenSettings`` in its own file, once per enrolment; ``negawatt ven run`` has a list of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from certs.tls import CIPHERS, Identity
from grid.events import OptType
from grid.process.config import FilePath, Settings


class ReportName(StrEnum):
    """reportName of OpenADR 2.0b, without METADATA_."""

    TELEMETRY_USAGE = "TELEMETRY_USAGE"
    TELEMETRY_STATUS = "TELEMETRY_STATUS"
    HISTORY_USAGE = "HISTORY_USAGE"
    HISTORY_GREENBUTTON = "HISTORY_GREENBUTTON"


class LateOpt(StrEnum):
    """How a VTN wants to hear of an opt that changed after the event was answered."""

    CREATED_EVENT = "created_event"
    CREATE_OPT = "create_opt"


class ResourceSettings(Settings):
    """One resource of the enrolment and the report channels that carry its measurements."""

    resource_id: str = Field(min_length=1)
    """What the VTN and the ReportSource call it."""
    rid: str = Field(min_length=1)
    """rID of its mean power in TELEMETRY_USAGE; unique in the enrolment. Other reports' rIDs are made of it."""
    energy: bool = False
    """Offer its energy (energyReal, kWh) besides."""


class PushSettings(Settings):
    """Where the VTN reaches a push VEN."""

    url: str
    """https URL down to the profile, as the VTN is told it (oadrTransportAddress)."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(ge=0, le=65535)
    vtn_fingerprint: str | None = None
    """When set, only this certificate may push; otherwise one that signs and names the host of vtn_url."""

    @field_validator("url")
    @classmethod
    def _secure(cls, url: str) -> str:
        return https_url(url)


class VenSettings(Settings):
    """One VEN."""

    enrolment_id: str = Field(min_length=1)
    ven_name: str = Field(min_length=1)
    vtn_url: str
    """https URL down to the profile, e.g. https://vtn.example.com/OpenADR2/Simple/2.0b."""
    vtn_id: str | None = None
    """When set, a VTN that calls itself otherwise is refused."""
    ven_id: str | None = None
    """When set, what we call ourselves before the first registration; some VTNs want the fingerprint here."""
    certificate: FilePath
    """Our certificate of the utility's trust domain, PEM, leaf first."""
    key_file: FilePath
    vtn_roots: FilePath
    """The roots of the utility's trust domain."""
    ciphers: str = CIPHERS
    """TLS 1.2 suites, in OpenSSL's words."""
    xml_signature: bool = True
    """Sign what we send, and take only what is signed."""
    replay_window_s: float = Field(default=60.0, gt=0)
    """How old, or how far in the future, a signed message may be."""
    market_contexts: tuple[str, ...] = ()
    """Market contexts of the programme; empty takes any."""
    resources: tuple[ResourceSettings, ...] = Field(min_length=1)
    group_ids: tuple[str, ...] = ()
    """groupIDs that mean this VEN when an event targets them."""
    party_ids: tuple[str, ...] = ()
    """partyIDs, likewise."""
    run_test_events: bool = False
    """Curtail on events whose testEvent is set; otherwise they are only answered (rule 6)."""
    simple_levels: tuple[float, float, float, float] | None = None
    """The programme's table for SIMPLE: share of the baseline at levels 0 to 3; left out, levels pass as they are."""
    default_opt: OptType = OptType.OPT_OUT
    """The answer when no decision comes in time."""
    decision_timeout_s: float = Field(default=2.0, gt=0)
    late_opt: LateOpt = LateOpt.CREATED_EVENT
    """How the VTN wants to hear of an opt that changed later."""
    poll_interval_s: float = Field(default=10.0, gt=0)
    """Used until the VTN names a poll frequency."""
    drain_polls: bool = False
    """Whether the VTN's profile allows polling on at once while messages come (rule 55 forbids it otherwise)."""
    sync_interval_s: float = Field(default=3600.0, gt=0)
    """How often every event is asked for again, besides at the start and after every outage."""
    reports: tuple[ReportName, ...] = tuple(ReportName)
    """The reports we offer."""
    report_granularity_min_s: float = Field(default=10.0, ge=1)
    """The shortest report interval we offer."""
    report_granularity_max_s: float = Field(default=3600.0, ge=1)
    report_lateness_s: float = Field(default=30.0, ge=0)
    """How long after its end a report waits for missing readings before it goes out without them."""
    report_payloads_apart: bool = False
    """One rID an interval, for VTNs that cannot read several; the messages are larger."""
    push: PushSettings | None = None
    """When set, the VTN sends its messages to us instead of being polled."""

    @field_validator("vtn_url")
    @classmethod
    def _secure(cls, url: str) -> str:
        return https_url(url)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what in ("rid", "resource_id"):
            values = [getattr(resource, what) for resource in self.resources]
            if len(set(values)) != len(values):
                raise ValueError(f"resources: every {what} must be unique in the enrolment")
        rids = {resource.rid for resource in self.resources}
        for resource in self.resources:
            if resource.energy and f"{resource.rid}-energy" in rids:
                raise ValueError(
                    f"resources: {resource.rid}-energy is the rID of {resource.resource_id}'s energy already"
                )
        if self.report_granularity_min_s > self.report_granularity_max_s:
            raise ValueError("report_granularity_min_s is above report_granularity_max_s")
        if self.push is not None and not self.xml_signature and self.push.vtn_fingerprint is None:
            raise ValueError("push.vtn_fingerprint is needed where messages are not signed: anybody might push else")
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

    @property
    def resource_ids(self) -> tuple[str, ...]:
        return tuple(resource.resource_id for resource in self.resources)


def https_url(url: str) -> str:
    """Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("must be an https URL with a host: OpenADR 2.0b runs over mutual TLS")
    return url.rstrip("/")
