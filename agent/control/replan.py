"""Racks and feeds kept by a worker, every few seconds and at once when a limit changes; the tick uses its last word.

Limits that nest are met from the inside out (agent.control.hierarchy), so what racks and feeds impose does not
depend on the site's budget: the worker answers with the highest bound of each job, and the tick, once a second,
goes down from there to the budget. A worker that dies leaves its last word in force and is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, replace

import numpy as np

from agent.control.allocate import Scale, SiteCurves
from agent.control.hierarchy import solve
from agent.control.layout import Layout
from grid.clock import Clock

EVERY_S = 5.0
OVER_KW = 1e-6
UNBOUND_W = 1e-6
"""Within this of its top a job is not held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What racks and feeds impose."""

    most_w: Mapping[str, float]
    """Highest bound per GPU of the jobs they hold back, in the curve's watts."""
    short_kw: Mapping[str, float]
    """By rack or feed, where floors leave it above its limit."""

    def bounded(self, scales: Mapping[str, Scale]) -> dict[str, Scale]:
        """The scales the tick allocates with."""
        return {
            class_id: replace(scale, most_w=self.most_w[class_id]) if class_id in self.most_w else scale
            for class_id, scale in scales.items()
        }


def plan(layout: Layout, curves: SiteCurves) -> Plan:
    """The worker's work; runs in another thread or process."""
    units, tree = layout.problem(curves)
    found = solve(units, tree)
    most_w = np.full(len(curves.class_ids), np.inf)
    np.minimum.at(most_w, units.job, found.bound_w)
    names = (*layout.racks, *layout.feed_limit_kw)
    return Plan(
        most_w={
            class_id: bound_w
            for class_id, bound_w, top_w in zip(curves.class_ids, most_w.tolist(), curves.top_w.tolist(), strict=True)
            if bound_w < top_w - UNBOUND_W
        },
        short_kw={name: kw for name, kw in zip(names, found.short_kw.tolist(), strict=False) if kw > OVER_KW},
    )


class Replanner:
    """Asks the worker and keeps its last word. ``refresh`` once a tick; it never waits."""

    def __init__(self, *, executor: Executor, clock: Clock) -> None:
        self._executor = executor
        self._clock = clock
        self._future: Future[Plan] | None = None
        self._asked_s = -np.inf
        self._asked_of: Layout | None = None
        self.plan: Plan | None = None
        """None until the worker has answered once."""
        self.alarm = ""
        """Why the last word is older than it should be; empty when it is not."""

    def refresh(self, layout: Layout, curves: Callable[[], SiteCurves]) -> None:
        """Take in an answer that is there, and ask again when it is time or ``layout`` is another one."""
        if self._future is not None:
            if not self._future.done():
                return
            self._take(self._future)
            self._future = None
        now_s = self._clock.monotonic()
        if layout is self._asked_of and now_s - self._asked_s < EVERY_S:
            return
        self._asked_s, self._asked_of = now_s, layout
        try:
            self._future = self._executor.submit(plan, layout, curves())
        except BrokenExecutor as error:
            self._broken(error)

    def _take(self, future: Future[Plan]) -> None:
        try:
            self.plan = future.result()
        except BrokenExecutor as error:
            self._broken(error)
        else:
            self.alarm = ""

    def _broken(self, error: BrokenExecutor) -> None:
        self.alarm = f"racks and feeds are held to an old plan, their worker died: restart the agent ({error})"
