"""The aggregator's process: what it serves, and how it refuses to start."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import tomli_w

from certs.authority import Authority
from certs.issuance import Role, issue
from grid.audit import public_key_from_text, verify
from tests.aggregator.world import CLOCK, AggregatorProcess, World, configure, living_sites, make_world

NOBODY = "https://127.0.0.1:9/OpenADR2/Simple/2.0b"
"""The discard port: no VTN answers there."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    configure(made, NOBODY)
    return made


def _refused(world: World) -> tuple[int, str]:
    """Exit code and last line of an aggregator that does not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "grid.process.cli", "aggregator", "run", "--config", str(world.config)],
        capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()[-1]


def _change(world: World, **sections: dict[str, Any]) -> None:
    config = tomllib.loads(world.config.read_text())
    for section, values in sections.items():
        config.setdefault(section, {}).update(values)
    world.config.write_text(tomli_w.dumps(config))


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_a_port_that_is_taken_is_one_clear_line(world: World, taken_port: int) -> None:
    _change(world, console={"port": taken_port})
    code, line = _refused(world)
    assert code == 3
    assert line.startswith(f"negawatt: cannot listen on 127.0.0.1:{taken_port}")


def test_a_gateway_certificate_of_the_other_domain_is_refused(world: World) -> None:
    other = issue(world.utility, role=Role.GATEWAY, name="other", folder=world.folder / "other", clock=CLOCK)
    _change(world, gateway={"certificate": str(other.certificate), "key_file": str(other.key)})
    code, line = _refused(world)
    assert code == 4
    assert "does not chain to the roots" in line


def test_a_ven_certificate_that_cannot_stand_is_refused(world: World) -> None:
    stranger = Authority.create(world.folder / "stranger", name="Stranger", clock=CLOCK)
    ven = issue(stranger, role=Role.VEN, name="x", folder=world.folder / "x", clock=CLOCK)
    config = tomllib.loads(world.config.read_text())
    config["enrolments"][0]["ven"].update(certificate=str(ven.certificate), key_file=str(ven.key))
    world.config.write_text(tomli_w.dumps(config))
    code, line = _refused(world)
    assert code == 4
    assert "does not chain to the roots" in line


def test_an_unknown_key_is_refused(world: World) -> None:
    _change(world, aggregator={"state_dri": "x"})
    code, line = _refused(world)
    assert (code, "aggregator.state_dri: unknown key" in line) == (2, True)


async def _answer(aggregator: AggregatorProcess, path: str, method: str = "GET") -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as http, http.request(method, aggregator.url(path)) as answer:
        return answer.status, answer.content_type, await answer.text()


async def test_what_it_serves_and_that_it_stops_cleanly(world: World) -> None:
    aggregator = AggregatorProcess(world)
    await aggregator.start()
    try:
        async with living_sites(world, aggregator) as sites, CLOCK.timeout(20):
            while (now := await aggregator.get("/api/v1/now"))["portfolio"]["site_kw"] != 200.0:
                await CLOCK.sleep(0.1)
            while any(site.acked < 1 for site in sites.values()):
                await CLOCK.sleep(0.1)
        assert [site["link"] for site in now["sites"]] == ["up", "up"]
        assert now["portfolio"]["deliverable_kw"] == 80.0
        assert await aggregator.get("/api/v1/events") == []
        assert await aggregator.get("/api/v1/settlements") == []

        status, kind, text = await _answer(aggregator, "/api/v1/events/portfolio/none")
        assert (status, kind) == (404, "application/problem+json")
        assert json.loads(text)["detail"] == "enrolment portfolio has no event none"
        status, kind, _ = await _answer(aggregator, "/api/v1/settlements", "POST")
        assert (status, kind) == (405, "application/problem+json")
        assert (await _answer(aggregator, "/"))[0] == 200

        _, _, export = await _answer(aggregator, "/api/v1/audit/export")
        _, _, public = await _answer(aggregator, "/api/v1/audit/public-key")
        held = verify(export.splitlines(), public_key_from_text(public))
        assert held.chain == "aggregator"
        actions = [json.loads(line)["entry"]["action"] for line in export.splitlines() if '"entry"' in line]
        assert actions[0] == "process.started"

        admin = f"http://127.0.0.1:{aggregator.ready['admin_port']}"
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{admin}/readyz") as ready:
                assert (ready.status, "portfolio: " in (await ready.json())["waiting_for"]["vtn"]) == (503, True)
            async with http.get(f"{admin}/metrics") as metrics:
                text = await metrics.text()
        assert 'negawatt_site_power_watts{site="a"} 100000.0' in text
        assert "negawatt_telemetry_rows_total" in text
    finally:
        code = aggregator.stop()
    assert code == 0, aggregator.log()
    assert "Traceback" not in aggregator.log()
