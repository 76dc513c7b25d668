"""Awarding: from what an event asks to who owes how much, or why nobody can.

Reads the sites' latest capabilities and their stored telemetry. A capability counts while it is fresh; a site
without one is left out, and told as the reason when the others cannot give enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.dispatch.planner import in_the_way
from aggregator.dispatch.request import Refusal, Request
from aggregator.dispatch.split import deliverable_kw, marginal_cost, split, whole_units
from aggregator.portfolio.commitment import Award, Commitment
from aggregator.portfolio.offer import OFFER_VALID_S
from aggregator.portfolio.programme import SettlementRules
from aggregator.settlement.baseline import meter_before, window_before
from aggregator.storage.budgets import newest_budget
from aggregator.storage.sites import heard_capabilities
from aggregator.telemetry import interval_means
from grid.intervals import floor_to
from grid.messages import Capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Awarded:
    """An award that can be committed."""

    committed_kw: float
    awards: tuple[Award, ...]
    costs_usd_per_kwh: dict[str, float]
    """Marginal cost by site, for the audit."""
    left_out: tuple[str, ...]
    """Sites of the event without a fresh capability."""


async def award(
    connection: AsyncConnection,
    request: Request,
    rules: SettlementRules,
    now: datetime,
    *,
    dispatch_id: str,
    running: Commitment | None,
) -> Awarded | Refusal:
    """Divide ``request`` over its sites. ``running`` is the commitment it modifies, whose baselines stay."""
    if (refusal := await _planned_already(connection, request, dispatch_id)) is not None:
        return refusal
    offers, left_out = await _fresh_offers(connection, request.site_ids, now)
    committed_kw, possible_kw = whole_units(request.reduction_kw), deliverable_kw(offers)
    if committed_kw > possible_kw:
        stale = f"; no fresh capability from {', '.join(left_out)}" if left_out else ""
        return Refusal(reason=f"{committed_kw:g} kW asked, {possible_kw:g} kW deliverable{stale}")
    owed_kw = split(committed_kw, offers)
    baselines = await _baselines(connection, offers, rules, now, running=running, start=request.timeline.start)
    return Awarded(
        committed_kw=committed_kw,
        awards=tuple(
            Award(site_id=offer.site_id, owed_kw=owed_kw[offer.site_id], baseline_kw=kw, settled=settled)
            for offer in offers
            for kw, settled in [baselines[offer.site_id]]
        ),
        costs_usd_per_kwh={offer.site_id: marginal_cost(owed_kw[offer.site_id], offer) for offer in offers},
        left_out=left_out,
    )


async def _planned_already(connection: AsyncConnection, request: Request, dispatch_id: str) -> Refusal | None:
    """Refuse what would sell kW of a site whose plan serves another dispatch at that time."""
    for site_id in request.site_ids:
        newest = await newest_budget(connection, site_id)
        other = in_the_way(newest.budget if newest else None, dispatch_id, request.timeline.whole)
        if other is not None:
            return Refusal(reason=f"site {site_id} serves dispatch {other} at that time")
    return None


async def _fresh_offers(
    connection: AsyncConnection, site_ids: Sequence[str], now: datetime
) -> tuple[list[Capability], tuple[str, ...]]:
    heard = await heard_capabilities(connection)
    oldest = now - timedelta(seconds=OFFER_VALID_S)
    fresh = [s for s in site_ids if s in heard and heard[s].received_at >= oldest]
    return [heard[s].capability for s in fresh], tuple(s for s in site_ids if s not in fresh)


async def _baselines(
    connection: AsyncConnection,
    offers: Sequence[Capability],
    rules: SettlementRules,
    now: datetime,
    *,
    running: Commitment | None,
    start: datetime,
) -> dict[str, tuple[float, bool]]:
    """Baseline by site and whether it is settled: what a running event had, else a forecast.

    The forecast is the programme's baseline as if the event began now; a site whose telemetry has not arrived is
    taken at its own word.
    """
    window = window_before(floor_to(now, rules.interval_s), rules)
    means = await interval_means(connection, [offer.site_id for offer in offers], window, rules.interval_s)
    before = {a.site_id: a for a in running.awards} if running and running.timeline.start == start else {}
    found: dict[str, tuple[float, bool]] = {}
    for offer in offers:
        if (had := before.get(offer.site_id)) is not None:
            found[offer.site_id] = (had.baseline_kw, had.settled)
        else:
            forecast_kw = meter_before(means[offer.site_id]).kw
            found[offer.site_id] = (offer.baseline_kw if forecast_kw is None else forecast_kw, False)
    return found
