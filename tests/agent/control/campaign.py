"""One utility event in closed loop: the same loop code, the small plant, no clock but its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from agent.control.loop import ControlLoop
from agent.control.readings import Actions
from agent.control.tuning import Tuning
from grid.messages import BudgetInterval, SiteBudget
from tests.agent.control.plant import Plant

START = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)
BEFORE_S, RAMP_S, HOLD_S, RELEASE_S, AFTER_S = 100, 20, 90, 20, 40
DEAD_S = 3
"""How long a killed agent is gone; the battery's dead-man waits longer."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one event, by the plant's log. Shares are of the baseline."""

    delivered: float
    """Reduction over the hold, as a share of what was asked."""
    rmse_5s: float
    caps_share: float
    settled_s: float
    """From dtstart to the first 5-s mean from which all later ones of the hold stay within 2% of the baseline."""
    over: np.ndarray
    """How far the site is above the limit of the hold, each second of the plant's log."""
    share: float
    baseline_kw: float
    actions: tuple[Actions, ...]
    plant: Plant


def budget_for(baseline_kw: float, share: float, hold_s: int = HOLD_S) -> SiteBudget:
    dtstart = START + timedelta(seconds=BEFORE_S)
    hold = dtstart + timedelta(seconds=RAMP_S)
    end = hold + timedelta(seconds=hold_s)
    limit_kw = baseline_kw * (1 - share)
    return SiteBudget(
        site_id="site-1",
        revision=1,
        issued_at=dtstart,
        intervals=(
            BudgetInterval(start=dtstart, end=hold, limit_kw=limit_kw, ramp_from_kw=baseline_kw),
            BudgetInterval(start=hold, end=end, limit_kw=limit_kw),
        ),
        not_after=end,
        release_ramp_s=RELEASE_S,
    )


def run_event(
    plant: Plant, *, share: float | None = 0.2, tuning: Tuning | None = None, killed_s: int | None = None
) -> Outcome:
    """Meter before, ramp, hold, release and a little after; ``share`` None asks for all the site says it can give.

    With ``killed_s`` the agent dies in that second, and another one that knows only budget and limits starts.
    """

    def started() -> ControlLoop:
        return ControlLoop(site_id="site-1", jobs=plant.jobs, tuning=tuning or Tuning())

    loop = started()
    budget: SiteBudget | None = None
    baseline_kw = 0.0
    actions: list[Actions] = []
    for second in range(BEFORE_S + RAMP_S + HOLD_S + RELEASE_S + AFTER_S):
        readings = plant.run_to_tick()
        if second == BEFORE_S:
            baseline_kw = float(np.mean([row[0] for row in plant.log[BEFORE_S - 60 : BEFORE_S]]))
            if share is None:
                offered = loop.capability(plant.now)
                assert offered is not None
                share = offered.deliverable_kw / baseline_kw
            budget = budget_for(baseline_kw, share)
        if killed_s is not None and killed_s <= second <= killed_s + DEAD_S:
            if second < killed_s + DEAD_S:
                continue
            loop = started()
            loop.resume(actions[-1].caps_w or {}, plant.now)
        actions.append(loop.step(readings, budget, plant.now, link_lost=False))
        plant.act(actions[-1].caps_w, actions[-1].battery_kw)
    assert share is not None
    return _outcome(plant, actions, baseline_kw, share)


def _outcome(plant: Plant, actions: list[Actions], baseline_kw: float, share: float) -> Outcome:
    hold_from = BEFORE_S + RAMP_S
    hold = np.array(plant.log[hold_from : hold_from + HOLD_S])
    limit_kw = baseline_kw * (1 - share)
    event = np.array(plant.log[BEFORE_S : hold_from + HOLD_S])[:, 0].reshape(-1, 5).mean(axis=1)
    off = np.abs(event - limit_kw) > 0.02 * baseline_kw
    errors = (hold[:, 0].reshape(-1, 5).mean(axis=1) - limit_kw) / baseline_kw
    return Outcome(
        delivered=float((baseline_kw - hold[:, 0].mean()) / (baseline_kw * share)),
        rmse_5s=float(np.sqrt((errors**2).mean())),
        caps_share=float(hold[:, 2].mean() / (hold[:, 2].mean() + hold[:, 1].mean())),
        settled_s=5.0 * float(np.flatnonzero(off).max(initial=-1) + 1),
        over=np.array(plant.log)[:, 0] / baseline_kw - (1 - share),
        share=share,
        baseline_kw=baseline_kw,
        actions=tuple(actions),
        plant=plant,
    )
