"""Water-filling: the cheapest way to free power, with numpy, for jobs, parts of jobs or single GPUs.

Cost curves are convex and given as straight pieces, so taking pieces in order of cost is the exact optimum of the
linear programme min sum(cost * taken) with sum(taken) >= need in every group and 0 <= taken <= kw (the continuous
knapsack, Dantzig 1957). A unit's pieces may be taken in any order among equals: its bound follows from how much of
it is taken in all, from the top down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

LEAST_TAKEN = 1e-9
"""A piece of which less than this share is taken is not touched: it is what rounding left."""
FEW_GROUPS = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """Straight pieces of the cost curves of units 0 to n-1: shape (pieces,), unit by unit, each from the top down."""

    unit: Ints
    """Never falls."""
    from_w: Floats
    """The bound per GPU above the piece."""
    to_w: Floats
    """The bound per GPU below it."""
    kw: Floats
    """What the piece frees when taken whole."""
    usd_per_kwh: Floats
    """Never falls along a unit."""

    def at(self, which: Ints) -> Pieces:
        """These of the pieces, in an order that is theirs."""
        return Pieces(
            unit=self.unit[which],
            from_w=self.from_w[which],
            to_w=self.to_w[which],
            kw=self.kw[which],
            usd_per_kwh=self.usd_per_kwh[which],
        )

    def between(self, least_w: Floats, most_w: Floats) -> Floats:
        """What each piece frees inside its unit's bounds, shape (units,) each. Unit: kW."""
        inside_w = np.minimum(self.from_w, most_w[self.unit]) - np.maximum(self.to_w, least_w[self.unit])
        return self.kw * np.clip(inside_w / (self.from_w - self.to_w), 0.0, 1.0)

    def freed_kw(self, bound_w: Floats) -> Floats:
        """What each unit frees under a bound per GPU; shape (units,)."""
        return summed(self.between(bound_w, np.full_like(bound_w, np.inf)), self.unit, len(bound_w))

    def bounds_w(self, taken_kw: Floats, top_w: Floats, room_kw: Floats) -> Floats:
        """The bound per GPU of each unit that frees ``taken_kw`` of ``room_kw`` (both by piece); ``top_w`` if none."""
        sums = summed(taken_kw, self.unit, len(top_w))
        taken = np.clip(sums[self.unit] - before(room_kw, self.unit, len(top_w)), 0.0, room_kw)
        touched = taken > LEAST_TAKEN * self.kw
        # A piece whose upper part is out of bounds is entered at the bound, not at its end.
        entry_w = np.minimum(self.from_w, top_w[self.unit])[touched]
        length_w = (self.from_w - self.to_w)[touched] / self.kw[touched]
        bound_w = top_w.copy()
        np.minimum.at(bound_w, self.unit[touched], entry_w - length_w * taken[touched])
        return bound_w


def summed(values: Floats, group: Ints, groups: int) -> Floats:
    """The sum over each group; shape (groups,)."""
    return np.asarray(np.bincount(group, weights=values, minlength=groups), dtype=np.float64)


def cheapest_first(pieces: Pieces) -> Ints:
    """Order of cost; among equals the order given."""
    return np.argsort(pieces.usd_per_kwh, kind="stable")


def before(room_kw: Floats, group: Ints, groups: int) -> Floats:
    """For each of the pieces sorted by group: the room of those before it in its group."""
    total = np.cumsum(room_kw)
    sizes = np.bincount(group, minlength=groups)
    ends = np.cumsum(sizes)
    starts = np.where(ends > sizes, np.concatenate(([0.0], total))[ends - sizes], 0.0)
    return total - room_kw - starts[group]


def fill(need_kw: Floats, pieces: Pieces, room_kw: Floats, group: Ints, order: Ints) -> Floats:
    """Take ``need_kw`` (by group) from ``room_kw`` (by piece), in each group along ``order``; all of it if too little.

    Pieces of equal cost share in proportion to their room. Returns what is taken of each piece. Unit: kW.
    """
    groups = len(need_kw)
    if groups > 1:
        keys = group[order].astype(np.uint16 if groups <= FEW_GROUPS else np.uint32)
        order = order[np.argsort(keys, kind="stable")]
    sorted_group, sorted_room, cost = group[order], room_kw[order], pieces.usd_per_kwh[order]
    starts = np.empty(len(order), dtype=bool)
    starts[:1] = True
    starts[1:] = (cost[1:] != cost[:-1]) | (sorted_group[1:] != sorted_group[:-1])
    run = np.cumsum(starts) - 1
    run_group = sorted_group[starts]
    run_room = summed(sorted_room, run, len(run_group))
    wanted = np.clip(need_kw[run_group] - before(run_room, run_group, groups), 0.0, run_room)
    share = np.divide(wanted, run_room, out=np.zeros_like(wanted), where=run_room > 0)
    taken = np.empty_like(room_kw)
    taken[order] = sorted_room * share[run]
    return taken


def fill_one(need_kw: float, room_kw: Floats, order: Ints) -> Floats:
    """``fill`` for a single group, where among equals the first is emptied before the next is touched."""
    sorted_room = room_kw[order]
    taken = np.empty_like(room_kw)
    taken[order] = np.clip(need_kw - (np.cumsum(sorted_room) - sorted_room), 0.0, sorted_room)
    return taken
