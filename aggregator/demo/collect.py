"""Gathers the summary after an event, each figure from the process that cannot be wrong about it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from typing import Any

from aggregator.demo.director import Course, Director
from aggregator.demo.http import Http
from aggregator.demo.plan import Outage, Timeline
from aggregator.demo.scene import ENROLMENT, Scene, SiteScene
from aggregator.demo.summary import AuditSummary, OutageSummary, SettlementSummary, SiteSummary, Summary
from aggregator.demo.truth import (
    TrueSecond,
    caps_share,
    most_battery_kw,
    read_truth,
    seconds_over_limit,
    settle_s,
    tracking_rmse_pct,
)
from grid.units import energy_kwh


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a site held over the hold: the newest revision it accepted."""

    baseline_kw: float
    limit_kw: float
    first_acked_at: datetime
    """When it accepted its first revision for the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """What the processes said, once for all sites."""

    delivery: Mapping[str, Any]
    statement: Mapping[str, Any] | None
    budgets: Mapping[str, Budget | None]
    holds: Mapping[str, Sequence[TrueSecond]]

    def reduction_kw(self, site_id: str) -> float | None:
        budget = self.budgets[site_id]
        return None if budget is None else budget.baseline_kw - fmean(s.site_kw for s in self.holds[site_id])

    def reduction_share(self, site_id: str) -> float | None:
        """Of what all sites with a budget reduced."""
        reductions_kw = [kw for one in self.budgets if (kw := self.reduction_kw(one)) is not None]
        mine_kw, all_kw = self.reduction_kw(site_id), sum(reductions_kw)
        return mine_kw / all_kw if mine_kw is not None and all_kw > 0 else None

    def statement_missing(self, site_id: str) -> tuple[datetime, ...]:
        if self.statement is None:
            return ()
        return next((_moments(s["missing"]) for s in self.statement["sites"] if s["site_id"] == site_id), ())


async def collect(scene: Scene, director: Director, http: Http, course: Course) -> Summary:
    """The summary of one event. Raises DemoError when a source cannot be read."""
    event = await http.get(f"{scene.vtn_url}/events/{course.event_id}")
    dispatch = await http.get(f"{scene.console_url}/api/v1/events/{ENROLMENT}/{course.event_id}")
    times = course.timeline
    sources = _Sources(
        delivery=await http.get(f"{scene.vtn_url}/deliveries/{course.event_id}"),
        statement=await director.settlement(course),
        budgets={site.site_id: held_budget(dispatch["budgets"], site.site_id) for site in scene.sites},
        holds={site.site_id: read_truth(site.truth, times.hold) for site in scene.sites},
    )
    return Summary(
        registrations=course.registrations,
        opt=event["opts"][-1]["opt"] if event["opts"] else "none",
        requested_kw=course.requested_kw,
        requested_kwh=energy_kwh(course.requested_kw, times.plan.hold_s),
        seed=scene.seed,
        dtstart=times.start,
        hold_start=times.hold.start,
        hold_end=times.hold.end,
        release_end=times.release_end,
        sites=tuple([await _site(director, http, course, site, sources) for site in scene.sites]),
        outage=None if course.outage is None else _outage(scene, course.outage, times),
        utility_intervals_received=sources.delivery["intervals_received"],
        utility_intervals_expected=sources.delivery["intervals_expected"],
        utility_delivered_kwh=sources.delivery["delivered_kwh"],
        settlement=None if sources.statement is None else _settlement(sources.statement),
        audit=await _audit(scene, http),
    )


async def _site(director: Director, http: Http, course: Course, site: SiteScene, sources: _Sources) -> SiteSummary:
    hold, budget = sources.holds[site.site_id], sources.budgets[site.site_id]
    lost = course.outage is not None and course.outage.site_id == site.site_id
    active = read_truth(site.truth, course.timeline.active)
    return SiteSummary(
        site_id=site.site_id,
        status="lost" if lost else "ok",
        baseline_kw=budget and budget.baseline_kw,
        limit_kw=budget and budget.limit_kw,
        mean_kw=fmean(s.site_kw for s in hold),
        tracking_rmse_pct=budget and tracking_rmse_pct(hold, budget.limit_kw, budget.baseline_kw),
        seconds_over_limit=budget and seconds_over_limit(hold, budget.limit_kw),
        reduction_share=sources.reduction_share(site.site_id),
        caps_share=None if lost or budget is None else caps_share(hold),
        response_s=budget and await _response_s(http, course.timeline, site, budget),
        settle_s=budget and settle_s(active, budget.limit_kw, budget.baseline_kw),
        caps_restored=await director.restored(site),
        utility_missing=_moments(sources.delivery["by_resource"][site.site_id]["missing"]),
        statement_missing=sources.statement_missing(site.site_id),
    )


async def _response_s(http: Http, timeline: Timeline, site: SiteScene, budget: Budget) -> float | None:
    """From dtstart, or the first budget's ack if later, until every GPU and the battery were written once."""
    since = max(timeline.start, budget.first_acked_at)
    writes = await http.get(f"{site.plant_url}/writes?since={since:%Y-%m-%dT%H:%M:%S.%fZ}")
    written = all_written(writes)
    # A write after the hold is no response: it gives a limit back.
    return (written - since).total_seconds() if written is not None and written < timeline.active.end else None


def all_written(writes: Mapping[str, Any]) -> datetime | None:
    """When the last of GPUs and battery was written first; None when one never was."""
    lost = set(writes["lost"])  # nothing can be written to a GPU that fell off its bus
    written = [*(at for uuid, at in writes["gpus"].items() if uuid not in lost), writes["battery"]]
    return None if None in written else max(_moments(written))


def held_budget(revisions: Sequence[Mapping[str, Any]], site_id: str) -> Budget | None:
    """Of an event's budgets, the newest revision this site accepted; None when it accepted none."""
    accepted = [one for one in revisions if one["site_id"] == site_id and one["accepted"]]
    if not accepted:
        return None
    newest = max(accepted, key=lambda one: int(one["revision"]))
    return Budget(
        baseline_kw=float(newest["baseline_kw"]),
        limit_kw=float(newest["limit_kw"]),
        first_acked_at=min(_moments([one["acked_at"] for one in accepted])),
    )


def _outage(scene: Scene, outage: Outage, timeline: Timeline) -> OutageSummary:
    resting = outage.resting()
    truth = scene.site(outage.site_id).truth
    return OutageSummary(
        site_id=outage.site_id,
        killed_at=outage.killed_at,
        restarted_at=outage.restarted_at,
        dead_intervals=outage.dead(timeline),
        doubtful_intervals=outage.doubtful(timeline),
        battery_kw=None if resting is None else most_battery_kw(read_truth(truth, resting)),
    )


def _settlement(statement: Mapping[str, Any]) -> SettlementSummary:
    return SettlementSummary(
        committed_kwh=Decimal(statement["committed_kwh"]),
        delivered_kwh=Decimal(statement["delivered_kwh"]),
        payment_usd=Decimal(statement["payment_usd"]),
        programme_verified=statement["programme"]["verified"],
    )


async def _audit(scene: Scene, http: Http) -> AuditSummary:
    """Export the chain and its public key, and have another process verify them."""
    export, key = scene.folder / "audit.jsonl", scene.folder / "audit.pub"
    export.write_text(await http.text(f"{scene.console_url}/api/v1/audit/export"))
    key.write_text(await http.text(f"{scene.console_url}/api/v1/audit/public-key"))
    return await verify_audit(export, key)


async def verify_audit(export: Path, key: Path) -> AuditSummary:
    """What ``negawatt audit verify`` says of an exported chain."""
    verifier = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grid.process.cli", "audit", "verify", str(export), "--public-key", str(key),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await verifier.communicate()
    if verifier.returncode != 0:
        return AuditSummary(entries=0, verified=False, why=errors.decode().strip())
    verdict = json.loads(output)
    return AuditSummary(entries=verdict["entries"], verified=verdict["verified"])


def _moments(texts: Sequence[str]) -> tuple[datetime, ...]:
    return tuple(map(datetime.fromisoformat, texts))
