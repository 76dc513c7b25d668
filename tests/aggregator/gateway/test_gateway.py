"""The uplink's server end against a real client over mutual TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from aggregator.board import NowBoard
from aggregator.dispatch.commitment import Award, Commitment, State, Timeline
from aggregator.gateway.server import Gateway
from aggregator.portfolio.config import GatewaySettings
from aggregator.portfolio.programme import shipped
from aggregator.storage import audit, budgets, dispatches
from aggregator.storage.sites import heard_capabilities, sync_sites
from aggregator.storage.store import Store, open_store
from aggregator.storage.telemetry import meter_rows
from certs.tls import Identity
from grid.audit import AuditEntry, link, public_key_text, sign_head
from grid.clock import SystemClock
from grid.intervals import Interval, floor_to
from grid.messages import (
    AuditHead,
    BudgetInterval,
    Hello,
    HighWater,
    Live,
    Refused,
    SiteBudget,
    TelemetryAck,
    Welcome,
)
from tests.aggregator.conftest import SITES, Pki
from tests.aggregator.site_client import SiteClient, capability, connect, meter_frame

CLOCK = SystemClock()
NOW = floor_to(CLOCK.now(), 10)


class Bench:
    """A serving gateway over a database that can be restarted."""

    def __init__(self, folder: Path, pki: Pki, key: Ed25519PrivateKey) -> None:
        self._folder, self._pki, self._key = folder, pki, key
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        g = self._pki.gateway
        settings = GatewaySettings(certificate=g.certificate, key_file=g.key, roots=g.roots)
        self.store = await self._stack.enter_async_context(open_store(self._folder / "a.sqlite", self._key, CLOCK))
        async with self.store.transaction() as tx:
            await sync_sites(tx.connection, SITES)
        self.board = NowBoard(CLOCK, SITES)
        gateway = Gateway(settings, SITES, self.store, self.board, CLOCK, CollectorRegistry())
        self.gateway = await self._stack.enter_async_context(gateway)

    async def stop(self) -> None:
        await self._stack.aclose()

    def site(self, site_id: str = "a", identity: Identity | None = None) -> Any:
        return connect(self.gateway.port, identity or self._pki.sites[site_id], site_id, CLOCK)

    async def actions(self) -> list[AuditEntry]:
        async with self.store.reading() as connection:
            return [item async for item in audit.items(connection) if isinstance(item, AuditEntry)]


@pytest.fixture
async def bench(tmp_path: Path, pki: Pki, key: Ed25519PrivateKey) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, pki, key)
    await made.start()
    yield made
    await made.stop()


async def _issue(store: Store, revision: int, *, lasts_s: float = 600) -> SiteBudget:
    """A budget of a commitment, as dispatch issues one."""
    end = CLOCK.now() + timedelta(seconds=lasts_s)
    start = end - timedelta(seconds=600)
    budget = SiteBudget(
        site_id="a", revision=revision, issued_at=start, not_after=end,
        intervals=(BudgetInterval(start=start, end=end, limit_kw=80.0, dispatch_ids=("p/e",)),),
    )  # fmt: skip
    commitment = Commitment(
        commitment_id=revision, enrolment_id="p", event_id="e", modification_number=0, state=State.AWARDED,
        committed_kw=20.0, awards=(Award(site_id="a", owed_kw=20.0, baseline_kw=100.0),),
        timeline=Timeline(start=start, ramp_start=start, hold_start=start, hold_end=end, release_end=end),
        programme=shipped("demo-dispatch"), created_at=start,
    )  # fmt: skip
    async with store.transaction() as tx:
        await dispatches.keep_commitment(tx.connection, commitment)
        issued = budgets.IssuedBudget(
            budget=budget, commitment_id=revision, purpose="award", baseline_kw=100.0, owed_kw=20.0
        )
        await budgets.issue(tx.connection, issued)
    return budget


async def test_telemetry_is_stored_before_it_is_acknowledged_and_once_across_reconnects(bench: Bench) -> None:
    async with bench.site() as site:
        welcome = await site.hello()
        assert (welcome.protocol, welcome.high_water) == (1, ())
        assert abs(welcome.server_time - CLOCK.now()) < timedelta(seconds=5)
        await site.send(meter_frame("a", 0, NOW, [1.0, 2.0, 3.0]))
        assert (await site.expect(TelemetryAck)).seq == 2
    await bench.stop()
    await bench.start()
    async with bench.site() as site:
        welcome = await site.hello()
        assert welcome.high_water == (HighWater(spool_id="spool-1", stream="meter_1s", seq=2),)
        await site.send(meter_frame("a", 1, NOW + timedelta(seconds=1), [2.0, 3.0, 4.0]))
        assert (await site.expect(TelemetryAck)).seq == 3
        async with bench.store.reading() as connection:
            rows = (await meter_rows(connection, ["a"], Interval.lasting(NOW, 60)))["a"]
        assert [row.site_kw for row in rows] == [1.0, 2.0, 3.0, 4.0]


async def test_a_gap_is_told_by_the_audit_at_connect_and_refused_later(bench: Bench) -> None:
    async with bench.site() as site:
        await site.hello()
        await site.send(meter_frame("a", 0, NOW, [1.0]))
        await site.expect(TelemetryAck)
    async with bench.site() as site:
        await site.hello()
        await site.send(meter_frame("a", 5, NOW + timedelta(seconds=5), [6.0]))
        assert (await site.expect(TelemetryAck)).seq == 5
        await site.send(meter_frame("a", 8, NOW + timedelta(seconds=8), [9.0]))
        assert "expected seq 6, got 8" in (await site.expect(Refused)).reason
        assert await site.receive() is None
    entries = await bench.actions()
    assert [(e.action, e.facts.get("first_missing"), e.facts.get("last_missing")) for e in entries] == [
        ("telemetry.gap", 1, 4),
        ("uplink.refused", None, None),
    ]


async def test_a_client_without_a_certificate_or_of_the_other_domain_gets_no_connection(bench: Bench, pki: Pki) -> None:
    bare = ssl.create_default_context(cafile=str(pki.site_roots))
    url = f"https://127.0.0.1:{bench.gateway.port}/uplink"
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.ws_connect(url, ssl=bare)
    utility_ven = replace(pki.ven, roots=pki.site_roots)
    with pytest.raises(aiohttp.ClientError):
        async with bench.site(identity=utility_ven):
            pass


async def test_a_certificate_that_names_no_site_of_ours_is_forbidden(bench: Bench) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with bench.site("stranger"):
            pass
    assert refused.value.status == 403
    assert [(e.action, e.actor) for e in await bench.actions()] == [("uplink.refused", "site:stranger")]


async def test_a_frame_naming_another_site_ends_the_session_and_is_kept(bench: Bench) -> None:
    async with bench.site("a") as site:
        await site.hello()
        await site.send(meter_frame("b", 0, NOW, [1.0]))
        assert (await site.expect(Refused)).reason == "your certificate is of site a, your frame names b"
        assert await site.receive() is None
        assert site.socket.close_code == 1008
    (entry,) = await bench.actions()
    assert (entry.action, entry.actor) == ("uplink.refused", "site:a")
    async with bench.store.reading() as connection:
        assert await meter_rows(connection, ["a", "b"], Interval.lasting(NOW, 60)) == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (Hello(site_id="a", protocol_min=9, protocol_max=10, software="x", sent_at=NOW), "no common protocol"),
        (meter_frame("a", 0, NOW, [1.0]), "first frame must be a hello"),
    ],
)
async def test_who_does_not_speak_our_protocol_is_told_so(bench: Bench, frame: Any, says: str) -> None:
    async with bench.site() as site:
        await site.send(frame)
        assert says in (await site.expect(Refused)).reason


async def test_what_cannot_be_read_ends_the_session(bench: Bench) -> None:
    async with bench.site() as site:
        await site.hello()
        await site.socket.send_str('{"type": "telemetry"}')
        assert "unreadable frame" in (await site.expect(Refused)).reason


async def test_a_budget_is_sent_until_acknowledged_with_the_same_revision_also_after_a_restart(bench: Bench) -> None:
    async with bench.site() as site:
        await site.hello()
        sent = await _issue(bench.store, 1)
        bench.gateway.wake("a")
        assert await site.expect(SiteBudget) == sent
    await bench.stop()
    await bench.start()
    async with bench.site() as site:
        await site.hello()
        again = await site.expect(SiteBudget)
        assert again == sent
        await site.ack(again)
        await site.send(meter_frame("a", 0, NOW, [1.0]))
        await site.expect(TelemetryAck)
    async with bench.site() as site:
        await site.hello(budget_revision=1)
        await site.send(meter_frame("a", 1, NOW + timedelta(seconds=1), [1.0]))
        await site.expect(TelemetryAck)
        async with bench.store.reading() as connection:
            issued = await budgets.newest_budget(connection, "a")
        assert issued is not None
        assert (issued.budget.revision, issued.accepted) == (1, True)
        assert bench.board.snapshot()["sites"][0]["budget_acked"]
    assert [e.action for e in await bench.actions()] == ["budget.acknowledged"]


async def test_an_expired_budget_is_not_sent(bench: Bench) -> None:
    await _issue(bench.store, 1, lasts_s=-1)
    async with bench.site() as site:
        await site.hello()
        await site.send(meter_frame("a", 0, NOW, [1.0]))
        await site.expect(TelemetryAck)


async def test_a_site_that_journalled_more_than_we_know_is_numbered_on_from_there(bench: Bench) -> None:
    async with bench.site() as site:
        await site.hello(budget_revision=7)
        async with bench.store.reading() as connection:
            assert await budgets.next_revision(connection, "a") == 8
    assert [e.action for e in await bench.actions()] == ["budget.unknown"]


async def test_a_newer_connection_replaces_the_older_one(bench: Bench) -> None:
    async with bench.site() as older:
        await older.hello()
        async with bench.site() as newer:
            assert await older.receive() is None
            await newer.hello()
            await newer.send(meter_frame("a", 0, NOW, [1.0]))
            await newer.expect(TelemetryAck)
            assert bench.board.snapshot()["sites"][0]["link"] == "up"
    assert await bench.actions() == []


async def test_capability_is_kept_and_live_is_shown(bench: Bench) -> None:
    told = capability("a", NOW, 100.0, (10.0, 0.1), (15.0, 0.3))
    async with bench.site() as site:
        await site.hello()
        await site.send(told)
        await site.send(Live(site_id="a", at=CLOCK.now(), values={"site_kw": 98.0}))
        await site.send(meter_frame("a", 0, NOW, [1.0]))
        await site.expect(TelemetryAck)
        async with bench.store.reading() as connection:
            assert (await heard_capabilities(connection))["a"].capability == told
        (shown, *_) = bench.board.snapshot()["sites"]
        assert (shown["link"], shown["site_kw"], shown["deliverable_kw"]) == ("up", 98.0, 25.0)


async def _head(site: SiteClient, entry: AuditEntry, key: Ed25519PrivateKey, **changed: Any) -> AuditHead:
    head = sign_head(entry, key)
    fields = {"seq": head.seq, "hash": head.hash, "signature": head.signature, **changed}
    message = AuditHead(site_id="a", chain="site-a", public_key=public_key_text(key.public_key()), **fields)
    await site.send(message)
    return message


async def test_a_sites_audit_head_is_anchored_once_and_a_rewritten_chain_is_refused(bench: Bench) -> None:
    theirs = Ed25519PrivateKey.generate()
    first = link(None, chain="site-a", at=NOW, actor="agent", action="x.y", subject="s", facts={})
    forged = link(None, chain="site-a", at=NOW, actor="agent", action="x.z", subject="s", facts={})
    async with bench.site() as site:
        await site.hello()
        sent = await _head(site, first, theirs)
        await _head(site, first, theirs)
        await _head(site, forged, theirs)
        assert "was rewritten" in (await site.expect(Refused)).reason
    async with bench.site() as site:
        await site.hello()
        await _head(site, first, theirs, seq=4)
        assert "signature" in (await site.expect(Refused)).reason
    entries = await bench.actions()
    assert [e.action for e in entries] == ["head.anchored", "uplink.refused", "uplink.refused"]
    assert entries[0].facts["hash"] == sent.hash


async def test_welcome_is_the_first_frame(bench: Bench) -> None:
    await _issue(bench.store, 1)
    async with bench.site() as site:
        await site.send(Hello(site_id="a", software="t", sent_at=NOW))
        assert isinstance(await site.receive(), Welcome)
        assert isinstance(await site.receive(), SiteBudget)
