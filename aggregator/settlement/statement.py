"""A settlement statement: from stored inputs to money, the same bytes every time.

Pure. Meter and baseline are fixed at the programme's kW places before anything is computed, energy at its kWh
places, money is rounded once; so a reader recomputes every figure from the ones printed. A missing interval delivers
zero and is listed. Decimals are written as strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from aggregator.errors import SettlementError
from aggregator.portfolio.programme import Programme, SettlementRules
from aggregator.settlement.performance import paid_share
from grid.audit import canonical
from grid.money import quantity, usd

_SECONDS_PER_HOUR = Decimal(3600)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeteredInterval(_Document):
    """One interval of a site's meter."""

    start: AwareDatetime
    kw: float | None
    """Mean; None where telemetry is incomplete."""


class SiteInputs(_Document):
    """What a site owed and metered."""

    site_id: str
    owed_kw: float
    before: tuple[MeteredInterval, ...]
    """The baseline's intervals."""
    hold: tuple[MeteredInterval, ...]


class Inputs(_Document):
    """Everything a statement is made from."""

    commitment_id: int
    enrolment_id: str
    event_id: str
    modification_number: int
    version: int
    status: str
    """preliminary, actual or disputed."""
    committed_kw: float
    hold_start: AwareDatetime
    hold_end: AwareDatetime
    programme: Programme
    sites: tuple[SiteInputs, ...]


def statement(inputs: Inputs) -> dict[str, Any]:
    """The statement as JSON values. Raises SettlementError when the programme pays for nothing."""
    rules = inputs.programme.settlement
    if rules is None:
        raise SettlementError(f"programme {inputs.programme.programme_id} has no settlement rules")
    sites = [_site(site, rules) for site in inputs.sites]
    intervals = max((len(site.hold) for site in inputs.sites), default=0)
    committed_kw = quantity(inputs.committed_kw, rules.kw_places)
    committed_kwh = _kwh(committed_kw, rules, intervals)
    delivered_kwh = sum((Decimal(site["delivered_kwh"]) for site in sites), Decimal(0))
    ratio = delivered_kwh / committed_kwh if committed_kwh else Decimal(0)
    share = paid_share(rules.performance, ratio)
    programme = inputs.programme
    return {
        "commitment_id": inputs.commitment_id,
        "enrolment_id": inputs.enrolment_id,
        "event_id": inputs.event_id,
        "modification_number": inputs.modification_number,
        "version": inputs.version,
        "status": inputs.status,
        "programme": {
            "programme_id": programme.programme_id,
            "valid_from": programme.valid_from.isoformat(),
            "source": programme.source,
            "verified": programme.verified,
        },
        "baseline": rules.baseline,
        "hold_start": inputs.hold_start.isoformat(),
        "hold_end": inputs.hold_end.isoformat(),
        "interval_s": rules.interval_s,
        "intervals": intervals,
        "sites": sites,
        "missing_intervals": sum(len(site["missing"]) for site in sites),
        "committed_kw": str(committed_kw),
        "committed_kwh": str(committed_kwh),
        "delivered_kwh": str(delivered_kwh),
        "performance_ratio": str(ratio.quantize(Decimal("0.000001"), rounding=ROUND_HALF_EVEN)),
        "paid_share": str(share.quantize(Decimal("0.000001"), rounding=ROUND_HALF_EVEN)),
        "price_usd_per_kwh": str(rules.price_usd_per_kwh),
        "payment_usd": str(usd(share * committed_kwh * rules.price_usd_per_kwh, rules.rounding)),
    }


def canonical_statement(inputs_json: str) -> str:
    """The statement of stored inputs as canonical JSON: byte for byte what it was the first time."""
    return canonical(statement(Inputs.model_validate_json(inputs_json))).decode()


def _site(site: SiteInputs, rules: SettlementRules) -> dict[str, Any]:
    """One site's part; without any baseline interval it has delivered nothing that can be counted."""
    baseline_kw = _mean_kw(site.before, rules)
    intervals = [_interval(metered, baseline_kw, rules) for metered in site.hold]
    return {
        "site_id": site.site_id,
        "owed_kw": str(quantity(site.owed_kw, rules.kw_places)),
        "baseline_kw": None if baseline_kw is None else str(baseline_kw),
        "baseline_missing": _missing(site.before),
        "intervals": intervals,
        "missing": _missing(site.hold),
        "delivered_kwh": str(sum((Decimal(i["delivered_kwh"]) for i in intervals), Decimal(0))),
    }


def _interval(metered: MeteredInterval, baseline_kw: Decimal | None, rules: SettlementRules) -> dict[str, Any]:
    metered_kw = None if metered.kw is None else quantity(metered.kw, rules.kw_places)
    reduction_kw = None if metered_kw is None or baseline_kw is None else baseline_kw - metered_kw
    return {
        "start": metered.start.isoformat(),
        "metered_kw": None if metered_kw is None else str(metered_kw),
        "reduction_kw": None if reduction_kw is None else str(reduction_kw),
        "delivered_kwh": str(_kwh(reduction_kw or Decimal(0), rules, 1)),
    }


def _mean_kw(before: Sequence[MeteredInterval], rules: SettlementRules) -> Decimal | None:
    values = [quantity(m.kw, rules.kw_places) for m in before if m.kw is not None]
    if not values:
        return None
    mean = sum(values, Decimal(0)) / len(values)
    return mean.quantize(Decimal(1).scaleb(-rules.kw_places), rounding=ROUND_HALF_EVEN)


def _kwh(kw: Decimal, rules: SettlementRules, intervals: int) -> Decimal:
    """Energy of a mean power over so many intervals, at the programme's places."""
    seconds = Decimal(repr(rules.interval_s)) * intervals
    return (kw * seconds / _SECONDS_PER_HOUR).quantize(Decimal(1).scaleb(-rules.kwh_places), rounding=ROUND_HALF_EVEN)


def _missing(intervals: Sequence[MeteredInterval]) -> list[str]:
    starts: list[datetime] = [metered.start for metered in intervals if metered.kw is None]
    return [start.isoformat() for start in starts]
