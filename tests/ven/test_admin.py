"""The operator's HTTP: what it tells, what it does, and what it says to nonsense."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from grid.process.health import AdminServer
from tests.ven.world import START, World, world
from ven.admin import VenAdmin
from ven.archive import Archive
from ven.wire.party import Poll
from ven.wire.payload import encode
from ven.wire.report import UpdateReport

PERIOD = {"start": START.isoformat(), "end": (START + timedelta(hours=1)).isoformat()}


class Operator:
    """Asks the admin port."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def do(self, method: str, path: str, body: object = None, data: bytes | None = None) -> tuple[int, Any]:
        async with self._http.request(method, path, json=body, data=data) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def operator(one: World, archive: Archive | None = None) -> AsyncIterator[Operator]:
    routes = VenAdmin(one.gateway, archive).routes()
    async with (
        AdminServer({}, CollectorRegistry(), routes=routes) as admin,
        aiohttp.ClientSession(
            f"http://127.0.0.1:{admin.port}", connector=aiohttp.TCPConnector(force_close=True)
        ) as http,
    ):
        yield Operator(http)


async def test_how_the_vens_fare(tmp_path: Path) -> None:
    async with world(tmp_path) as one, operator(one) as ask:
        await one.until(lambda: one.status.state == "serving")
        status, (ven,) = await ask.do("GET", "/vens")
        assert (status, ven["enrolment_id"], ven["state"], ven["registered"]) == (200, "ven-a", "serving", True)
        assert (ven["last_poll"], ven["stale"], ven["why"]) == (START.isoformat(), False, None)
        one.transport.down = True
        await one.clock.advance(30)
        _, (ven,) = await ask.do("GET", "/vens")
        assert (ven["state"], ven["stale"], ven["why"]) == ("outage", True, "no VTN here")


async def test_an_opt_out_from_its_making_to_its_end(tmp_path: Path) -> None:
    async with world(tmp_path) as one, operator(one) as ask:
        await one.until(lambda: one.status.state == "serving")
        body = {"periods": [PERIOD], "resource_ids": ["site-1"]}
        status, made = await ask.do("POST", "/vens/ven-a/opts", body)
        assert (status, made["opt"], made["state"], made["reason"]) == (201, "optOut", "owed", "x-schedule")
        assert (made["periods"], made["resource_ids"], made["event_id"]) == ([PERIOD], ["site-1"], None)
        await one.clock.advance(0)
        assert await ask.do("GET", "/vens/ven-a/opts") == (200, [{**made, "state": "held"}])
        assert await ask.do("DELETE", f"/vens/ven-a/opts/{made['opt_id']}") == (200, {})
        assert (await ask.do("DELETE", f"/vens/ven-a/opts/{made['opt_id']}"))[0] == 404
        _, (left,) = await ask.do("GET", "/vens/ven-a/opts")
        assert left["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        ({}, 400, "periods: Field required"),
        ({"periods": []}, 400, "periods: "),
        ({"periods": [{**PERIOD, "end": "2026-01-01T00:00:00"}]}, 400, "periods.0.end: "),
        ({"periods": [{"start": PERIOD["end"], "end": PERIOD["start"]}]}, 400, "ends after it starts"),
        ({"periods": [{"start": PERIOD["start"], "end": PERIOD["start"]}]}, 400, "ends after it starts"),
        ({"periods": [PERIOD], "opt": "maybe"}, 400, "opt: "),
        ({"periods": [PERIOD], "reason": "x"}, 400, "reason: "),
        ({"periods": [PERIOD], "resource_ids": ["nobody"]}, 409, "no resource nobody"),
    ],
)
async def test_an_opt_that_makes_no_sense_is_refused(tmp_path: Path, body: object, code: int, why: str) -> None:
    async with world(tmp_path) as one, operator(one) as ask:
        await one.until(lambda: one.status.state == "serving")
        status, answer = await ask.do("POST", "/vens/ven-a/opts", body)
        assert (status, why in answer["error"]) == (code, True), answer
        assert one.gateway.opts("ven-a") == []


async def test_what_is_not_json_is_refused_plainly(tmp_path: Path) -> None:
    async with world(tmp_path) as one, operator(one) as ask:
        status, answer = await ask.do("POST", "/vens/ven-a/opts", data=b"{")
        assert (status, answer["error"].startswith("Invalid JSON")) == (400, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/vens/nobody/enrol"),
        ("POST", "/vens/nobody/cancel"),
        ("GET", "/vens/nobody/opts"),
        ("POST", "/vens/nobody/opts"),
        ("DELETE", "/vens/nobody/opts/o"),
        ("DELETE", "/vens/ven-a/opts/o"),
        ("GET", "/messages"),
        ("GET", "/messages/x"),
    ],
)
async def test_what_is_not_there_is_not_found(tmp_path: Path, method: str, path: str) -> None:
    async with world(tmp_path) as one, operator(one) as ask:
        status, answer = await ask.do(method, path, {"periods": [PERIOD]} if method == "POST" else None)
        assert (status, bool(answer["error"])) == (404, True)


async def test_leaving_and_enrolling_again(tmp_path: Path) -> None:
    async with world(tmp_path) as one, operator(one) as ask:
        await one.until(lambda: one.status.state == "serving")
        one.transport.down = True
        assert await ask.do("POST", "/vens/ven-a/cancel") == (409, {"error": "no VTN here"})
        one.transport.down = False
        assert await ask.do("POST", "/vens/ven-a/cancel") == (200, {})
        await one.until(lambda: one.status.state == "cancelled")
        assert await ask.do("POST", "/vens/ven-a/enrol") == (202, {})
        await one.until(lambda: one.status.state == "serving")


async def test_messages_of_the_archive(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        archive = Archive.open(tmp_path / "archive.sqlite", one.clock)
        try:
            async with operator(one, archive) as ask:
                archive.record("ven-a", sent=True, service="OadrPoll", content=encode(Poll(ven_id="v")))
                update = encode(UpdateReport(request_id="q/1"))
                archive.record("ven-a", sent=True, service="EiReport", content=update)
                status, found = await ask.do("GET", "/messages")
                assert (status, [message["name"] for message in found]) == (200, ["oadrPoll", "oadrUpdateReport"])
                _, (message,) = await ask.do("GET", "/messages/q%2F1")
                assert (message["content"], message["at"]) == (update.decode(), one.clock.now().isoformat())
                assert await ask.do("GET", "/messages/other") == (200, [])
        finally:
            archive.close()
