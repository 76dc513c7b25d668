"""``negawatt ven run`` and ``negawatt vtn run`` as a person starts them, kills them and misconfigures them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certs.tls import Identity
from grid.intervals import ceil_to
from tests.ven.conftest import CLOCK, Pki, VtnFactory, VtnProcess, until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``negawatt ...`` and kills what is left of it in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "grid.process.cli", *words], stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ven_config(folder: Path, identity: Identity, url: str, **more: object) -> Path:
    values = {
        "enrolment_id": "ven-a",
        "ven_name": "ven-a",
        "vtn_url": url,
        "certificate": str(identity.certificate),
        "key_file": str(identity.key),
        "vtn_roots": str(identity.roots),
        "default_opt": "optIn",
        "report_granularity_min_s": 1,
        "report_lateness_s": 0,
        **more,
    }
    lines = ['journal = "ven.sqlite"', 'events_file = "events.jsonl"', 'readings_file = "readings.jsonl"', "[[vens]]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines.append('resources = [{resource_id = "site-1", rid = "site-1-kw"}]')
    path = folder / "ven.toml"
    path.write_text("\n".join(lines))
    return path


async def test_a_killed_ven_takes_up_where_it_was(vtn: VtnProcess, pki: Pki, tmp_path: Path, start: Start) -> None:
    config, ready = ven_config(tmp_path, pki.ven("ven-a"), vtn.url), tmp_path / "ready.json"
    begin = ceil_to(CLOCK.now(), 1) - timedelta(seconds=5)
    span = {"resource_id": "site-1", "start": begin.isoformat(), "end": (begin + timedelta(hours=1)).isoformat()}
    (tmp_path / "readings.jsonl").write_text(json.dumps({**span, "kw": 40.0}) + "\n")

    first = start("ven", "run", "--config", config, "--ready-file", ready)
    await until(ready.exists)
    async with CLOCK.timeout(60):
        while not (await vtn.get("/reports")).get("ven-a", {}).get("site-1-kw", {}).get("intervals"):
            await CLOCK.sleep(0.1)
    call = {"ven_name": "ven-a", "share": 0.5, "lead_s": 30, "active_s": 4, "ramp_s": 1, "granularity_s": 1}
    _, called = await vtn.post("/events", {**call, "market_context": "urn:p"})
    assert called["requested_kw"] == pytest.approx(20.0)
    async with CLOCK.timeout(60):
        while not (await vtn.get(f"/events/{called['event_id']}"))["opts"]:
            await CLOCK.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    ready.unlink()

    second = start("ven", "run", "--config", config, "--ready-file", ready)
    await until(ready.exists)
    admin = f"http://127.0.0.1:{json.loads(ready.read_text())['admin_port']}"
    await _until_ready(admin)
    (registration,) = await vtn.get("/registrations")
    (opt,) = (await vtn.get(f"/events/{called['event_id']}"))["opts"]
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (registration["duplicates"], opt["opt"]) == (0, "optIn")
    assert [line["event"]["event_id"] for line in lines] == [called["event_id"]]
    assert lines[0]["decision"]["opt"] == "optIn"
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


async def _until_ready(admin: str) -> None:
    async with CLOCK.timeout(60), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{admin}/readyz") as response:
                if response.status == 200:
                    break
            await CLOCK.sleep(0.1)
        async with session.get(f"{admin}/metrics") as response:
            assert 'ven_polls_total{enrolment_id="ven-a"}' in await response.text()


def refusal(process: subprocess.Popen[bytes], code: int) -> str:
    """The one line a person reads; logs are JSON lines."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors.decode()
    lines = [line for line in errors.decode().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, lines
    return lines[0]


async def test_a_ven_the_vtn_does_not_take_exits_with_what_to_do(
    make_vtn: VtnFactory, pki: Pki, tmp_path: Path, start: Start
) -> None:
    vtn = make_vtn(ven_fingerprints=["00:11:22:33:44:55:66:77:88:99"])
    await vtn.start()
    process = start("ven", "run", "--config", ven_config(tmp_path, pki.ven("ven-a"), vtn.url))
    await until(lambda: process.poll() is not None)
    assert "have the utility accept the certificate with fingerprint" in refusal(process, 5)


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        ({"vtn_url": "http://127.0.0.1/"}, 2, "must be an https URL"),
        ({"certifikate": "x"}, 2, "unknown key"),
        ({"certificate": "nowhere.pem"}, 4, "cannot read certificates from"),
    ],
)
def test_a_wrong_ven_configuration_is_one_line(
    pki: Pki, tmp_path: Path, start: Start, change: dict[str, object], code: int, line: str
) -> None:
    config = ven_config(tmp_path, pki.ven("ven-a"), "https://127.0.0.1:1/", **change)
    assert line in refusal(start("ven", "run", "--config", config), code)


def test_a_certificate_of_the_other_domain_is_one_line(pki: Pki, tmp_path: Path, start: Start) -> None:
    site = pki.site("site-1")
    mixed = Identity(certificate=site.certificate, key=site.key, roots=pki.vtn().roots)
    config = ven_config(tmp_path, mixed, "https://127.0.0.1:1/")
    assert "does not chain to the roots" in refusal(start("ven", "run", "--config", config), 4)


def test_a_taken_port_is_one_line(pki: Pki, tmp_path: Path, start: Start) -> None:
    identity = pki.vtn()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values: dict[str, Any] = {
            "vtn_id": "utility",
            "port": taken.getsockname()[1],
            "certificate": str(identity.certificate),
            "key_file": str(identity.key),
            "roots": str(identity.roots),
        }
        config = tmp_path / "vtn.toml"
        config.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()))
        line = refusal(start("vtn", "run", "--config", config), 3)
    assert "stop what uses it or configure another port" in line
