"""A utility's PKI, VTNs that serve, and messages to send them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.authority import Authority
from certs.files import KeyType, read_certificates, read_leaf_key, write_certificates
from certs.issuance import Role, issue
from certs.tls import Identity
from tests.ven.simulation.raw_ven import CLOCK, Utility
from ven.simulation.config import VtnSettings
from ven.simulation.service import serving
from ven.wire.common import KILOWATT, Target
from ven.wire.report import RegisterReport, Report, ReportDescription, SamplingRate

CONTEXT = "http://utility.example/programme"


@dataclass(frozen=True)
class Domain:
    """The utility's PKI."""

    folder: Path
    authority: Authority

    def ven(self, name: str = "ven-a", key_type: KeyType = KeyType.EC) -> Identity:
        return self._issue(Role.VEN, name, key_type)

    def vtn(self, key_type: KeyType = KeyType.EC) -> Identity:
        return self._issue(Role.VTN, f"utility-{key_type.value}", key_type)

    def both_ways(self, name: str = "push-ven") -> Identity:
        """May serve as well as connect, on loopback, as certificates of OpenADR's own PKI may."""
        made = (self.folder / name).exists()
        identity = self._issue(Role.VTN, name, KeyType.EC)
        if made:
            return identity
        (leaf,) = read_certificates(identity.certificate)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = x509.CertificateBuilder(
            issuer_name=leaf.issuer,
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public_key=read_leaf_key(identity.key).public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=leaf.not_valid_before_utc,
            not_valid_after=leaf.not_valid_after_utc,
        )
        for extension in leaf.extensions:
            value = extension.value
            if isinstance(value, x509.ExtendedKeyUsage):
                value = x509.ExtendedKeyUsage(usages)
            builder = builder.add_extension(value, critical=extension.critical)
        write_certificates(identity.certificate, builder.sign(self.authority.key, SHA256()))
        return identity

    def _issue(self, role: Role, name: str, key_type: KeyType) -> Identity:
        folder = self.folder / name
        if not folder.exists():
            return issue(self.authority, role=role, name=name, folder=folder, clock=CLOCK, key_type=key_type)
        return Identity(
            certificate=folder / f"{name}.pem", key=folder / f"{name}.key", roots=folder / f"{name}-roots.pem"
        )


@pytest.fixture(scope="session")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    folder = tmp_path_factory.mktemp("utility-pki")
    return Domain(folder, Authority.create(folder / "ca", name="Utility", clock=CLOCK))


def settings_of(identity: Identity, **more: Any) -> VtnSettings:
    """Any free ports."""
    values = {"certificate": identity.certificate, "key_file": identity.key, "roots": identity.roots}
    return VtnSettings(vtn_id="utility", **(values | more))


Serve = Callable[..., AbstractAsyncContextManager[Utility]]


@pytest.fixture
def serve(domain: Domain) -> Serve:
    """``async with serve(setting=...) as utility``: a VTN over mutual TLS, signed, in this process."""

    @asynccontextmanager
    async def serve(*, identity: Identity | None = None, **more: Any) -> AsyncIterator[Utility]:
        settings = settings_of(identity or domain.vtn(), **more)
        async with serving(settings, CLOCK) as (port, admin_port):
            yield Utility(port, admin_port, settings.tls)

    return serve


def metadata(
    *rids: str,
    ven_id: str | None = None,
    now: datetime | None = None,
    name: str = "METADATA_TELEMETRY_USAGE",
    specifier_id: str = "usage",
    sampling: SamplingRate | None = None,
) -> RegisterReport:
    """An offer of real power in kW, one resource an rID."""
    report = Report(
        specifier_id=specifier_id,
        request_id="0",
        created_at=now or CLOCK.now(),
        name=name,
        duration_s=3600.0,
        descriptions=tuple(
            ReportDescription(
                rid=rid,
                report_type="usage",
                reading_type="Direct Read",
                measure=KILOWATT,
                data_source=Target(resource_ids=(f"{rid}-resource",)),
                sampling=sampling or SamplingRate(min_period_s=1.0, max_period_s=3600.0),
            )
            for rid in rids
        ),
    )
    return RegisterReport(request_id="offer", reports=(report,), ven_id=ven_id)


def simple_event(ven_name: str = "ven-a", **more: Any) -> dict[str, Any]:
    """Body of POST /events."""
    return {
        "ven_name": ven_name,
        "market_context": CONTEXT,
        "duration_s": 600,
        "lead_s": 3600,
        "signals": [{"name": "SIMPLE", "type": "level", "intervals": [{"duration_s": 600, "value": 1}]}],
        **more,
    }
