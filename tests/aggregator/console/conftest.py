"""A real board behind a real server on loopback, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from aggregator.board import BudgetView, EventView, NowBoard
from aggregator.console.routes import add_console
from grid.clock import VirtualClock
from grid.events import OptType
from grid.messages import BudgetInterval, Live, SiteBudget
from grid.process.listen import listen

START = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
SITES = {"north": "North <script>alert(1)</script> & Söhne", "south": 'South "7"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What a test needs of a served console."""

    board: NowBoard
    clock: VirtualClock
    runner: web.AppRunner
    url: str

    def sample(self, site_id: str, site_kw: float) -> None:
        """The site's meter reads ``site_kw`` now."""
        values = {"site_kw": site_kw, "gpu_kw": 0.7 * site_kw, "battery_kw": 2.0, "soc_pct": 80.0, "limit_kw": None}
        self.board.live(Live(site_id=site_id, at=self.clock.now(), values=values))

    def hold_event(self) -> None:
        """An event is in its hold: each site owes 20 of its 100 kW."""
        now = self.clock.now()
        end = now + timedelta(seconds=90)
        for site_id in SITES:
            interval = BudgetInterval(start=now - timedelta(seconds=20), end=end, limit_kw=80.0)
            budget = SiteBudget(site_id=site_id, revision=3, issued_at=now, intervals=(interval,), not_after=end)
            self.board.budget(BudgetView(budget=budget, baseline_kw=100.0, owed_kw=20.0, acked=True))
        self.board.event(
            EventView(
                enrolment_id="portfolio",
                event_id="evt-1",
                opt=OptType.OPT_IN,
                reason="",
                start=now - timedelta(seconds=20),
                hold_start=now,
                hold_end=end,
                release_end=end + timedelta(seconds=20),
                requested_kw=40.0,
                committed_kw=40.0,
                baseline_kw=200.0,
                baseline_settled=True,
            )
        )


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    clock = VirtualClock(START)
    board = NowBoard(clock, SITES)
    app = web.Application()
    add_console(app, board)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=30.0)
    port = await listen(runner, "127.0.0.1", 0)
    yield Console(board=board, clock=clock, runner=runner, url=f"http://127.0.0.1:{port}")
    await runner.cleanup()


@pytest.fixture
async def http(console: Console) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(console.url) as session:
        yield session
