"""What a gateway that runs alone counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from tests.ven.world import MemoryTransport, world
from ven.metrics import MetricsObserver
from ven.service import VenGateway


async def test_a_ven_through_an_event_in_numbers(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    async with world(tmp_path) as one:
        await one.stop()
        (tmp_path / "ven.sqlite").unlink()

        async def connect(_: object) -> MemoryTransport:
            return one.transport

        observer = MetricsObserver(registry)
        gateway = VenGateway(
            [one.settings], one.journal_path, one.sink, one.meters, observer, one.clock, connect=connect
        )

        def count(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(f"ven_{name}", {"enrolment_id": "ven-a", **labels})

        running = asyncio.create_task(gateway.run())
        try:
            await one.clock.advance(5)
            one.call()
            await one.until(lambda: count("opts_sent_total", opt="optIn") == 1.0)
            assert (count("registrations_total"), count("events_active")) == (1.0, None)
            await one.until(lambda: count("events_active") == 1.0, 120)
            with one.operator():
                one.vtn.events.vanish("event-1")
            await one.until(lambda: count("alarms_total") == 1.0)
            await one.until(lambda: count("events_active") == 0.0)
            one.transport.down = True
            await one.until(lambda: count("failures_total") == 1.0)
            assert (count("polls_total") or 0) >= 6
            assert (count("reports_acknowledged_total") or 0) >= 5
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
