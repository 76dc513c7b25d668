"""Gathers the summary after an event, each figure from the process that cannot be wrong about it."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from typing import Any

from aggregator.demo.director import HOLD_S, Course, Director
from aggregator.demo.errors import DemoError
from aggregator.demo.scene import ENROLMENT, Scene, SiteScene
from aggregator.demo.summary import AuditSummary, SettlementSummary, SiteSummary, Summary
from aggregator.demo.truth import (
    TrueSecond,
    caps_share,
    read_truth,
    seconds_over_limit,
    settle_s,
    tracking_rmse_pct,
)
from grid.units import energy_kwh


async def collect(scene: Scene, director: Director, course: Course) -> Summary:
    """The summary of one event. Raises DemoError when a source cannot be read."""
    delivery = await director.get(f"{scene.vtn_url}/deliveries/{course.event_id}")
    dispatch = await director.get(f"{scene.console_url}/api/v1/events/{ENROLMENT}/{course.event_id}")
    settlement = await director.settlement(course)
    if settlement is None:
        raise DemoError(f"event {course.event_id} was not settled")
    holds = {site.site_id: read_truth(site.truth, course.hold) for site in scene.sites}
    budgets = {site.site_id: _held_budget(dispatch, site.site_id) for site in scene.sites}
    reductions_kw = {
        site_id: budgets[site_id]["baseline_kw"] - fmean(s.site_kw for s in hold) for site_id, hold in holds.items()
    }
    portfolio_kw = sum(reductions_kw.values())
    sites = [
        await _site(director, course, site, budgets[site.site_id], holds[site.site_id], dispatch)
        for site in scene.sites
    ]
    return Summary(
        registrations=course.registrations,
        opt=await director.opt(course),
        requested_kw=course.requested_kw,
        requested_kwh=energy_kwh(course.requested_kw, HOLD_S),
        seed=scene.seed,
        sites=tuple(
            SiteSummary(**figures, reduction_share=reductions_kw[figures["site_id"]] / portfolio_kw)
            for figures in sites
        ),
        utility_intervals_received=delivery["intervals_received"],
        utility_intervals_expected=delivery["intervals_expected"],
        utility_delivered_kwh=delivery["delivered_kwh"],
        settlement=SettlementSummary(
            committed_kwh=Decimal(settlement["committed_kwh"]),
            delivered_kwh=Decimal(settlement["delivered_kwh"]),
            payment_usd=Decimal(settlement["payment_usd"]),
        ),
        audit=await _audit(scene, director),
    )


async def _site(
    director: Director,
    course: Course,
    site: SiteScene,
    budget: dict[str, Any],
    hold: list[TrueSecond],
    dispatch: dict[str, Any],
) -> dict[str, Any]:
    limit_kw, baseline_kw = float(budget["limit_kw"]), float(budget["baseline_kw"])
    return {
        "site_id": site.site_id,
        "status": "lost" if course.killed and course.killed.site_id == site.site_id else "ok",
        "baseline_kw": baseline_kw,
        "limit_kw": limit_kw,
        "mean_kw": fmean(s.site_kw for s in hold),
        "tracking_rmse_pct": tracking_rmse_pct(hold, limit_kw, baseline_kw),
        "seconds_over_limit": seconds_over_limit(hold, limit_kw),
        "caps_share": caps_share(hold),
        "response_s": await _response_s(director, course, site, dispatch),
        "settle_s": settle_s(read_truth(site.truth, course.active), limit_kw, baseline_kw),
        "caps_restored": await director.caps_restored(site),
    }


async def _response_s(director: Director, course: Course, site: SiteScene, dispatch: dict[str, Any]) -> float | None:
    """From dtstart, or the first budget's ack if later, until every GPU and the battery were written once."""
    acks = [b["acked_at"] for b in dispatch["budgets"] if b["site_id"] == site.site_id and b["acked_at"]]
    if not acks:
        return None
    since = max(course.start, min(datetime.fromisoformat(at) for at in acks))
    writes = await director.get(f"{site.plant_url}/writes?since={since:%Y-%m-%dT%H:%M:%S.%fZ}")
    lost = set(writes["lost"])  # nothing can be written to a GPU that fell off its bus
    written = [*(at for uuid, at in writes["gpus"].items() if uuid not in lost), writes["battery"]]
    if None in written:
        return None
    return (max(datetime.fromisoformat(at) for at in written) - since).total_seconds()


def _held_budget(dispatch: dict[str, Any], site_id: str) -> dict[str, Any]:
    """The budget revision that was in force over the hold: the last one."""
    revisions = [b for b in dispatch["budgets"] if b["site_id"] == site_id]
    if not revisions:
        raise DemoError(f"the event gave {site_id} no budget")
    return max(revisions, key=lambda b: int(b["revision"]))


async def _audit(scene: Scene, director: Director) -> AuditSummary:
    """Export the chain and its public key, and have another process verify them."""
    export, key = scene.folder / "audit.jsonl", scene.folder / "audit.pub"
    await _download(director, f"{scene.console_url}/api/v1/audit/export", export)
    await _download(director, f"{scene.console_url}/api/v1/audit/public-key", key)
    verifier = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grid.process.cli", "audit", "verify", str(export), "--public-key", str(key),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await verifier.communicate()
    if verifier.returncode != 0:
        raise DemoError(f"the audit chain does not verify: {errors.decode().strip()}")
    verdict = json.loads(output)
    return AuditSummary(entries=verdict["entries"], verified=verdict["verified"])


async def _download(director: Director, url: str, to: Path) -> None:
    to.write_text(await director.text(url))
