"""Dividing an award over sites: merit order, so that all sites end at the same marginal cost.

Pure. Every site offers convex segments (kW at USD per kWh); the cheapest kW anywhere go first, and segments of equal
cost share in proportion to their size. That is the exact least cost for one interval without coupling. Counted in
whole milliwatts, so the parts sum exactly to the award.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby

from grid.messages import Capability

UNITS_PER_KW = 1_000_000
"""Milliwatts."""


def whole_units(kw: float) -> float:
    """``kw`` rounded to the milliwatts in which awards are divided."""
    return round(kw * UNITS_PER_KW) / UNITS_PER_KW


def deliverable_kw(offers: Sequence[Capability]) -> float:
    """The largest award ``split`` can divide over these sites. Unit: kW."""
    return sum(units for _, _, units in _segments(offers)) / UNITS_PER_KW


def split(award_kw: float, offers: Sequence[Capability]) -> dict[str, float]:
    """kW of reduction by site id; they sum to ``whole_units(award_kw)``, and no site gives more than it offered.

    Raises ValueError for an award that is negative or above ``deliverable_kw``.
    """
    left = round(award_kw * UNITS_PER_KW)
    if left < 0:
        raise ValueError(f"an award of {award_kw} kW is no reduction")
    given: defaultdict[str, int] = defaultdict(int)
    for _, group in groupby(_segments(offers), key=lambda segment: segment[0]):
        sizes: defaultdict[str, int] = defaultdict(int)
        for _, site_id, units in group:
            sizes[site_id] += units
        for site_id, units in _proportional(min(left, sum(sizes.values())), sizes).items():
            given[site_id] += units
            left -= units
        if left == 0:
            break
    if left > 0:
        raise ValueError(f"the sites offer {deliverable_kw(offers)} kW, less than the award of {award_kw} kW")
    return {offer.site_id: given[offer.site_id] / UNITS_PER_KW for offer in offers}


def marginal_cost(site_kw: float, offer: Capability) -> float:
    """What the last kWh of ``site_kw`` costs the site. Unit: USD per kWh."""
    cost = 0.0
    reached = 0
    for usd_per_kwh, _, units in _segments([offer]):
        if reached >= round(site_kw * UNITS_PER_KW):
            break
        reached += units
        cost = usd_per_kwh
    return cost


def _segments(offers: Sequence[Capability]) -> list[tuple[float, str, int]]:
    """(cost, site, size), cheapest first; a site's segments end where its deliverable kW do."""
    segments = []
    for offer in offers:
        room = int(offer.deliverable_kw * UNITS_PER_KW + 0.5)
        for segment in sorted(offer.segments, key=lambda s: s.usd_per_kwh):
            units = min(room, int(segment.kw * UNITS_PER_KW))
            room -= units
            if units:
                segments.append((segment.usd_per_kwh, offer.site_id, units))
    return sorted(segments)


def _proportional(amount: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """``amount`` over sites in proportion to ``sizes`` (which hold it), by largest remainder."""
    total = sum(sizes.values())
    shares = {site_id: divmod(amount * size, total) for site_id, size in sizes.items()}
    missing = amount - sum(whole for whole, _ in shares.values())
    by_remainder = sorted(shares, key=lambda site_id: (-shares[site_id][1], site_id))
    return {site_id: shares[site_id][0] + (site_id in by_remainder[:missing]) for site_id in shares}
