"""The uplink's server end against a real client over mutual TLS."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.storage import budgets
from aggregator.storage.sites import heard_capabilities
from aggregator.storage.telemetry import meter_rows
from grid.audit import AuditEntry, link, public_key_text, sign_head
from grid.intervals import Interval
from grid.messages import AuditHead, Hello, HighWater, Live, Refused, SiteBudget, TelemetryAck, Welcome
from tests.aggregator.conftest import Pki
from tests.aggregator.gateway.conftest import CLOCK, NOW, Bench, issue_budget
from tests.aggregator.site_client import SiteClient, capability, meter_frame


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
        sent = await issue_budget(bench.store, 1)
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
    await issue_budget(bench.store, 1, lasts_s=-1)
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
    await issue_budget(bench.store, 1)
    async with bench.site() as site:
        await site.send(Hello(site_id="a", software="t", sent_at=NOW))
        assert isinstance(await site.receive(), Welcome)
        assert isinstance(await site.receive(), SiteBudget)
