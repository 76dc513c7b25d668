"""Both real ends of the uplink: the agent's client and spool against the aggregator's gateway and database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from agent.spool import Spool
from agent.uplink import Uplink
from aggregator.storage import budgets
from aggregator.storage.telemetry import meter_rows
from grid.clock import AnchoredClock
from grid.intervals import Interval
from grid.messages import METER_COLUMNS, METER_STREAM, AuditHead, BudgetAck, Capability, Live, SiteBudget
from tests.aggregator.conftest import Pki
from tests.aggregator.gateway.conftest import CLOCK, NOW, Bench, issue_budget
from tests.aggregator.site_client import capability


class Host:
    """An agent that journals nothing but its newest budget."""

    def __init__(self) -> None:
        self.taken: SiteBudget | None = None
        self.behind: timedelta | None = None

    def take_budget(self, budget: SiteBudget) -> BudgetAck:
        self.taken = budget
        return BudgetAck(site_id="a", revision=budget.revision, accepted=True, at=CLOCK.now())

    def budget_revision(self) -> int:
        return self.taken.revision if self.taken else 0

    def capability(self) -> Capability:
        return capability("a", CLOCK.now(), 100.0, (10.0, 0.1))

    def live(self) -> Live:
        return Live(site_id="a", at=CLOCK.now(), values={"site_kw": 99.0})

    def audit_head(self) -> AuditHead | None:
        return None

    def clock_set(self, behind: timedelta) -> None:
        self.behind = behind


class Site:
    """The agent's end, whose spool outlives every link."""

    def __init__(self, bench: Bench, pki: Pki, folder: Path) -> None:
        self.spool = Spool.open(folder / "spool.sqlite", "a")
        self.host = Host()
        self._bench, self._pki = bench, pki
        self._seconds = 0

    def measure(self, count: int) -> None:
        for _ in range(count):
            row = dict.fromkeys(METER_COLUMNS, None) | {"site_kw": float(self._seconds)}
            self.spool.append(METER_STREAM, NOW + timedelta(seconds=self._seconds), row)
            self._seconds += 1

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[Uplink]:
        uplink = Uplink(
            site_id="a",
            url=f"wss://127.0.0.1:{self._bench.gateway.port}/uplink",
            identity=self._pki.sites["a"],
            software="test",
            simulated=True,
            host=self.host,
            spool=self.spool,
            clock=CLOCK,
            grid_clock=AnchoredClock(CLOCK),
            jitter=lambda: 0.0,
        )
        task = asyncio.create_task(uplink.run())
        try:
            yield uplink
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def emptied(self) -> None:
        """Return once the aggregator has acknowledged every row."""
        async with CLOCK.timeout(10):
            while self.spool.waiting():
                await CLOCK.sleep(0.02)


async def _stored(bench: Bench) -> list[float | None]:
    async with bench.store.reading() as connection:
        rows = await meter_rows(connection, ["a"], Interval.lasting(NOW, 3600))
    return [row.site_kw for row in rows["a"]]


async def test_a_site_says_that_it_is_simulated_and_is_shown_as_such_also_after_it_left(
    bench: Bench, pki: Pki, tmp_path: Path
) -> None:
    site = Site(bench, pki, tmp_path)
    assert bench.board.snapshot()["sites"][0]["simulated"] is None
    site.measure(1)
    async with site.linked():
        await site.emptied()
        assert bench.board.snapshot()["sites"][0]["simulated"] is True
    async with CLOCK.timeout(10):
        while bench.board.snapshot()["sites"][0]["link"] == "up":
            await CLOCK.sleep(0.02)
    assert bench.board.snapshot()["sites"][0]["simulated"] is True
    site.spool.close()


async def test_rows_spooled_while_the_aggregator_was_away_arrive_once_and_a_budget_is_acknowledged(
    bench: Bench, pki: Pki, tmp_path: Path
) -> None:
    site = Site(bench, pki, tmp_path)
    site.measure(150)
    sent = await issue_budget(bench.store, 1)
    async with site.linked() as uplink:
        await site.emptied()
        site.measure(2)
        uplink.notify()
        await site.emptied()
        async with CLOCK.timeout(10):
            while not bench.board.snapshot()["sites"][0]["budget_acked"]:
                await CLOCK.sleep(0.02)
    assert site.host.taken == sent
    await bench.stop()
    site.measure(5)
    await bench.start()
    async with site.linked():
        await site.emptied()
    site.spool.close()
    assert await _stored(bench) == [float(s) for s in range(157)]
    async with bench.store.reading() as connection:
        assert await budgets.unacknowledged(connection, "a") is None
    assert [e.action for e in await bench.actions()] == ["budget.acknowledged"]
