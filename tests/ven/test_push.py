"""Push mode: our VTN's process sends to our VEN over real mutual TLS; nobody else is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certs.files import read_certificates, read_leaf_key
from certs.fingerprint import openadr_fingerprint
from certs.issuance import Role, issue
from certs.tls import Identity, client_context
from grid.errors import AddressInUseError
from grid.events import EventStatus
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
from tests.ven.scripted import distributing, wire_event
from ven.archive import Archive
from ven.config import PushSettings, VenSettings
from ven.endpoint import PREFIX
from ven.service import VenGateway
from ven.wire.codec import Codec
from ven.wire.common import NOBODY_NAMED
from ven.wire.event import DistributeEvent
from ven.wire.party import Poll
from ven.wire.payload import Message, Service
from ven.wire.signature import Signer

EVENT = {
    "ven_name": "ven-p",
    "event_id": "event-1",
    "market_context": "urn:programme:test",
    "duration_s": 600,
    "lead_s": 3600,
    "signals": [{"name": "SIMPLE", "type": "level", "intervals": [{"duration_s": 600, "value": 1}]}],
}


class PushVen:
    """A gateway with one push VEN, and what it saw."""

    def __init__(self, settings: VenSettings, folder: Path) -> None:
        self.settings = settings
        self.sink = DecidingSink()
        self.observer = RecordingObserver()
        self.archive = Archive.open(folder / "archive.sqlite", CLOCK)
        source = SteadySource({"site-1": 100.0, "site-2": 50.0})
        self.gateway = VenGateway(
            [settings], folder / "ven.sqlite", self.sink, source, self.observer, CLOCK, recorder=self.archive
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PushVen]:
        task = asyncio.create_task(self.gateway.run())
        try:
            await until(lambda: task.done() or self.state == "serving")
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.archive.close()

    @property
    def state(self) -> str:
        status = self.gateway.status()
        return status[0].state if status else ""


def push_ven(pki: Pki, folder: Path, vtn_url: str, **more: Any) -> PushVen:
    identity = issue(
        pki.utility, role=Role.VEN, name="ven-p", folder=folder / "ven-p", clock=CLOCK, hosts=("127.0.0.1",)
    )
    port = free_port()
    push = {"url": f"https://127.0.0.1:{port}{PREFIX}", "port": port, **more.pop("push", {})}
    settings = ven_settings(identity, vtn_url, "ven-p", push=PushSettings.model_validate(push), **more)
    return PushVen(settings, folder)


async def post(identity: Identity, url: str, message: Message, *, signed: bool = True) -> int:
    """What the VEN's endpoint says to somebody's message."""
    signer = Signer(read_leaf_key(identity.key), read_certificates(identity.certificate)) if signed else None
    body = Codec(signer, None).write(message, CLOCK.now())
    connector = aiohttp.TCPConnector(ssl=client_context(identity))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, data=body, headers={"Content-Type": "application/xml"}) as response,
    ):
        return response.status


def offer() -> DistributeEvent:
    message = distributing(wire_event("forged", CLOCK.now() + timedelta(hours=1), target=NOBODY_NAMED))(None)
    assert isinstance(message, DistributeEvent)
    return message


async def test_a_push_ven_through_its_life(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    async with push_ven(pki, tmp_path, vtn.url).running() as ven:
        (registration,) = await vtn.get("/registrations")
        push = ven.settings.push
        assert push is not None
        assert (registration["pull"], registration["transport_address"]) == (False, push.url)

        await vtn.post("/events", EVENT)
        await until(lambda: bool(ven.observer.opts))
        (opt,) = (await vtn.get("/events/event-1"))["opts"]
        assert (opt["opt"], opt["repeats"]) == ("optIn", 0)

        asked = {"ven_name": "ven-p", "specifier_id": "telemetry-usage", "granularity_s": 1, "back_duration_s": 1}
        _, request = await vtn.post("/reports/requests", asked)
        await until(lambda: len(ven.observer.reports) >= 3)
        states = {one["report_request_id"]: one["state"] for one in await vtn.get("/reports/requests")}
        assert states[request["report_request_id"]] == "pending"

        await vtn.post("/registrations/ven-p/reregister", {})
        await until(lambda: len(ven.observer.registrations) == 2)

        async with aiohttp.ClientSession() as http:
            await http.delete(f"http://127.0.0.1:{vtn.admin_port}/events/event-1")
            await until(lambda: ven.sink.accepted[-1].status is EventStatus.CANCELLED)
            await http.delete(f"http://127.0.0.1:{vtn.admin_port}/registrations/ven-p")
        await until(lambda: ven.state == "cancelled")
        async with CLOCK.timeout(60):
            while await vtn.get("/registrations"):
                await CLOCK.sleep(0.05)
        assert ven.observer.polls == []
        ven.archive.flush()
        kept = {(one.name, one.sent) for one in ven.archive.latest(1000)}
        assert {("oadrDistributeEvent", False), ("oadrCreateReport", False), ("oadrCreatedReport", True)} <= kept


async def test_what_waited_while_the_ven_was_away_is_pushed_when_it_is_back(
    make_vtn: VtnFactory, pki: Pki, tmp_path: Path
) -> None:
    vtn = make_vtn(push_retry_s=0.1, request_reports=False)
    await vtn.start()
    first = push_ven(pki, tmp_path, vtn.url)
    async with first.running():
        pass
    await vtn.post("/events", EVENT)
    again = PushVen(first.settings, tmp_path)
    async with again.running():
        await until(lambda: bool(again.observer.opts))
    assert [event.event_id for event in again.sink.accepted] == ["event-1"]


async def test_only_the_vtn_is_heard(vtn: VtnProcess, pki: Pki, tmp_path: Path) -> None:
    async with push_ven(pki, tmp_path, vtn.url).running() as ven:
        push = ven.settings.push
        assert push is not None
        url = f"{push.url}/{Service.EVENT}"
        assert await post(pki.ven("ven-b"), url, offer()) == 403
        assert await post(pki.vtn(), url, offer(), signed=False) == 403
        with pytest.raises(aiohttp.ClientError):
            await post(pki.site("site-1"), url, offer())
        assert ven.sink.accepted == []
        assert await post(pki.vtn(), f"{push.url}/{Service.POLL}", Poll(ven_id="v")) == 200
        assert await post(pki.vtn(), url, offer()) == 200
        await until(lambda: bool(ven.sink.accepted))


async def test_unsigned_only_the_certificate_that_is_named_is_heard(
    make_vtn: VtnFactory, pki: Pki, tmp_path: Path
) -> None:
    vtn = make_vtn(xml_signature=False, request_reports=False)
    await vtn.start()
    fingerprint = openadr_fingerprint(pki.vtn().certificate.read_bytes())
    ven = push_ven(pki, tmp_path, vtn.url, xml_signature=False, push={"vtn_fingerprint": fingerprint})
    async with ven.running():
        push = ven.settings.push
        assert push is not None
        assert await post(pki.ven("ven-b"), f"{push.url}/{Service.EVENT}", offer(), signed=False) == 403
        await vtn.post("/events", EVENT)
        await until(lambda: bool(ven.observer.opts))
        assert [event.event_id for event in ven.sink.accepted] == ["event-1"]


def test_unsigned_push_without_a_fingerprint_is_no_configuration(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vtn_fingerprint"):
        push_ven(pki, tmp_path, "https://127.0.0.1/OpenADR2/Simple/2.0b", xml_signature=False)


async def test_a_port_that_is_taken_ends_the_gateway(pki: Pki, tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        taken = server.sockets[0].getsockname()[1]
        push = {"url": "https://127.0.0.1/OpenADR2/Simple/2.0b", "port": taken}
        ven = push_ven(pki, tmp_path, f"https://127.0.0.1:{free_port()}/OpenADR2/Simple/2.0b", push=push)
        with pytest.raises(BaseExceptionGroup) as caught:
            await ven.gateway.run()
        ven.archive.close()
    assert caught.group_contains(AddressInUseError, depth=2)
