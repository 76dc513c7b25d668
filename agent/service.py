"""The agent process: opens devices, journal and spool, runs the site's tick beside its uplink, shows its status."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from pydantic import ValidationError

from agent.battery.sunspec import SunSpecBattery
from agent.config import AgentSettings, MeterSettings
from agent.control.loop import ControlLoop
from agent.errors import BudgetRefusedError
from agent.gpu.nvml import NvmlGpus
from agent.journal import AgentJournal
from agent.meter.checked import CheckedMeter
from agent.meter.device import Meter
from agent.meter.sunspec import SunSpecMeter
from agent.node import LocalNode
from agent.site import Devices, SiteAgent
from agent.spool import Spool
from agent.uplink import Uplink
from agent.workloads.jobs import Workloads
from certs.signing import signing_key
from grid.clock import AnchoredClock, Clock
from grid.errors import ConfigError
from grid.messages import SiteBudget
from grid.process.health import AdminServer
from grid.process.running import write_ready_file
from grid.units import W_PER_KW

_log = structlog.get_logger()


async def serve(settings: AgentSettings, clock: Clock, *, ready_file: Path | None, budget_file: Path | None) -> None:
    """Run a site's agent until cancelled. Raises our errors for whatever a person must put right first."""
    if settings.generator is not None or settings.inputs:
        _log.warning("neither generator nor contacts are used yet: the law does not heed them")
    site_id, state = settings.site.id, settings.site.state_dir
    state.mkdir(parents=True, exist_ok=True)
    grid_clock = AnchoredClock(clock)
    workloads = Workloads.read(settings.workloads.file)
    journal = AgentJournal.open(
        state / "journal.sqlite", site_id=site_id, key=signing_key(state / "audit.key"), clock=grid_clock
    )
    spool = Spool.open(state / "spool.sqlite", site_id)
    try:
        with NvmlGpus.open(simulated=settings.node.simulated) as gpus:
            left_capped = bool(journal.prior_limits_w())
            node = LocalNode.open(
                gpus=gpus,
                workloads=workloads,
                journal=journal,
                folder=state,
                locks=settings.node.lock_dir,
                clock=grid_clock,
            )
            try:
                loop = ControlLoop(site_id=site_id, jobs=workloads.jobs, tuning=settings.control)
                if left_capped:
                    loop.resume(node.in_force_w(), grid_clock.now())
                agent = SiteAgent(
                    site_id=site_id,
                    devices=_devices(settings, node, grid_clock),
                    loop=loop,
                    journal=journal,
                    spool=spool,
                    clock=grid_clock,
                    tuning=settings.control,
                )
                if budget_file is not None:
                    _take_budget_file(agent, budget_file, grid_clock.now())
                await _run(settings, agent, spool, clock, grid_clock, ready_file)
            finally:
                node.close()
    finally:
        spool.close()
        journal.close()


def _devices(settings: AgentSettings, node: LocalNode, clock: Clock) -> Devices:
    battery = settings.battery
    meter: Meter = _meter(settings.meter, "meter", clock)
    if settings.check_meter is not None:
        meter = CheckedMeter(meter, _meter(settings.check_meter, "check_meter", clock))
    return Devices(
        meter=meter,
        battery=None
        if battery is None
        else SunSpecBattery(battery.host, battery.port, battery.unit, discharge_positive=battery.discharge_positive),
        node=node,
    )


def _meter(settings: MeterSettings, section: str, clock: Clock) -> SunSpecMeter:
    return SunSpecMeter(
        settings.host,
        settings.port,
        settings.unit,
        clock=clock,
        section=section,
        reversed_ct=settings.reversed_ct,
        sequence_register=settings.sequence_register,
    )


def _take_budget_file(agent: SiteAgent, path: Path, now: datetime) -> None:
    """A budget from a file: what an operator without an aggregator holds.

    One that is over or no newer than what is held is only told of: the same command starts an agent again after a
    death, and what that left in force must be given back. Raises ConfigError or BudgetRefusedError.
    """
    try:
        budget = SiteBudget.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"cannot read the budget in {path}: {error}") from error
    ack = agent.take_budget(budget)
    if ack.accepted:
        return
    past = budget.not_after <= now or budget.revision <= agent.budget_revision()
    if budget.site_id != agent.site_id or not past:
        raise BudgetRefusedError(f"the budget in {path} is refused: {ack.reason}")
    _log.warning("budget not taken, going on without it", file=str(path), why=ack.reason)


async def _run(
    settings: AgentSettings,
    agent: SiteAgent,
    spool: Spool,
    clock: Clock,
    grid_clock: AnchoredClock,
    ready_file: Path | None,
) -> None:
    uplink = _uplink(settings, agent, spool, clock, grid_clock)

    def link_lost() -> bool:
        return uplink is not None and uplink.lost(after_s=settings.control.link_loss_s)

    checks = {
        "meter": lambda: _unread(agent, "meter"),
        "gpus": lambda: _unread(agent, "gpus"),
        "battery": lambda: agent.seen.failing.get("battery"),
        "uplink": lambda: None if uplink is None else uplink.state.why,
    }
    routes = [web.get("/status", _status_of(agent, uplink))]
    admin = AdminServer(
        checks, metrics(agent, spool), host=settings.admin.host, port=settings.admin.port, routes=routes
    )
    async with admin:
        write_ready_file(ready_file, admin_port=admin.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run(link_lost=link_lost, ticked=uplink.notify if uplink else _nobody_waits))
            if uplink is not None:
                group.create_task(uplink.run())


def _nobody_waits() -> None:
    """A site without an uplink has nobody to tell of a tick."""


def _uplink(
    settings: AgentSettings, agent: SiteAgent, spool: Spool, clock: Clock, grid_clock: AnchoredClock
) -> Uplink | None:
    if settings.uplink is None:
        return None
    return Uplink(
        site_id=settings.site.id,
        url=settings.uplink.url,
        identity=settings.uplink.identity,
        software=f"negawatt {version('negawatt')}",
        simulated=settings.node.simulated,  # NvmlGpus.open holds it against the driver's name
        host=agent,
        spool=spool,
        clock=clock,
        grid_clock=grid_clock,
    )


def _unread(agent: SiteAgent, device: str) -> str | None:
    return "no reading yet" if agent.seen.at is None else agent.seen.failing.get(device)


def _status_of(agent: SiteAgent, uplink: Uplink | None) -> Any:
    async def status(_: web.Request) -> web.Response:
        seen = agent.seen
        return web.json_response(
            {
                "site_id": agent.site_id,
                "mode": seen.actions.mode if seen.actions else None,
                "budget_revision": agent.budget_revision(),
                **seen.row,
                "baseline_kw": seen.actions.baseline_kw if seen.actions else None,
                "caps_active": agent.capped,
                "uplink": "none" if uplink is None else uplink.state.why or "connected",
                "alarms": list(seen.alarms),
            }
        )

    return status


def metrics(agent: SiteAgent, spool: Spool) -> CollectorRegistry:
    """What /metrics shows."""
    registry = CollectorRegistry()
    power = Gauge("negawatt_site_power_watts", "Power at the meter, import positive", registry=registry)
    power.set_function(lambda: _watts(agent.seen.row.get("site_kw")))
    waiting = Gauge("negawatt_telemetry_spool_rows", "Rows the aggregator has not acknowledged", registry=registry)
    waiting.set_function(spool.waiting)
    evicted = Gauge("negawatt_telemetry_evicted_rows", "Rows that were dropped unsent, ever", registry=registry)
    evicted.set_function(spool.evicted)
    return registry


def _watts(power_kw: float | None) -> float:
    return math.nan if power_kw is None else power_kw * W_PER_KW
