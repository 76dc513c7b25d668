"""An event for seven of one VEN's fifty resources, from the utility's VTN to the budgets: those seven and no others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.board import NowBoard
from aggregator.dispatch.service import DispatchService
from aggregator.storage.budgets import budgets_of
from aggregator.storage.dispatches import commitments_of
from aggregator.storage.sites import keep_capability, sync_sites
from aggregator.storage.store import Store, open_store
from certs.authority import Authority
from certs.issuance import Role, issue
from grid.clock import SystemClock
from tests.aggregator.dispatch.factory import CONTEXT, enrolment
from tests.aggregator.site_client import capability
from tests.ven.conformance.process import Admin, vtn_process
from tests.ven.conftest import RecordingObserver, SteadySource, until
from ven.config import VenSettings
from ven.endpoint import PREFIX
from ven.service import VenGateway

CLOCK = SystemClock()
SITES = [f"site-{number:02}" for number in range(50)]
SEVEN = [f"site-{number:02}" for number in (3, 7, 11, 19, 28, 41, 49)]
DELTA_KW = -35.0


async def fill(store: Store) -> None:
    """Every site could deliver 20 kW."""
    async with store.transaction() as tx:
        await sync_sites(tx.connection, {site: site for site in SITES})
        for site in SITES:
            await keep_capability(tx.connection, capability(site, CLOCK.now(), 100.0, (20, 0.1)), CLOCK.now())


async def test_exactly_those_seven_are_budgeted_and_answered_for(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    utility = Authority.create(tmp_path / "ca", name="Utility", clock=CLOCK)
    vtn = issue(utility, role=Role.VTN, name="vtn", folder=tmp_path / "vtn-identity", clock=CLOCK)
    ven = issue(utility, role=Role.VEN, name="ven", folder=tmp_path / "ven-identity", clock=CLOCK)
    config = {"vtn_id": "utility", "certificate": str(vtn.certificate), "key_file": str(vtn.key)}
    portfolio = enrolment(tuple(SITES))
    observer = RecordingObserver()
    async with (
        open_store(tmp_path / "aggregator.sqlite", key, CLOCK) as store,
        vtn_process(tmp_path / "vtn", **config, roots=str(vtn.roots), request_reports=False) as ready,
    ):
        await fill(store)
        admin = Admin(ready["admin_port"])
        board = NowBoard(CLOCK, {site: site for site in SITES})
        sent: list[str] = []
        desk = DispatchService({"p": portfolio}, store, board, CLOCK, send=sent.append, committed=lambda: None)
        settings = VenSettings(
            enrolment_id="p",
            ven_name="p",
            vtn_url=f"https://127.0.0.1:{ready['port']}{PREFIX}",
            certificate=ven.certificate,
            key_file=ven.key,
            vtn_roots=ven.roots,
            resources=portfolio.ven.resources,
        )
        gateway = VenGateway([settings], tmp_path / "ven.sqlite", desk, SteadySource({}), observer, CLOCK)
        running = asyncio.create_task(gateway.run())
        try:
            await until(lambda: bool(observer.polls))
            await admin.do("POST", "/events", _event())
            await until(lambda: bool(observer.opts))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        (answer,) = (await admin.get("/events/e1"))["opts"]
        async with store.reading() as connection:
            (commitment,) = await commitments_of(connection, "p", "e1")
            issued = await budgets_of(connection, [commitment])
    assert (answer["opt"], answer["code"]) == ("optIn", 200)
    assert sorted(sent) == SEVEN
    assert sorted(one.budget.site_id for one in issued) == SEVEN
    assert sorted(award.site_id for award in commitment.awards) == SEVEN
    assert sum(award.owed_kw for award in commitment.awards) == -DELTA_KW


def _event() -> dict[str, object]:
    start = (CLOCK.now() + timedelta(seconds=60)).replace(microsecond=0)
    return {
        "ven_name": "p",
        "event_id": "e1",
        "start": start.isoformat(),
        "duration_s": 110,
        "market_context": CONTEXT,
        "targets": {"resource_ids": [f"res-{site}" for site in SEVEN]},
        "signals": [
            {
                "name": "LOAD_DISPATCH",
                "type": "delta",
                "unit": {"name": "powerReal", "units": "W", "si_scale": "k"},
                "intervals": [{"duration_s": 110, "value": DELTA_KW}],
            }
        ],
    }
