"""How long allocation takes from 1,000 to 1,000,000 GPUs, and what a linear programme takes for the same problem.

``python -m tests.benchmarks.allocation [--gpus N ...]`` prints JSON. Every row is a problem solved by the product's
code: ``classes`` (8 cap classes) and ``jobs`` (50 GPUs each) through Allocator; ``gpus`` (one bound per GPU, each busy
and with its own silicon); ``racks`` and ``racks_gpus`` (72 GPUs a rack, 20 racks a feed; parts of jobs, or single
GPUs) through the hierarchy; ``one_cap`` the same with one cap a job (racks and feeds only, not always the optimum);
``replan`` that with all the worker does besides; ``tick`` a whole ControlLoop.step. The peer
is HiGHS on the same pieces, up to PEER_PIECES of them. Wall times are as good as the machine is quiet; CPU times stand
beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np

from agent.control.allocate import Allocator, CapClass, Scale, SiteCurves
from agent.control.demand import Demand
from agent.control.hierarchy import Tree, Units, solve
from agent.control.layout import Layout, Rack
from agent.control.replan import plan
from agent.control.waterfill import Floats, Ints, Pieces, cheapest_first, fill_one, summed
from tests.benchmarks.programme import Programme, Rows, highs_version
from tests.benchmarks.ticks import BusySite, run

SIZES = (1_000, 10_000, 100_000, 1_000_000)
GPUS_PER_JOB = 50
GPUS_PER_RACK = 72
RACKS_PER_FEED = 20
CLASSES = 8
NEED, RACK_NEED, FEED_NEED = 0.6, 0.3, 0.4
"""What the site, a tight rack and a tight feed must free, as shares of what is above their floors."""
SILICON_SD = 0.03
PEER_PIECES = 60_000
LIMITS_MS = {
    ("jobs", 100_000): 15.0,
    ("racks", 100_000): 150.0,
    ("racks_gpus", 100_000): 150.0,
    ("one_cap", 100_000): 150.0,
}
TICK_GPUS = (1_000, 10_000, 100_000)
TICK_LIMIT_MS = {100_000: 50.0}


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    ms: float
    cpu_ms: float
    objective_gap: float
    """How much more ours costs, as a share."""


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    gpus: int
    units: int
    pieces: int
    ms: float
    """Median wall time."""
    best_ms: float
    cpu_ms: float
    """Median CPU time of the thread."""
    limit_ms: float | None
    first_ms: float | None
    """Wall time where every curve is cut anew."""
    usd_per_h: float
    peer: Peer | None
    peer_left_out: str | None


@dataclass(frozen=True, kw_only=True)
class Timed:
    ms: float
    best_ms: float
    cpu_ms: float


def timed(work: Callable[[], object], *, at_most_s: float = 3.0) -> Timed:
    """Between 3 and 30 times."""
    walls: list[float] = []
    cpus: list[float] = []
    while len(walls) < 3 or (len(walls) < 30 and sum(walls) < at_most_s):
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    return Timed(ms=1e3 * median(walls), best_ms=1e3 * min(walls), cpu_ms=1e3 * median(cpus))


class Problem:
    """A site of jobs with demand of their own."""

    def __init__(self, gpus: int, jobs: int, *, busy: bool = False, seed: int = 1) -> None:
        self.gpus, self.rng = gpus, np.random.default_rng(seed)
        site = BusySite(gpus=max(gpus, jobs), jobs=jobs, seed=seed)
        classes = [c for c in map(CapClass.of, site.jobs) if c is not None]
        self.allocator = Allocator(classes)
        self.scales = {
            c.class_id: Scale(
                gpu_count=gpus // jobs,
                gain=1.0,
                cost_gain=1.0,
                demand=Demand.full(c.curve)
                if busy
                else Demand.seen(c.curve.max_power_w * self.rng.uniform(0.5, 1.0, 60)),
                debit=float(self.rng.uniform(1.0, 2.0)),
            )
            for c in classes
        }
        self.curves: SiteCurves = self.allocator.curves(self.scales)
        room = self.curves.pieces.between(self.curves.least_w, self.curves.top_w)
        self.room_kw = summed(room, self.curves.pieces.unit, jobs)
        """Above the floors, by job."""
        self.need_kw = NEED * float(self.room_kw.sum())
        self.budget_kw = float(self.curves.full_kw.sum()) - self.need_kw

    def layout(self) -> Layout:
        """Jobs fill racks one after the other; every third rack and every second feed is tight."""
        of_gpu = np.arange(len(self.scales) * (self.gpus // len(self.scales)))
        job, rack = of_gpu // (self.gpus // len(self.scales)), of_gpu // GPUS_PER_RACK
        feed = rack // RACKS_PER_FEED
        gpus: dict[str, dict[str, int]] = {}
        parts, counts = np.unique(np.stack((job, rack)), axis=1, return_counts=True)
        for (j, r), count in zip(parts.T.tolist(), counts.tolist(), strict=True):
            gpus.setdefault(self.curves.class_ids[j], {})[f"r{r}"] = count
        per_gpu = self.gpus // len(self.scales)
        full_kw, room_kw = self.curves.full_kw[job] / per_gpu, self.room_kw[job] / per_gpu
        racks_kw = np.bincount(rack, weights=full_kw) - RACK_NEED * np.bincount(rack, weights=room_kw)
        feeds_kw = np.bincount(feed, weights=full_kw) - FEED_NEED * np.bincount(feed, weights=room_kw)
        return Layout(
            racks={
                f"r{r}": Rack(feed=f"f{r // RACKS_PER_FEED}", limit_kw=kw if r % 3 == 0 else 2 * kw)
                for r, kw in enumerate(racks_kw.tolist())
            },
            feed_limit_kw={f"f{f}": kw if f % 2 == 0 else 2 * kw for f, kw in enumerate(feeds_kw.tolist())},
            gpus=gpus,
        )

    def nested(self) -> tuple[Units, Tree]:
        """Parts of jobs, each free to differ, down to the site's budget."""
        units, tree = self.layout().problem(self.curves)
        return replace(units, alike=False), replace(tree, site_limit_kw=self.budget_kw)

    def single_gpus(self) -> tuple[Units, Tree]:
        """One unit per GPU, and no two alike."""
        units, tree = self.nested()
        share = np.array([count for of_job in self.layout().gpus.values() for count in of_job.values()])
        of_gpu = np.repeat(np.arange(len(units.job)), share)
        silicon = 1 + SILICON_SD * np.clip(self.rng.standard_normal(len(of_gpu)), -3, 3)
        pieces = repeated(units.pieces, of_gpu, silicon / share[of_gpu], len(units.job))
        gpus = Units(
            job=np.arange(len(of_gpu)),
            alike=False,
            pieces=pieces,
            top_w=units.top_w[of_gpu],
            least_w=units.least_w[of_gpu],
            full_kw=units.full_kw[of_gpu] / share[of_gpu] * silicon,
        )
        return gpus, replace(tree, rack=tree.rack[of_gpu])


def repeated(pieces: Pieces, unit: Ints, factor: Floats, units: int) -> Pieces:
    """The pieces of ``unit`` for each of its entries, ``factor`` as wide and as much cheaper."""
    sizes = np.bincount(pieces.unit, minlength=units)
    starts = np.cumsum(sizes) - sizes
    new = np.repeat(np.arange(len(unit)), sizes[unit])
    first = np.cumsum(sizes[unit]) - sizes[unit]
    at = starts[unit][new] + np.arange(len(new)) - first[new]
    kw = pieces.kw[at] * factor[new]
    same = factor * np.bincount(unit, minlength=units)[unit]
    return Pieces(
        unit=new, from_w=pieces.from_w[at], to_w=pieces.to_w[at], kw=kw, usd_per_kwh=pieces.usd_per_kwh[at] / same[new]
    )


def allocated(name: str, gpus: int, jobs: int) -> Row:
    """Through Allocator."""
    problem = Problem(gpus, jobs)
    scales, budget_kw, curves = problem.scales, problem.budget_kw, problem.curves
    fresh = {k: replace(s, demand=Demand.seen(s.demand.samples_w)) for k, s in scales.items()}
    start = time.perf_counter()
    problem.allocator.allocate(budget_kw, fresh)
    first_ms = 1e3 * (time.perf_counter() - start)
    took = timed(lambda: problem.allocator.allocate(budget_kw, fresh))
    bounds = problem.allocator.allocate(budget_kw, fresh).power_w
    freed = curves.pieces.between(np.array(list(bounds.values())), np.full(jobs, np.inf))
    room = curves.pieces.between(curves.least_w, curves.top_w)
    site = Programme.of(curves.pieces, room)
    site = site.needs(np.zeros(len(room), dtype=np.intp), np.array([problem.need_kw]))
    cost = float(freed @ curves.pieces.usd_per_kwh)
    return row(name, gpus, jobs, curves.pieces, took, cost, site, first_ms=first_ms)


def single(gpus: int) -> Row:
    """One bound per GPU, one limit."""
    units, _ = Problem(gpus, gpus // GPUS_PER_JOB, busy=True).single_gpus()
    room = units.pieces.between(units.least_w, units.top_w)
    need = NEED * float(room.sum())

    def work() -> Floats:
        taken = fill_one(need, room, cheapest_first(units.pieces))
        return units.pieces.bounds_w(taken, units.top_w, room)

    took = timed(work)
    freed = units.pieces.between(work(), np.full(len(units.job), np.inf))
    site = Programme.of(units.pieces, room).needs(np.zeros(len(room), dtype=np.intp), np.array([need]))
    return row("gpus", gpus, gpus, units.pieces, took, float(freed @ units.pieces.usd_per_kwh), site)


def nested(name: str, gpus: int, units: Units, tree: Tree) -> Row:
    """Racks, feeds and the site."""
    took = timed(lambda: solve(units, tree))
    found = solve(units, tree)
    room = units.pieces.between(units.least_w, units.top_w)
    programme = Programme.of(units.pieces, room)
    racks = tree.rack[units.pieces.unit]
    drawn = np.bincount(tree.rack, weights=units.full_kw, minlength=len(tree.feed))
    feeds = np.bincount(tree.feed, weights=drawn, minlength=len(tree.feed_limit_kw))
    programme = programme.needs(racks, np.maximum(0.0, drawn - tree.rack_limit_kw))
    programme = programme.needs(tree.feed[racks], np.maximum(0.0, feeds - tree.feed_limit_kw))
    programme = programme.needs(np.zeros_like(racks), np.array([max(0.0, drawn.sum() - tree.site_limit_kw)]))
    if found.short_kw.max() > 1e-6:
        raise SystemExit(f"{name} of {gpus} GPUs: the floors bind, the peer has no answer to compare with")
    return row(name, gpus, len(units.job), units.pieces, took, found.usd_per_h, programme)


def one_cap(gpus: int) -> Row:
    """Racks and feeds where every job has one cap: the worker's problem, whose peer has one variable a job's piece."""
    problem = Problem(gpus, gpus // GPUS_PER_JOB)
    curves = problem.curves
    units, tree = problem.layout().problem(curves)
    took = timed(lambda: solve(units, tree))
    found = solve(units, tree)
    sizes = np.bincount(curves.pieces.unit, minlength=len(curves.class_ids))
    of_unit = np.bincount(units.pieces.unit, minlength=len(units.job))
    within = np.arange(len(units.pieces.kw)) - (np.cumsum(of_unit) - of_unit)[units.pieces.unit]
    column = (np.cumsum(sizes) - sizes)[units.job[units.pieces.unit]] + within
    rack = tree.rack[units.pieces.unit]
    drawn = np.bincount(tree.rack, weights=units.full_kw, minlength=len(tree.feed))
    feeds = np.bincount(tree.feed, weights=drawn, minlength=len(tree.feed_limit_kw))
    programme = Programme.of(curves.pieces, curves.pieces.between(curves.least_w, curves.top_w))
    for group, need_kw in ((rack, drawn - tree.rack_limit_kw), (tree.feed[rack], feeds - tree.feed_limit_kw)):
        share = units.pieces.kw / curves.pieces.kw[column]
        programme = programme.needing(Rows(need_kw=np.maximum(0.0, need_kw), column=column, group=group, share=share))
    if found.short_kw.max() > 1e-6:
        raise SystemExit(f"one_cap of {gpus} GPUs: the floors bind, the peer has no answer to compare with")
    return row("one_cap", gpus, len(units.job), curves.pieces, took, found.usd_per_h, programme)


def row(
    name: str,
    gpus: int,
    units: int,
    pieces: Pieces,
    took: Timed,
    cost: float,
    programme: Programme,
    *,
    first_ms: float | None = None,
) -> Row:
    peer, left_out = None, None
    if len(pieces.kw) <= PEER_PIECES:
        answer = programme.solve()
        peer = Peer(
            name=f"HiGHS {highs_version()}", ms=answer.ms, cpu_ms=answer.cpu_ms, objective_gap=cost / answer.cost - 1
        )
    else:
        left_out = f"more than {PEER_PIECES} pieces"
    return Row(
        name=name,
        gpus=gpus,
        units=units,
        pieces=len(pieces.kw),
        **asdict(took),
        limit_ms=LIMITS_MS.get((name, gpus)),
        first_ms=first_ms,
        usd_per_h=cost,
        peer=peer,
        peer_left_out=left_out,
    )


def replanned(gpus: int) -> dict[str, object]:
    """What the worker does: parts of jobs from the layout, racks and feeds, every job alike."""
    problem = Problem(gpus, gpus // GPUS_PER_JOB)
    layout = problem.layout()
    took = timed(lambda: plan(layout, problem.curves))
    found = plan(layout, problem.curves)
    return {
        "name": "replan",
        "gpus": gpus,
        **asdict(took),
        "held_back": len(found.most_w),
        "limits_short": len(found.short_kw),
    }


def ticked(gpus: int) -> dict[str, object]:
    """A whole ControlLoop.step."""
    jobs = gpus // GPUS_PER_JOB
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    site = BusySite(gpus=gpus, jobs=jobs)
    ticks = run(site)
    return {
        "name": "tick",
        "gpus": gpus,
        "jobs": jobs,
        "ms": 1e3 * median(ticks.event_s),
        "worst_ms": 1e3 * max(ticks.event_s),
        "cpu_ms": 1e3 * median(ticks.event_cpu_s),
        "worst_cpu_ms": 1e3 * max(ticks.event_cpu_s),
        "first_ms": 1e3 * ticks.first_s,
        "idle_ms": 1e3 * median(ticks.idle_s),
        "capability_ms": 1e3 * ticks.capability_s,
        "limit_ms": TICK_LIMIT_MS.get(gpus),
        "held": ticks.held,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "memory_before_mb": before_kb / 1024,
    }


def rows(gpus: int) -> list[object]:
    problem = Problem(gpus, gpus // GPUS_PER_JOB)
    found: list[object] = [
        asdict(allocated("classes", gpus, CLASSES)),
        asdict(allocated("jobs", gpus, gpus // GPUS_PER_JOB)),
        asdict(single(gpus)),
        asdict(nested("racks", gpus, *problem.nested())),
        asdict(nested("racks_gpus", gpus, *Problem(gpus, gpus // GPUS_PER_JOB, busy=True).single_gpus())),
        asdict(one_cap(gpus)),
        replanned(gpus),
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().gpus
    # HiGHS greets on standard output, which is for JSON.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Ticks first: the memory of a process never shrinks.
    ticks = [ticked(gpus) for gpus in sizes if gpus in TICK_GPUS]
    json.dump(
        {
            "machine": {"python": platform.python_version(), "numpy": np.__version__, "cpu": platform.processor()},
            "simulated": True,
            "ticks": ticks,
            "rows": [r for gpus in sizes for r in rows(gpus)],
        },
        answer,
        indent=2,
    )
    answer.write("\n")
    answer.close()


if __name__ == "__main__":
    main()
