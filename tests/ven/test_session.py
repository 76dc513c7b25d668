"""The gateway against a real VTN in its own process, over mutual TLS with EC signatures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from grid.intervals import EPOCH
from tests.ven.conftest import (
    CLOCK,
    DecidingSink,
    Pki,
    RecordingObserver,
    SteadySource,
    VtnProcess,
    until,
    ven_settings,
)
from ven.config import VenSettings
from ven.service import VenGateway

CALL = {"ven_name": "ven-a", "share": 0.2, "lead_s": 1, "active_s": 4, "ramp_s": 1, "granularity_s": 1}
CONTEXT = "urn:programme:test"


class Bench:
    """A gateway with everything around it."""

    def __init__(self, settings: VenSettings, journal: Path) -> None:
        self.sink = DecidingSink()
        self.source = SteadySource({"site-1": 100.0, "site-2": 50.0})
        self.observer = RecordingObserver()
        self.gateway = VenGateway([settings], journal, self.sink, self.source, self.observer, CLOCK)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        task = asyncio.create_task(self.gateway.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_utility_event_from_registration_to_delivery(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    bench = Bench(ven_settings(pki.ven("ven-a"), vtn.url), tmp_path / "ven.sqlite")
    async with bench.running():
        await until(lambda: len(bench.observer.reports) >= 2)
        (registration,) = await vtn.get("/registrations")
        assert registration["ven_name"] == "ven-a"
        assert registration["resources"] == ["site-1", "site-2"]
        assert registration["reports_registered"]

        status, called = await vtn.post("/events", {**CALL, "market_context": CONTEXT})
        assert status == 201
        assert called["requested_kw"] == pytest.approx(0.2 * 150.0)
        await until(lambda: bool(bench.observer.opts))
        (event,) = bench.sink.accepted
        (signal,) = event.signals
        assert (signal.name, signal.type, signal.unit) == ("LOAD_DISPATCH", "delta", "kW")
        assert signal.intervals[0].value == pytest.approx(-30.0)
        assert (event.duration_s, event.market_context) == (4.0, CONTEXT)
        assert event.start == datetime.fromisoformat(called["dtstart"])
        assert (event.start - EPOCH) % timedelta(seconds=1) == timedelta()

        bench.source.from_then_on["site-1"] = (event.start + timedelta(seconds=1), 70.0)
        over = event.start + timedelta(seconds=4 + 1)
        await until(lambda: any(interval.end >= over for interval, _ in bench.observer.reports))
        answered = await vtn.get(f"/events/{called['event_id']}")
        assert [(opt["opt"], opt["repeats"]) for opt in answered["opts"]] == [("optIn", 0)]
        delivery = await vtn.get(f"/deliveries/{called['event_id']}")

    assert delivery["intervals_received"] == delivery["intervals_expected"] > 0
    assert datetime.fromisoformat(delivery["complete_until"]) == over
    assert delivery["baseline_kw"] == pytest.approx(150.0)
    assert delivery["delivered_kwh"] == pytest.approx(30.0 * 3 / 3600)
    assert delivery["by_resource"]["site-2"]["delivered_kwh"] == pytest.approx(0.0)
    first, *others = [interval for interval, _ in bench.observer.reports]
    assert [interval.start for interval in others] == [
        first.start + timedelta(seconds=k + 1) for k in range(len(others))
    ]
