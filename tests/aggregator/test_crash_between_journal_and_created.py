"""The aggregator is killed between its journal and oadrCreatedEvent: the event is answered once and run once."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.aggregator.world import (
    BASE_KW,
    CLOCK,
    ENROLMENT,
    SITES,
    AggregatorProcess,
    configure,
    delivered,
    living_sites,
    make_world,
    reported,
    settled,
    utility,
)

DYING = Path(__file__).with_name("dies_before_created_event.py")
CALL = {
    "ven_name": ENROLMENT, "share": 0.2, "lead_s": 8, "active_s": 6, "ramp_s": 1, "granularity_s": 1,
    "market_context": "urn:programme:quick",
}  # fmt: skip


async def test_killed_before_the_answer_left_the_event_is_answered_once_and_run_once(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    dying, again = AggregatorProcess(world, launcher=(str(DYING),)), AggregatorProcess(world)
    async with utility(world) as vtn:
        configure(world, vtn.url)
        try:
            await dying.start()
            async with living_sites(world, dying) as sites:
                await reported(vtn, intervals=4)
                status, called = await vtn.post("/events", CALL)
                assert status == 201, called
                assert await dying.died() == -signal.SIGKILL
                assert (await vtn.get(f"/events/{called['event_id']}"))["opts"] == []
                await again.start()
                dying.ready = again.ready
                start = datetime.fromisoformat(called["dtstart"])
                assert CLOCK.now() < start, "the machine was too slow for this test's lead"
                (statement,) = await settled(again)
                delivery = await delivered(vtn, called["event_id"])
            answered = await vtn.get(f"/events/{called['event_id']}")
            ours = await again.get(f"/api/v1/events/{ENROLMENT}/{called['event_id']}")
        finally:
            dying.stop()
            assert again.stop() == 0, again.log()

    assert [(opt["opt"], opt["modification_number"], opt["repeats"]) for opt in answered["opts"]] == [("optIn", 0, 0)]
    (commitment,) = ours["commitments"]
    assert (commitment["state"], ours["opt"]) == ("settled", "optIn")
    awards = [b for b in ours["budgets"] if b["purpose"] == "award"]
    baselines = [b for b in ours["budgets"] if b["purpose"] == "baseline"]
    assert sorted(b["site_id"] for b in awards) == sorted(b["site_id"] for b in baselines) == list(SITES)
    assert len(ours["budgets"]) == 4
    assert all(b["acked_at"] for b in ours["budgets"])
    for site_id, site in sites.items():
        assert {b.revision for b in site.budgets} == {1, 2}
        (owed_kw,) = [b["owed_kw"] for b in baselines if b["site_id"] == site_id]
        hold = [site.rows[int((start + timedelta(seconds=s) - site.began).total_seconds())] for s in range(2, 6)]
        assert hold == [BASE_KW - owed_kw] * 4
    assert float(statement["delivered_kwh"]) > 0.95 * float(statement["committed_kwh"]) > 0
    assert statement["missing_intervals"] == 0
    assert delivery["intervals_received"] == delivery["intervals_expected"]
    assert delivery["delivered_kwh"] == pytest.approx(float(statement["delivered_kwh"]), rel=0.01)
