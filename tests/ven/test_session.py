"""The gateway against a real VTN in its own process, over mutual TLS with EC signatures."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from certs.files import read_certificates, read_leaf_key
from certs.tls import client_context
from certs.trust import ChainTrust
from grid.events import Decision, OptType
from grid.intervals import EPOCH
from tests.ven.conftest import (
    CLOCK,
    DecidingSink,
    Pki,
    RecordingObserver,
    SteadySource,
    VtnFactory,
    VtnProcess,
    free_port,
    until,
    ven_settings,
)
from ven.config import VenSettings
from ven.errors import NotRegisteredError
from ven.exchange import Exchange
from ven.service import VenGateway
from ven.transport import HttpsTransports
from ven.wire.codec import Codec
from ven.wire.party import Poll
from ven.wire.replay import ReplayGuard
from ven.wire.signature import Signer, Verifier

CALL = {"ven_name": "ven-a", "share": 0.2, "lead_s": 1, "active_s": 4, "ramp_s": 1, "granularity_s": 1}
CONTEXT = "urn:programme:test"


class Bench:
    """A gateway with everything around it."""

    def __init__(self, settings: VenSettings, journal: Path, source: SteadySource | None = None) -> None:
        self.sink = DecidingSink()
        self.source = source or SteadySource({"site-1": 100.0, "site-2": 50.0})
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
    assert delivery["by_resource"]["site-2"]["missing"] == []
    first, *others = [interval for interval, _ in bench.observer.reports]
    assert [interval.start for interval in others] == [
        first.start + timedelta(seconds=k + 1) for k in range(len(others))
    ]


async def test_a_vtn_that_comes_late_goes_and_forgets(make_vtn: VtnFactory, pki: Pki, tmp_path: Path) -> None:
    vtn = make_vtn(port=free_port(), report_interval_s=1)
    bench = Bench(ven_settings(pki.ven("ven-a"), vtn.url), tmp_path / "ven.sqlite")
    async with bench.running():
        await until(lambda: bool(bench.observer.failures))
        assert "check that the VTN runs" in bench.observer.failures[0]
        await vtn.start()
        await until(lambda: bool(bench.observer.reports))
        assert vtn.stop() == 0
        await until(lambda: bench.gateway.status()[0].stale)
        delivered = len(bench.observer.reports)
        await vtn.start()
        await until(lambda: len(bench.observer.registrations) == 2 and len(bench.observer.reports) > delivered)
        first, second = bench.observer.registrations
        assert first == second
        await until(lambda: not bench.gateway.status()[0].stale)
        (registration,) = await vtn.get("/registrations")
    assert registration["reports_registered"]


async def test_a_ven_that_restarts_is_still_registered_and_answers_again_only_what_is_asked(
    vtn: VtnProcess, pki: Pki, tmp_path: Path
) -> None:
    settings = ven_settings(pki.ven("ven-a"), vtn.url)
    first = Bench(settings, tmp_path / "ven.sqlite")
    async with first.running():
        await until(lambda: bool(first.observer.reports))
        _, called = await vtn.post("/events", {**CALL, "lead_s": 30, "market_context": CONTEXT})
        await until(lambda: bool(first.observer.opts))
    second = Bench(settings, tmp_path / "ven.sqlite")
    async with second.running():
        await until(lambda: bool(second.observer.opts) and len(second.observer.reports) >= 2)
        changed = Decision(opt=OptType.OPT_OUT, reason="derated", decided_at=CLOCK.now())
        second.gateway.redecide(("ven-a", called["event_id"]), changed)
        await until(lambda: second.observer.opts[-1][2] is OptType.OPT_OUT)
        answered = await vtn.get(f"/events/{called['event_id']}")
    assert second.observer.registrations == []
    assert second.sink.accepted == []
    assert [opt["opt"] for opt in answered["opts"]] == ["optIn", "optOut"]
    starts = [interval.start for interval, _ in first.observer.reports + second.observer.reports]
    assert starts == [starts[0] + timedelta(seconds=k) for k in range(len(starts))]


async def test_a_client_without_a_certificate_or_of_the_other_domain_is_refused(vtn: VtnProcess, pki: Pki) -> None:
    nobody = ssl.create_default_context(cafile=str(pki.vtn().roots))
    site = ssl.create_default_context(cafile=str(pki.vtn().roots))
    site.load_cert_chain(pki.site("site-1").certificate, pki.site("site-1").key)
    for context in (nobody, site):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await session.post(f"{vtn.url}/OadrPoll", data=b"<a/>", headers={"Content-Type": "application/xml"})
    ours = client_context(pki.ven("ven-a"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ours)) as session,
        session.post(f"{vtn.url}/OadrPoll", data=b"<a/>", headers={"Content-Type": "application/xml"}) as response,
    ):
        assert response.status == 400


async def test_a_ven_with_the_id_of_another_is_refused(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    bench = Bench(ven_settings(pki.ven("ven-a"), vtn.url), tmp_path / "ven.sqlite")
    async with bench.running():
        await until(lambda: bool(bench.observer.polls))
    (registration,) = await vtn.get("/registrations")
    thief = ven_settings(pki.ven("ven-b"), vtn.url)
    codec = Codec(
        Signer(read_leaf_key(thief.key_file), read_certificates(thief.certificate)),
        Verifier(ChainTrust(read_certificates(thief.vtn_roots), thief.vtn_host), ReplayGuard()),
    )
    transports = HttpsTransports(CLOCK)
    try:
        exchange = Exchange("ven-b", await transports.open(thief), codec, CLOCK)
        with pytest.raises(NotRegisteredError, match="463"):
            await exchange.ask(Poll(ven_id=registration["ven_id"]))
    finally:
        await transports.close()


async def test_events_are_not_called_blindly(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    assert (await vtn.post("/events", {**CALL, "market_context": CONTEXT}))[0] == 404
    assert (await vtn.post("/events", {**CALL, "share": 2}))[0] == 400
    bench = Bench(ven_settings(pki.ven("ven-a"), vtn.url), tmp_path / "ven.sqlite", SteadySource({}))
    async with bench.running():
        await until(lambda: bool(bench.observer.polls))
    status, problem = await vtn.post("/events", {**CALL, "market_context": CONTEXT})
    assert (status, "wait for its reports" in problem["error"]) == (409, True)
