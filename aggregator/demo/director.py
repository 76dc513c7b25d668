"""The course of one demo event: what is waited for, in what order, and what is read where.

It believes nobody's word about results: the utility's VTN says what was registered, answered and received, the plants
say what the meters and the GPUs did, the aggregator only what it owes and pays. What does not come before the event
stops the demo; what does not come after it is told, and shows in the summary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from aggregator.demo.children import Children
from aggregator.demo.errors import DemoError
from aggregator.demo.http import Http
from aggregator.demo.plan import LEAD_S, SHARE, Kill, Outage, Timeline, event_plan
from aggregator.demo.scene import ENROLMENT, PORTFOLIO_VEN, Scene, SiteScene
from grid.clock import Clock, sleep_until

HISTORY_INTERVALS = 4
"""Report intervals of every resource the utility wants before it sizes an event."""
START_WITHIN_S = 120.0
AILING_FOR_S = 20.0
"""A VEN that cannot register for so long will not without a person."""
REPORTS_WITHIN_S = 45.0
RESTORED_WITHIN_S = 30.0
PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What happened and when, for the summary."""

    event_id: str
    requested_kw: float
    timeline: Timeline
    registrations: int
    outage: Outage | None

    def expected_missing(self, site_id: str) -> tuple[datetime, ...]:
        """Starts of the intervals that a site cannot have delivered, those in doubt included."""
        if self.outage is None or self.outage.site_id != site_id:
            return ()
        return (*self.outage.doubtful(self.timeline), *self.outage.dead(self.timeline))


class Director:
    """Runs one event over a scene whose processes all serve."""

    def __init__(self, scene: Scene, children: Children, http: Http, clock: Clock, say: Callable[[str], None]) -> None:
        self._scene = scene
        self._children = children
        self._http = http
        self._clock = clock
        self._say = say

    async def run(self, kill: Kill | None) -> Course:
        """Wait for registrations and history, have the utility call the event, see it through. Raises DemoError."""
        registrations = await self.registered()
        self._say(f"{registrations} VENs are registered with the utility; it collects readings to size an event")
        if not await self._holds(START_WITHIN_S, self._has_history):
            raise DemoError(f"waited {START_WITHIN_S:.0f} s in vain for the utility to receive enough readings")
        event = await self._call_event()
        timeline = Timeline(start=datetime.fromisoformat(event["dtstart"]), plan=event_plan())
        self._say(
            f"the utility asks for {event['requested_kw']:.1f} kW less from {timeline.start:%H:%M:%S} UTC "
            f"(event {event['event_id']})"
        )
        killed_at = await self._through(timeline, kill)
        course = Course(
            event_id=event["event_id"],
            requested_kw=float(event["requested_kw"]),
            timeline=timeline,
            registrations=registrations,
            outage=await self._restart(kill, killed_at) if kill else None,
        )
        await self._afterwards(course)
        return course

    async def registered(self) -> int:
        """Wait until every VEN is; returns how many. Raises DemoError with what a VEN that cannot says about it."""
        expected = len(self._scene.sites) + 1
        since_s: dict[str, float] = {}

        async def all_there() -> bool:
            rows = await self._http.get(f"{self._scene.vtn_url}/registrations")
            if len(rows) >= expected and all(row["reports_registered"] for row in rows):
                return True
            ailing, now_s = await self._ailing(), self._clock.monotonic()
            for name in [name for name in since_s if name not in ailing]:
                del since_s[name]
            for name, why in ailing.items():
                if now_s - since_s.setdefault(name, now_s) >= AILING_FOR_S:
                    raise DemoError(f"{name} cannot register: {why}")
            return False

        if not await self._holds(START_WITHIN_S, all_there):
            why = "".join(f"; {name}: {why}" for name, why in (await self._ailing()).items())
            raise DemoError(f"waited {START_WITHIN_S:.0f} s in vain for {expected} VENs to register{why}")
        return len(await self._http.get(f"{self._scene.vtn_url}/registrations"))

    async def _ailing(self) -> dict[str, str]:
        """What keeps VENs from registering, by their names."""
        now = await self._http.get(f"{self._scene.console_url}/api/v1/now")
        return {ven["ven_name"]: ven["why"] for ven in now["vens"] if ven["why"] and not ven["registered"]}

    async def _has_history(self) -> bool:
        reports = await self._http.get(f"{self._scene.vtn_url}/reports")
        counts = [rid["intervals"] for rid in reports.get(PORTFOLIO_VEN, {}).values()]
        return len(counts) == len(self._scene.sites) and min(counts) >= HISTORY_INTERVALS

    async def _call_event(self) -> Any:
        plan = event_plan()
        return await self._http.post(
            f"{self._scene.vtn_url}/events",
            {
                "ven_name": PORTFOLIO_VEN,
                "share": SHARE,
                "lead_s": LEAD_S,
                "active_s": plan.active_s,
                "ramp_s": plan.ramp_s,
                "granularity_s": plan.interval_s,
                "market_context": self._scene.market_context,
            },
        )

    async def _through(self, timeline: Timeline, kill: Kill | None) -> datetime | None:
        """From the notice to the end of the release, with a line now and then; returns when the kill was done."""
        kill_at = timeline.start + timedelta(seconds=kill.after_s) if kill else None
        killed_at: datetime | None = None
        while (now := self._clock.now()) < timeline.release_end:
            self._children.check_all()
            if kill and kill_at and now >= kill_at:
                await self._children.kill(self._scene.site(kill.site_id).agent.name)
                kill_at, killed_at = None, self._clock.now()
                self._say(f"killed the agent of {kill.site_id} with SIGKILL")
            await self._progress(timeline)
            wake = min(filter(None, (now + timedelta(seconds=PROGRESS_EVERY_S), kill_at, timeline.release_end)))
            await sleep_until(self._clock, wake)
        return killed_at

    async def _progress(self, timeline: Timeline) -> None:
        now = await self._http.get(f"{self._scene.console_url}/api/v1/now")
        phase = (now["event"] or {}).get("phase", "none")
        portfolio = now["portfolio"]
        since_s = (self._clock.now() - timeline.start).total_seconds()
        metered, limit = _kw(portfolio["site_kw"]), _kw(portfolio["limit_kw"])
        self._say(f"{since_s:+6.0f} s {phase:8} metered {metered}, limit {limit}")

    async def _restart(self, kill: Kill, killed_at: datetime | None) -> Outage:
        if killed_at is None:
            raise DemoError(f"the agent of {kill.site_id} was not killed before the event was over: name fewer seconds")
        outage = Outage(site_id=kill.site_id, killed_at=killed_at, restarted_at=self._clock.now())
        await self._children.start(self._scene.site(kill.site_id).agent)
        self._say(f"restarted the agent of {kill.site_id}; its journal says what to restore")
        return outage

    async def _afterwards(self, course: Course) -> None:
        await self._wait("the utility's last intervals", REPORTS_WITHIN_S, partial(self._reported, course))
        await self._wait("the settlement", REPORTS_WITHIN_S, partial(self._settled, course))
        await sleep_until(self._clock, course.timeline.free_from)
        for site in self._scene.sites:
            what = f"the caps of {site.site_id} to be restored"
            await self._wait(what, RESTORED_WITHIN_S, partial(self.restored, site))

    async def restored(self, site: SiteScene) -> bool:
        """Whether every GPU's limit is its default again, by the library's state; a lost GPU has none."""
        gpus = await self._http.get(f"{site.plant_url}/caps")
        return all(gpu["cap_w"] == gpu["default_w"] for gpu in gpus if not gpu["lost"])

    async def _reported(self, course: Course) -> bool:
        """Whether everything that can come has come."""
        delivery = await self._http.get(f"{self._scene.vtn_url}/deliveries/{course.event_id}")
        return all(
            set(map(datetime.fromisoformat, part["missing"])) <= set(course.expected_missing(site_id))
            for site_id, part in delivery["by_resource"].items()
        )

    async def _settled(self, course: Course) -> bool:
        return await self.settlement(course) is not None

    async def settlement(self, course: Course) -> dict[str, Any] | None:
        """The aggregator's statement for the event, or None before there is one."""
        rows = await self._http.get(f"{self._scene.console_url}/api/v1/settlements")
        return next((r for r in rows if r["event_id"] == course.event_id and r["enrolment_id"] == ENROLMENT), None)

    async def _wait(self, what: str, within_s: float, check: Callable[[], Awaitable[bool]]) -> None:
        """For what the summary judges: go on without it when it does not come."""
        if not await self._holds(within_s, check):
            self._say(f"waited {within_s:.0f} s in vain for {what}")

    async def _holds(self, within_s: float, check: Callable[[], Awaitable[bool]]) -> bool:
        """Look twice a second; returns whether ``check`` came true in time."""
        deadline_s = self._clock.monotonic() + within_s
        while not await check():
            self._children.check_all()
            if self._clock.monotonic() >= deadline_s:
                return False
            await self._clock.sleep(0.5)
        return True


def _kw(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} kW"
