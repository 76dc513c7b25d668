"""What is happening now, for people to watch: an in-memory view that every part of the aggregator writes into.

It answers for nothing that is settled or paid. Pure: no I/O, time only through the clock. What is stale or unknown
is shown as null, never as delivered and never as zero; the event's phase is a function of its times and the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aggregator.portfolio.offer import OFFER_VALID_S
from grid.clock import Clock
from grid.events import OptType
from grid.intervals import floor_to
from grid.messages import Capability, Live, SiteBudget

STALE_AFTER_S = 5.0
"""A live sample older than this says nothing about now."""
HISTORY_S = 300
TICK_S = 1.0
"""Subscribers hear of changes at most this often."""
QUIET_TICK_S = 5.0
"""They hear of it this often even when nothing came in: going stale is a change too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One event of an enrolment, with our answer."""

    enrolment_id: str
    event_id: str
    opt: OptType
    reason: str
    start: datetime
    hold_start: datetime
    hold_end: datetime
    release_end: datetime
    requested_kw: float | None = None
    """kW of reduction the utility asks for; None when the event cannot be read as that."""
    committed_kw: float | None = None
    """kW owed over the hold; None when opted out."""
    baseline_kw: float | None = None
    """What the sites that owe it would draw without it, together; None when none does."""
    baseline_settled: bool = False
    """At every site it is the one fixed at the start; until then it is a forecast."""
    cancelled: bool = False

    def phase(self, now: datetime) -> str:
        """none (opted out), notice, ramp, hold, release or done."""
        if self.opt is OptType.OPT_OUT:
            return "none"
        if now >= self.release_end:
            return "done"
        if self.cancelled:
            return "release"
        for name, until in (("notice", self.start), ("ramp", self.hold_start), ("hold", self.hold_end)):
            if now < until:
                return name
        return "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenView:
    """One VEN's standing with its VTN."""

    enrolment_id: str
    ven_name: str
    registered: bool
    ven_id: str | None = None
    last_poll: datetime | None = None
    why: str | None = None
    """What is wrong, in one line; None when nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """The newest budget revision of a site, with what it was made from."""

    budget: SiteBudget
    baseline_kw: float
    owed_kw: float
    acked: bool = False


@dataclass(slots=True, kw_only=True)
class _Site:
    """What is known of one site."""

    site_id: str
    name: str
    connected: bool = False
    simulated: bool | None = None
    """By its own word at the last hello; None while it has given none."""
    last_seen: datetime | None = None
    live: Live | None = None
    live_at: datetime | None = None
    capability: Capability | None = None
    capability_at: datetime | None = None
    budget: BudgetView | None = None
    history: dict[datetime, tuple[float | None, float | None]] = field(default_factory=dict)
    """By whole second: metered kW and the limit in force."""

    def limit_kw(self, now: datetime) -> float | None:
        """The ceiling in force at ``now``; None for none."""
        interval = self.budget.budget.at(now) if self.budget else None
        return None if interval is None else interval.limit_at(now)

    def value(self, name: str, now: datetime) -> float | None:
        """A live value, None when stale."""
        return None if self.live is None or self.stale(now) else self.live.values.get(name)

    def stale(self, now: datetime) -> bool:
        return self.live_at is None or now - self.live_at > timedelta(seconds=STALE_AFTER_S)

    def fresh_capability(self, now: datetime) -> Capability | None:
        at = self.capability_at
        return self.capability if at and now - at <= timedelta(seconds=OFFER_VALID_S) else None

    def baseline_kw(self, now: datetime) -> float | None:
        """Of the budget while one is in force, else the site's own forecast."""
        if self.budget and self.limit_kw(now) is not None:
            return self.budget.baseline_kw
        capability = self.fresh_capability(now)
        return capability.baseline_kw if capability else None

    def link(self) -> str:
        if self.connected:
            return "up"
        return "never" if self.last_seen is None else "down"

    def view(self, now: datetime) -> dict[str, Any]:
        """The site's JSON."""
        capability = self.fresh_capability(now)
        return {
            "site_id": self.site_id,
            "name": self.name,
            "link": self.link(),
            "simulated": self.simulated,
            "last_seen": _iso(self.last_seen),
            "stale": self.stale(now),
            **{name: self.value(name, now) for name in ("site_kw", "battery_kw", "gpu_kw", "soc_pct")},
            "limit_kw": self.limit_kw(now),
            "baseline_kw": self.baseline_kw(now),
            "deliverable_kw": capability.deliverable_kw if capability else None,
            "owed_kw": self.budget.owed_kw if self.budget and self.limit_kw(now) is not None else None,
            "budget_revision": self.budget.budget.revision if self.budget else None,
            "budget_acked": self.budget.acked if self.budget else None,
        }


class NowBoard:
    """The live view: the aggregator's parts call its methods, the console ``snapshot`` and ``subscribe``."""

    def __init__(self, clock: Clock, sites: Mapping[str, str]) -> None:
        """``sites``: name by site id, in the order they are shown."""
        self._clock = clock
        self._sites = {site_id: _Site(site_id=site_id, name=name) for site_id, name in sites.items()}
        self._vens: dict[str, VenView] = {}
        self._events: dict[tuple[str, str], EventView] = {}
        self._settlements: dict[tuple[int, int], Mapping[str, Any]] = {}
        self._listeners: set[asyncio.Event] = set()

    def link(self, site_id: str, *, connected: bool, simulated: bool | None = None) -> None:
        """The site's uplink opened, the site saying whether it is simulated, or closed."""
        site = self._sites[site_id]
        site.connected = connected
        if connected:
            site.simulated = simulated
        site.last_seen = self._clock.now()
        self._changed()

    def live(self, sample: Live) -> None:
        """A site's latest values (grid.messages.METER_COLUMNS)."""
        site, now = self._sites[sample.site_id], self._clock.now()
        site.live, site.live_at, site.last_seen = sample, now, now
        second = floor_to(min(sample.at, now), 1.0)
        site.history[second] = (sample.values.get("site_kw"), site.limit_kw(second))
        # By key: what a site's clock says may be in any order, and as old as it likes.
        for old in [t for t in site.history if t < _horizon(now)]:
            del site.history[old]
        self._changed()

    def capability(self, capability: Capability) -> None:
        """What a site says it could give."""
        site, now = self._sites[capability.site_id], self._clock.now()
        site.capability, site.capability_at, site.last_seen = capability, now, now
        self._changed()

    def budget(self, view: BudgetView) -> None:
        """A new revision was issued to a site, or the newest one was acknowledged."""
        self._sites[view.budget.site_id].budget = view
        self._changed()

    def event(self, view: EventView) -> None:
        """An event was received, modified, cancelled or answered."""
        self._events[(view.enrolment_id, view.event_id)] = view
        self._changed()

    def ven(self, view: VenView) -> None:
        """A VEN's standing changed."""
        if self._vens.get(view.enrolment_id) != view:
            self._vens[view.enrolment_id] = view
            self._changed()

    def settlement(self, statement: Mapping[str, Any]) -> None:
        """A statement was made: JSON values with commitment_id and version."""
        key = (statement["commitment_id"], statement["version"])
        self._settlements[key] = dict(statement)
        self._changed()

    def snapshot(self) -> dict[str, Any]:
        """Everything, as JSON values; kW, UTC, null for unknown."""
        now = self._clock.now()
        sites = [site.view(now) for site in self._sites.values()]
        return {
            "at": now.isoformat(),
            "portfolio": _portfolio(sites),
            "sites": sites,
            "event": self._event(now),
            "vens": [{**asdict(v), "last_poll": _iso(v.last_poll)} for v in self._vens.values()],
            "history": self._history(now),
            "settlements": list(self._settlements.values()),
        }

    async def subscribe(self) -> AsyncIterator[None]:
        """Yields at once, then after changes: at most every second, at least every five."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            while True:
                changed.clear()
                yield
                await self._clock.sleep(TICK_S)
                try:
                    async with self._clock.timeout(QUIET_TICK_S - TICK_S):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._listeners.discard(changed)

    def _event(self, now: datetime) -> dict[str, Any] | None:
        """The event in progress, else the next one, else the last."""
        if not self._events:
            return None
        view = min(self._events.values(), key=lambda e: _shown_first(e, now))
        times = ("start", "hold_start", "hold_end", "release_end")
        return {
            **asdict(view),
            **{name: getattr(view, name).isoformat() for name in times},
            "opt": view.opt.value,
            "phase": view.phase(now),
        }

    def _history(self, now: datetime) -> list[dict[str, Any]]:
        """One row a second from the oldest sample to the newest; a second without a sample is null."""
        horizon = _horizon(now)
        seconds = [second for site in self._sites.values() for second in site.history if second >= horizon]
        if not seconds:
            return []
        first, last = min(seconds), max(seconds)
        rows = []
        for k in range(int((last - first).total_seconds()) + 1):
            t = first + timedelta(seconds=k)
            samples = {site_id: site.history.get(t, (None, None)) for site_id, site in self._sites.items()}
            rows.append(
                {
                    "t": t.isoformat(),
                    "sites": {i: {"site_kw": kw, "limit_kw": limit} for i, (kw, limit) in samples.items()},
                }
            )
        return rows

    def _changed(self) -> None:
        for listener in self._listeners:
            listener.set()


def _portfolio(sites: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Sums over the sites; a sum with an unknown part is unknown.

    ``target_kw`` is what the portfolio should draw: each site's limit, or its metered power where it has none; null
    while no site has a limit. ``limit_kw`` is the sum of the limits once every site has one.
    """
    rows = list(sites)

    def total(values: Iterable[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return sum(known) if rows and len(known) == len(rows) else None

    limited = any(row["limit_kw"] is not None for row in rows)
    targets = (row["site_kw"] if row["limit_kw"] is None else row["limit_kw"] for row in rows)
    return {
        **{name: total(row[name] for row in rows) for name in ("site_kw", "limit_kw", "baseline_kw", "deliverable_kw")},
        "target_kw": total(targets) if limited else None,
    }


def _shown_first(view: EventView, now: datetime) -> tuple[int, float]:
    rank = {"ramp": 0, "hold": 0, "release": 0, "notice": 1}.get(view.phase(now), 2)
    start_s = view.start.timestamp()
    return (rank, start_s if rank == 1 else -start_s)


def _horizon(now: datetime) -> datetime:
    """What is older is no history of ours: a snapshot stays short whatever the sites' clocks say."""
    return now - timedelta(seconds=HISTORY_S)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
