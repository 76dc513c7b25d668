"""The course of one demo event: what is waited for, in what order, and what is read where.

It starts nothing itself and believes nobody's word about results: the utility's VTN says what was registered,
answered and received, the plants say what the meters and the GPUs did, the aggregator only what it owes and pays.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from aggregator.demo.children import Children
from aggregator.demo.errors import DemoError
from aggregator.demo.scene import ENROLMENT, PORTFOLIO_VEN, RELEASE_S, REPORT_LATENESS_S, Scene, SiteScene
from grid.clock import Clock, sleep_until
from grid.intervals import Interval

SHARE = 0.20
"""Of the portfolio's draw, as the utility sees it."""
LEAD_S = 15.0
RAMP_S = 20.0
HOLD_S = 90.0
GRID_S = 10.0
HISTORY_INTERVALS = 4
"""Report intervals of every resource the utility wants before it sizes an event."""
START_WITHIN_S = 120.0
REPORTS_WITHIN_S = 45.0
LATE_REPORTS_WITHIN_S = REPORT_LATENESS_S + GRID_S
"""How long after the release reports may still come that miss a dead site's intervals."""
RESTORED_WITHIN_S = 30.0
PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL a site's agent during the event."""

    site_id: str
    after_s: float
    """Seconds after dtstart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What happened and when, for the summary."""

    event_id: str
    requested_kw: float
    start: datetime
    registrations: int
    killed: Kill | None

    @property
    def active(self) -> Interval:
        return Interval.lasting(self.start, RAMP_S + HOLD_S)

    @property
    def hold(self) -> Interval:
        return Interval.lasting(self.start + timedelta(seconds=RAMP_S), HOLD_S)

    @property
    def release_end(self) -> datetime:
        return self.active.end + timedelta(seconds=RELEASE_S)


class Director:
    """Runs one event over a scene whose processes all serve."""

    def __init__(
        self, scene: Scene, children: Children, http: aiohttp.ClientSession, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._scene = scene
        self._children = children
        self._http = http
        self._clock = clock
        self._say = say

    async def run(self, kill: Kill | None) -> Course:
        """Wait for registrations and history, have the utility call the event, see it through."""
        registrations = await self._registered()
        self._say(f"{registrations} VENs are registered with the utility; it collects readings to size an event")
        await self._until("the utility to receive enough readings", START_WITHIN_S, self._has_history)
        event = await self._post(
            f"{self._scene.vtn_url}/events",
            {
                "ven_name": PORTFOLIO_VEN,
                "share": SHARE,
                "lead_s": LEAD_S,
                "active_s": RAMP_S + HOLD_S,
                "ramp_s": RAMP_S,
                "granularity_s": GRID_S,
                "market_context": self._scene.market_context,
            },
        )
        course = Course(
            event_id=event["event_id"],
            requested_kw=float(event["requested_kw"]),
            start=datetime.fromisoformat(event["dtstart"]),
            registrations=registrations,
            killed=kill,
        )
        self._say(
            f"the utility asks for {course.requested_kw:.1f} kW less from {course.start:%H:%M:%S} UTC "
            f"(event {course.event_id})"
        )
        await self._through(course)
        await self._afterwards(course)
        return course

    async def opt(self, course: Course) -> str:
        """The newest answer the utility holds."""
        event = await self.get(f"{self._scene.vtn_url}/events/{course.event_id}")
        return str(event["opts"][-1]["opt"]) if event["opts"] else "none"

    async def get(self, url: str) -> Any:
        """A JSON document of one of the processes. Raises DemoError."""
        return json.loads(await self.text(url))

    async def text(self, url: str) -> str:
        """A text document of one of the processes. Raises DemoError."""
        try:
            async with self._http.get(url) as answer:
                if answer.status != 200:
                    raise DemoError(f"GET {url} answered {answer.status}: {await answer.text()}")
                return await answer.text()
        except aiohttp.ClientError as error:
            raise DemoError(f"GET {url} failed: {error}") from error

    async def _post(self, url: str, body: dict[str, Any]) -> Any:
        try:
            async with self._http.post(url, json=body) as answer:
                if answer.status not in (200, 201):
                    raise DemoError(f"POST {url} answered {answer.status}: {await answer.text()}")
                return await answer.json()
        except aiohttp.ClientError as error:
            raise DemoError(f"POST {url} failed: {error}") from error

    async def _registered(self) -> int:
        expected = len(self._scene.sites) + 1

        async def all_there() -> bool:
            rows = await self.get(f"{self._scene.vtn_url}/registrations")
            return len(rows) >= expected and all(row["reports_registered"] for row in rows)

        await self._until(f"{expected} VENs to register", START_WITHIN_S, all_there)
        return len(await self.get(f"{self._scene.vtn_url}/registrations"))

    async def _has_history(self) -> bool:
        reports = await self.get(f"{self._scene.vtn_url}/reports")
        counts = [rid["intervals"] for rid in reports.get(PORTFOLIO_VEN, {}).values()]
        return len(counts) == len(self._scene.sites) and min(counts) >= HISTORY_INTERVALS

    async def _through(self, course: Course) -> None:
        """From the notice to the end of the release, with a line now and then and the kill in its second."""
        kill_at = course.start + timedelta(seconds=course.killed.after_s) if course.killed else None
        while (now := self._clock.now()) < course.release_end:
            self._children.check_all()
            if course.killed and kill_at and now >= kill_at:
                await self._children.kill(self._scene.site(course.killed.site_id).agent.name)
                self._say(f"killed the agent of {course.killed.site_id} with SIGKILL")
                kill_at = None
            await self._progress(course)
            wake = min(filter(None, (now + timedelta(seconds=PROGRESS_EVERY_S), kill_at, course.release_end)))
            await sleep_until(self._clock, wake)

    async def _progress(self, course: Course) -> None:
        now = await self.get(f"{self._scene.console_url}/api/v1/now")
        phase = (now["event"] or {}).get("phase", "none")
        portfolio = now["portfolio"]
        since_s = (self._clock.now() - course.start).total_seconds()
        metered, limit = _kw(portfolio["site_kw"]), _kw(portfolio["limit_kw"])
        self._say(f"{since_s:+6.0f} s {phase:8} metered {metered}, limit {limit}")

    async def _afterwards(self, course: Course) -> None:
        if course.killed:
            site = self._scene.site(course.killed.site_id)
            await self._children.start(site.agent)
            self._say(f"restarted the agent of {site.site_id}; its journal says what to restore")
        for site in self._scene.sites:
            await self._until(f"the caps of {site.site_id} to be restored", RESTORED_WITHIN_S, self._restored(site))
        reports_within_s = LATE_REPORTS_WITHIN_S if course.killed else REPORTS_WITHIN_S
        await self._until("the utility's last intervals", reports_within_s, self._reported(course), may_miss=True)
        await self._until("the settlement", REPORTS_WITHIN_S, self._settled(course))

    def _restored(self, site: SiteScene) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return await self.caps_restored(site)

        return check

    async def caps_restored(self, site: SiteScene) -> bool:
        """Whether every GPU's limit is its default again, by the library's state; a lost GPU has none."""
        gpus = await self.get(f"{site.plant_url}/caps")
        return all(gpu["cap_w"] == gpu["default_w"] for gpu in gpus if not gpu["lost"])

    def _reported(self, course: Course) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            delivery = await self.get(f"{self._scene.vtn_url}/deliveries/{course.event_id}")
            received, expected = delivery["intervals_received"], delivery["intervals_expected"]
            return self._clock.now() > course.release_end and bool(received == expected)

        return check

    def _settled(self, course: Course) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return await self.settlement(course) is not None

        return check

    async def settlement(self, course: Course) -> dict[str, Any] | None:
        """The aggregator's statement for the event, or None before there is one."""
        rows = await self.get(f"{self._scene.console_url}/api/v1/settlements")
        return next((r for r in rows if r["event_id"] == course.event_id and r["enrolment_id"] == ENROLMENT), None)

    async def _until(
        self, what: str, within_s: float, check: Callable[[], Awaitable[bool]], *, may_miss: bool = False
    ) -> None:
        """Wait for ``check``, twice a second. Raises DemoError after ``within_s`` unless it may be missed."""
        deadline = self._clock.monotonic() + within_s
        while not await check():
            self._children.check_all()
            if self._clock.monotonic() >= deadline:
                if may_miss:
                    return
                raise DemoError(f"waited {within_s:.0f} s in vain for {what}")
            await self._clock.sleep(0.5)


def _kw(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} kW"
