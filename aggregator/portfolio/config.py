"""The aggregator's configuration file, and what must agree inside it before anything starts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from aggregator.portfolio.enrolment import Enrolment, EnrolmentSettings, refuse_double_sale
from certs.tls import Identity
from grid.process.config import FilePath, Settings, load


class ProcessSettings(Settings):
    """``[aggregator]``."""

    state_dir: FilePath
    """Holds the database and the VENs' journals."""
    admin_port: int = Field(default=0, ge=0, le=65535)
    audit_key_file: FilePath
    """Ed25519 key that signs the audit; made at the first start."""
    log_level: str = "INFO"


class GatewaySettings(Settings):
    """``[gateway]``: where sites connect to."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    certificate: FilePath
    key_file: FilePath
    roots: FilePath
    """The roots of the site PKI."""

    @property
    def identity(self) -> Identity:
        return Identity(certificate=self.certificate, key=self.key_file, roots=self.roots)


class ConsoleSettings(Settings):
    """``[console]``: pages and API, plain HTTP."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)


class SiteSettings(Settings):
    """``[[sites]]``."""

    id: str = Field(min_length=1)
    """As in the site's certificate, ``urn:negawatt:site:<id>``."""
    name: str = ""


class AggregatorSettings(Settings):
    """The whole file."""

    aggregator: ProcessSettings
    gateway: GatewaySettings
    console: ConsoleSettings = ConsoleSettings()
    sites: tuple[SiteSettings, ...] = Field(min_length=1)
    enrolments: tuple[EnrolmentSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        known = [site.id for site in self.sites]
        _refuse_repeated("sites: id", known)
        _refuse_repeated("enrolments: enrolment_id", [e.ven.enrolment_id for e in self.enrolments])
        site_of: dict[str, str] = {}
        for enrolment in self.enrolments:
            for resource in enrolment.resources:
                if resource.site_id not in known:
                    raise ValueError(
                        f"enrolment {enrolment.ven.enrolment_id}: unknown site {resource.site_id!r}: "
                        f"add it to [[sites]] or use one of {', '.join(known)}"
                    )
                if site_of.setdefault(resource.resource_id, resource.site_id) != resource.site_id:
                    raise ValueError(f"resource {resource.resource_id} stands for two sites: rename one of them")
        return self

    @property
    def database(self) -> Path:
        return self.aggregator.state_dir / "aggregator.sqlite"

    @property
    def site_names(self) -> dict[str, str]:
        """Name by site id, in the file's order."""
        return {site.id: site.name or site.id for site in self.sites}

    def open_enrolments(self) -> dict[str, Enrolment]:
        """Every enrolment with its programme, by id. Raises ConfigError, also when a kW would be sold twice."""
        opened = [Enrolment.open(settings) for settings in self.enrolments]
        refuse_double_sale(opened)
        return {enrolment.enrolment_id: enrolment for enrolment in opened}


def read_config(path: Path) -> AggregatorSettings:
    """Read and check the file. Raises ConfigError."""
    return load(path, AggregatorSettings)


def _refuse_repeated(what: str, values: list[str]) -> None:
    repeated = [value for value, n in Counter(values).items() if n > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} appears twice")
