"""Power under limits that nest: racks inside feeds inside the site.

Units (parts of jobs, each inside one rack) are lowered in order of cost until every rack is at its limit, then every
feed by what is still to be had in its racks, then the site. With limits that nest this is the exact optimum of the
linear programme: a unit ends at the highest of the water levels above it, and the multiplier of a limit is how far
its level lies above the next one (laminar constraints: Federgruen and Groenevelt 1986). Each stage is one segmented
cumulative sum.

Where a job has one cap, as the ranks of a synchronous job that wait for the slowest must, all of its units go to
its lowest bound, and what that leaves unused in other racks is filled again with the jobs that were not held back.
A watt taken from such a job in one rack then frees others elsewhere, so its cost in a rack is what its other racks'
levels do not pay for already, over its share there. These prices and levels are found by a few rounds of each after
the other (block-wise dual ascent); every round's outcome keeps all limits, and the cheapest is taken. It is within
about 1% of the optimum (tests/benchmarks/allocation.py), not always at it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from agent.control.waterfill import Floats, Ints, Pieces, fill, summed

FILLS = 3
"""How often what jobs leave unused beside their tightest rack is filled again."""
PRICINGS = 4
"""How often the costs of jobs with one cap are divided over their racks."""
FOLLOW = 0.5
"""How far prices follow the levels found with the last ones: all at once would swing."""
SAME_W = 1e-6
LEAST_SHARE = 1e-12
"""Of a unit that draws nothing now."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """Where units are, and the limits on what they draw, other loads taken off. Unit: kW."""

    rack: Ints
    """Of each unit; shape (units,)."""
    feed: Ints
    """Of each rack; shape (racks,)."""
    rack_limit_kw: Floats
    feed_limit_kw: Floats
    site_limit_kw: float
    """Infinite where only racks and feeds are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """What can be bounded, and down to where."""

    job: Ints
    """Of each unit; shape (units,)."""
    alike: bool
    """Whether all units of a job take one bound."""
    pieces: Pieces
    """Of every unit, from its top to its lowest point."""
    top_w: Floats
    least_w: Floats
    full_kw: Floats
    """What each draws at its top."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nested:
    """The outcome."""

    bound_w: Floats
    """Per GPU of each unit."""
    usd_per_h: float
    """What it costs."""
    short_kw: Floats
    """What the floors leave above each limit: racks, then feeds, then the site."""


def solve(units: Units, tree: Tree) -> Nested:
    """The cheapest bounds that keep all limits, as far as floors let."""
    found = _independent(units, tree)
    if not units.alike or not (_lowest(units, found.bound_w) < found.bound_w - SAME_W).any():
        return found
    outcomes = [_filled(units, units, found, tree)]
    levels = _levels(units, found.bound_w, tree)
    for _ in range(PRICINGS):
        priced = replace(units, pieces=_divided(units, levels))
        found = _independent(priced, tree)
        outcomes.append(_filled(units, priced, found, tree))
        levels += FOLLOW * (_levels(priced, found.bound_w, tree) - levels)
    return min(outcomes, key=lambda n: (round(float(n.short_kw.sum()), 6), n.usd_per_h))


def _filled(units: Units, priced: Units, found: Nested, tree: Tree) -> Nested:
    """One bound a job by the costs in ``priced``, from the outcome with many; its cost is by ``units``."""
    now = priced
    for _ in range(FILLS):
        lowest_w = _lowest(units, found.bound_w)
        held = lowest_w < found.bound_w - SAME_W
        if not held.any():
            break
        # The whole job is fixed where its lowest unit came to lie, and is not asked for more by these limits.
        fixed = np.isin(units.job, units.job[held])
        top_w = np.where(fixed, lowest_w, now.top_w)
        now = replace(now, top_w=top_w, least_w=np.where(fixed, top_w, now.least_w))
        found = _independent(now, tree)
    lowest_w = _lowest(units, found.bound_w)
    return replace(found, bound_w=lowest_w, usd_per_h=_cost(units, lowest_w))


def _levels(units: Units, bound_w: Floats, tree: Tree) -> Floats:
    """Water level of each rack: the dearest piece touched in it, whichever limit asked for it. Unit: USD per kWh."""
    pieces = units.pieces
    touched = pieces.from_w > bound_w[pieces.unit] + SAME_W
    level = np.zeros(len(tree.feed))
    np.maximum.at(level, tree.rack[pieces.unit[touched]], pieces.usd_per_kwh[touched])
    return level[tree.rack]


def _divided(units: Units, level: Floats) -> Pieces:
    """The pieces at what their job's other units, at the levels of their racks, do not pay for already."""
    jobs = int(units.job.max()) + 1
    of_job_kw = summed(units.full_kw, units.job, jobs)[units.job]
    share = np.maximum(units.full_kw / np.maximum(of_job_kw, LEAST_SHARE), LEAST_SHARE)
    paid = share * level
    by_others = summed(paid, units.job, jobs)[units.job] - paid
    pieces = units.pieces
    left = np.maximum(0.0, pieces.usd_per_kwh - by_others[pieces.unit])
    return replace(pieces, usd_per_kwh=left / share[pieces.unit])


def _lowest(units: Units, bound_w: Floats) -> Floats:
    """Of each unit: the lowest bound in its job."""
    of_job = np.full(int(units.job.max(initial=-1)) + 1, np.inf)
    np.minimum.at(of_job, units.job, bound_w)
    return of_job[units.job]


def _independent(units: Units, tree: Tree) -> Nested:
    room = units.pieces.between(units.least_w, units.top_w)
    draw_kw = units.full_kw - units.pieces.freed_kw(units.top_w)
    open_to = np.flatnonzero(room > 0)
    pieces, room = units.pieces.at(open_to), room[open_to]
    order = np.argsort(pieces.usd_per_kwh)
    rack = tree.rack[pieces.unit]
    by_rack = summed(draw_kw, tree.rack, len(tree.rack_limit_kw))
    taken = np.zeros_like(room)
    short: list[Floats] = []
    for group_of_rack, limit_kw in (
        (np.arange(len(tree.feed)), tree.rack_limit_kw),
        (tree.feed, tree.feed_limit_kw),
        (np.zeros(len(tree.feed), dtype=np.intp), np.array([tree.site_limit_kw])),
    ):
        drawn = summed(by_rack, group_of_rack, len(limit_kw))
        need = np.maximum(0.0, drawn - limit_kw)
        if need.any():
            group = group_of_rack[rack]
            more = fill(need, pieces, room - taken, group, order)
            taken += more
            by_rack = by_rack - summed(more, rack, len(by_rack))
            need = need - summed(more, group, len(need))
        short.append(need)
    bound_w = pieces.bounds_w(taken, units.top_w, room)
    return Nested(bound_w=bound_w, usd_per_h=_cost(units, bound_w), short_kw=np.concatenate(short))


def _cost(units: Units, bound_w: Floats) -> float:
    pieces = units.pieces
    freed = pieces.between(bound_w, np.full_like(bound_w, np.inf))
    # Not a dot product: BLAS hands that to threads, which on a busy machine wait for each other.
    return float((freed * pieces.usd_per_kwh).sum())
