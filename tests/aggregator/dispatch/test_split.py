"""An award is divided exactly, inside every offer, at equal marginal cost."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch.split import deliverable_kw, marginal_cost, split, whole_units
from grid.messages import Capability
from tests.aggregator.conftest import T0
from tests.aggregator.site_client import capability

SEGMENT = st.tuples(st.floats(0, 500), st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.25, 1.0]))


@st.composite
def offers(draw: st.DrawFn) -> list[Capability]:
    curves = draw(st.lists(st.lists(SEGMENT, max_size=5), min_size=1, max_size=6))
    return [capability(f"site-{i}", T0, 1000.0, *sorted(curve, key=lambda s: s[1])) for i, curve in enumerate(curves)]


def _exact_sum(parts: dict[str, float]) -> Decimal:
    return sum((Decimal(str(kw)) for kw in parts.values()), Decimal(0))


def _cost_usd_per_h(parts: dict[str, float], sites: list[Capability]) -> float:
    total = 0.0
    for site in sites:
        left = parts[site.site_id]
        for segment in site.segments:
            taken = min(left, segment.kw)
            total += taken * segment.usd_per_kwh
            left -= taken
    return total


@given(offers(), st.floats(0, 1))
def test_the_parts_sum_exactly_and_stay_inside_what_was_offered(sites: list[Capability], share: float) -> None:
    award = deliverable_kw(sites) * share
    parts = split(award, sites)
    assert _exact_sum(parts) == Decimal(str(whole_units(award)))
    assert set(parts) == {site.site_id for site in sites}
    for site in sites:
        assert 0 <= parts[site.site_id] <= site.deliverable_kw + 1e-6


@given(offers(), st.floats(0.01, 0.99))
def test_no_site_has_cheaper_kw_left_than_another_was_asked_for(sites: list[Capability], share: float) -> None:
    parts = split(deliverable_kw(sites) * share, sites)
    dearest_taken = max((marginal_cost(parts[s.site_id], s) for s in sites if parts[s.site_id] > 0), default=0.0)
    for site in sites:
        filled = 0.0
        for segment in site.segments:
            filled += segment.kw
            if segment.usd_per_kwh < dearest_taken:
                # rounding each of five segments down to milliwatts loses at most that much
                assert parts[site.site_id] >= filled - 5e-6


@given(offers(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_any_other_split_of_the_same_award_costs_no_less(sites: list[Capability], share: float, random: object) -> None:
    best = split(deliverable_kw(sites) * share, sites)
    award = math.fsum(best.values())
    other, left = {site.site_id: 0.0 for site in sites}, award
    shuffled = list(sites)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for site in shuffled:
        other[site.site_id] = min(left, site.deliverable_kw)
        left -= other[site.site_id]
    assert _cost_usd_per_h(best, sites) <= _cost_usd_per_h(other, sites) + 1e-3


def test_the_cheapest_kw_go_first_and_equal_costs_share_by_size() -> None:
    sites = [
        capability("a", T0, 100.0, (10.0, 0.1), (20.0, 0.3)),
        capability("b", T0, 100.0, (5.0, 0.2), (10.0, 0.3)),
    ]
    assert split(12.0, sites) == {"a": 10.0, "b": 2.0}
    assert split(30.0, sites) == {"a": 20.0, "b": 10.0}
    assert split(deliverable_kw(sites), sites) == {"a": 30.0, "b": 15.0}
    assert _exact_sum(split(100 / 3, sites)) == Decimal("33.333333")


def test_what_nobody_offered_is_not_awarded() -> None:
    sites = [capability("a", T0, 100.0, (10.0, 0.1))]
    for award in (10.1, -1.0):
        with pytest.raises(ValueError, match="award"):
            split(award, sites)
    with pytest.raises(ValueError, match="award"):
        split(1.0, [])
    assert split(0.0, sites) == {"a": 0.0}
