"""The demo's scene: a utility, the aggregator and three sites, laid out in one folder and started.

Every process gets a folder of its own with its configuration, its certificates and its state; whatever port it
binds it says in its ready file. The two trust domains are made afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import tomli_w

from aggregator.demo.children import Child, Children, reserve_port
from aggregator.demo.plan import DISPATCHED, STANDBY, EventPlan, event_plan
from aggregator.portfolio.programme import shipped
from certs.authority import Authority
from certs.issuance import Role, issue
from certs.tls import Identity
from grid.clock import Clock
from grid.errors import ConfigError

ENROLMENT = "portfolio"
"""The enrolment that is dispatched; it covers all three sites."""
PORTFOLIO_VEN = "negawatt-portfolio"
VTN_ID = "demo-utility"
VTN, AGGREGATOR = "vtn", "aggregator"
"""Names of processes; a site's are plant-SITE and agent-SITE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """One of the demo's AI factories."""

    site_id: str
    name: str
    gpus: int


FACTORIES = (
    Factory(site_id="tempe", name="Tempe, Arizona", gpus=256),
    Factory(site_id="abilene", name="Abilene, Texas", gpus=224),
    Factory(site_id="columbus", name="Columbus, Ohio", gpus=192),
)
SITE_IDS = tuple(factory.site_id for factory in FACTORIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """What a person may choose."""

    seed: int
    arrivals: Path | None
    """Recorded requests the first site's inference load follows."""
    console_host: str
    console_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScene:
    """One site's processes and where to read them."""

    site_id: str
    agent: Child
    plant_url: str
    truth: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything serves."""

    folder: Path
    seed: int
    vtn_url: str
    """The VTN's admin port."""
    console_url: str
    market_context: str
    sites: tuple[SiteScene, ...]

    @property
    def name_of(self) -> dict[str, str]:
        """Process by the base URL of its HTTP."""
        plants = {site.plant_url: f"plant-{site.site_id}" for site in self.sites}
        return {self.vtn_url: VTN, self.console_url: AGGREGATOR, **plants}

    def site(self, site_id: str) -> SiteScene:
        return next(site for site in self.sites if site.site_id == site_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identities:
    """Who is who, over both trust domains."""

    vtn: Identity
    vens: Mapping[str, Identity]
    """By enrolment."""
    gateway: Identity
    sites: Mapping[str, Identity]


async def set_scene(
    folder: Path, options: SceneOptions, children: Children, clock: Clock, say: Callable[[str], None]
) -> Scene:
    """Start every process and wait until each serves. Raises DemoError with a child's own last words."""
    identities = _make_certificates(folder, clock)
    vtn_child = _child(folder, VTN, ("vtn", "run"), _vtn_config(identities, event_plan()))
    plant_children = [
        _child(folder, f"plant-{factory.site_id}", ("plant", "run"), _plant_config(factory, options))
        for factory in FACTORIES
    ]
    vtn, *plants = await children.start_stage([vtn_child, *plant_children])
    say(f"utility VTN serves (mTLS, pid {vtn['pid']})")
    for factory, plant in zip(FACTORIES, plants, strict=True):
        say(f"plant {factory.site_id} runs {factory.gpus} simulated GPUs (pid {plant['pid']})")
    # Agents come before the aggregator, as sites do: what they meter until it serves waits in their spools, so that
    # the utility misses no interval from the first one it asks for. Hence the gateway's port is chosen here.
    with reserve_port() as held:
        gateway_port = held.getsockname()[1]
        sites = [
            _site_scene(folder, factory, plant, identities, gateway_port)
            for factory, plant in zip(FACTORIES, plants, strict=True)
        ]
        agents = await children.start_stage([site.agent for site in sites])
        for site, agent in zip(sites, agents, strict=True):
            say(f"agent {site.site_id} reads its meter (pid {agent['pid']})")
        config = _aggregator_config(identities, vtn["port"], gateway_port, options)
        aggregator = await children.start(_child(folder, AGGREGATOR, ("aggregator", "run"), config))
    say(f"aggregator serves its uplink gateway (mTLS), four VENs and the console (pid {aggregator['pid']})")
    return Scene(
        folder=folder,
        seed=options.seed,
        vtn_url=f"http://127.0.0.1:{vtn['admin_port']}",
        console_url=f"http://{reachable(options.console_host)}:{aggregator['console_port']}",
        market_context=shipped(DISPATCHED).market_context,
        sites=tuple(sites),
    )


def reachable(host: str) -> str:
    """How a URL on this machine names a host that a server listens on."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return "[::1]" if address.is_unspecified else f"[{address}]"
    return "127.0.0.1" if address.is_unspecified else host


def _make_certificates(folder: Path, clock: Clock) -> _Identities:
    utility = Authority.create(folder / "pki" / "utility", name="Demo utility PKI", clock=clock)
    ours = Authority.create(folder / "pki" / "sites", name="Demo site PKI", clock=clock)
    at_aggregator = folder / "aggregator" / "certs"
    vens = {
        enrolment: issue(utility, role=Role.VEN, name=ven_name, folder=at_aggregator, clock=clock)
        for enrolment, ven_name in _ven_names().items()
    }
    return _Identities(
        vtn=issue(utility, role=Role.VTN, name="vtn", folder=folder / "vtn" / "certs", clock=clock),
        vens=vens,
        gateway=issue(ours, role=Role.GATEWAY, name="gateway", folder=at_aggregator, clock=clock),
        sites={
            site_id: issue(
                ours, role=Role.SITE, name=site_id, folder=folder / f"agent-{site_id}" / "certs", clock=clock
            )
            for site_id in SITE_IDS
        },
    )


def _ven_names() -> dict[str, str]:
    """By enrolment: one per site in the programme that stands by, one for the portfolio."""
    return {**{f"standby-{site_id}": f"negawatt-{site_id}" for site_id in SITE_IDS}, ENROLMENT: PORTFOLIO_VEN}


def _vtn_config(identities: _Identities, plan: EventPlan) -> dict[str, Any]:
    return {
        "vtn_id": VTN_ID,
        "certificate": str(identities.vtn.certificate),
        "key_file": str(identities.vtn.key),
        "roots": str(identities.vtn.roots),
        "report_interval_s": round(plan.interval_s),
        "baseline_s": plan.baseline_s,
        "release_s": plan.release_s,
    }


def _plant_config(factory: Factory, options: SceneOptions) -> dict[str, Any]:
    config: dict[str, Any] = {
        "site_id": factory.site_id,
        "seed": options.seed,
        "gpus": factory.gpus,
        "state_dir": "state",
    }
    if options.arrivals is not None and factory is FACTORIES[0]:
        config["arrivals_file"] = str(options.arrivals)
    return config


def _aggregator_config(
    identities: _Identities, vtn_port: int, gateway_port: int, options: SceneOptions
) -> dict[str, Any]:
    return {
        "aggregator": {"state_dir": "state", "audit_key_file": "audit.key"},
        "gateway": {
            "port": gateway_port,
            "certificate": str(identities.gateway.certificate),
            "key_file": str(identities.gateway.key),
            "roots": str(identities.gateway.roots),
        },
        "console": {"host": options.console_host, "port": options.console_port},
        "sites": [{"id": factory.site_id, "name": factory.name} for factory in FACTORIES],
        "enrolments": [
            _enrolment(enrolment, ven_name, identities.vens[enrolment], vtn_port)
            for enrolment, ven_name in _ven_names().items()
        ],
    }


def _enrolment(enrolment: str, ven_name: str, identity: Identity, vtn_port: int) -> dict[str, Any]:
    dispatched = enrolment == ENROLMENT
    programme = DISPATCHED if dispatched else STANDBY
    site_ids = SITE_IDS if dispatched else (enrolment.removeprefix("standby-"),)
    return {
        "programme": programme,
        "resources": [{"resource_id": site_id, "site_id": site_id} for site_id in site_ids],
        "ven": {
            "enrolment_id": enrolment,
            "ven_name": ven_name,
            "vtn_url": f"https://127.0.0.1:{vtn_port}/OpenADR2/Simple/2.0b",
            "vtn_id": VTN_ID,
            "certificate": str(identity.certificate),
            "key_file": str(identity.key),
            "vtn_roots": str(identity.roots),
            "market_contexts": [shipped(programme).market_context],
            "resources": [{"resource_id": site_id, "rid": f"{site_id}-power"} for site_id in site_ids],
        },
    }


def _site_scene(
    folder: Path, factory: Factory, plant: Mapping[str, Any], identities: _Identities, gateway_port: int
) -> SiteScene:
    identity = identities.sites[factory.site_id]
    config = {
        "site": {"id": factory.site_id, "state_dir": "state"},
        "meter": {"port": plant["meter_port"]},
        "battery": {"port": plant["battery_port"]},
        # Shared by the three agents and not with another demo, whose simulated GPUs bear the same UUIDs.
        "node": {"simulated": True, "lock_dir": "../gpu-locks"},
        "workloads": {"file": plant["workloads"]},
        "uplink": {
            "url": f"wss://127.0.0.1:{gateway_port}/uplink",
            "certificate": str(identity.certificate),
            "key_file": str(identity.key),
            "roots": str(identity.roots),
        },
    }
    environment = {
        "LD_LIBRARY_PATH": str(plant["nvml_library_dir"]),
        "NEGAWATT_NVML_STATE": str(plant["nvml_state"]),
    }
    return SiteScene(
        site_id=factory.site_id,
        agent=_child(folder, f"agent-{factory.site_id}", ("agent", "run"), config, environment),
        plant_url=f"http://127.0.0.1:{plant['admin_port']}",
        truth=Path(plant["truth"]),
    )


def _child(
    folder: Path,
    name: str,
    words: tuple[str, str],
    config: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Write a process's configuration into its folder."""
    home = folder / name
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(tomli_w.dumps(config))
    except OSError as error:
        raise ConfigError(f"cannot write {home}: {error.strerror}; choose another folder with --keep") from error
    return Child(name=name, words=words, folder=home, environment=environment or {})
