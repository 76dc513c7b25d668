"""What cannot work ends at once, in one clear line, with nothing left running."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from aggregator.demo import director as directing
from aggregator.demo import scene as setting
from aggregator.demo.children import Children
from aggregator.demo.director import Director
from aggregator.demo.errors import DemoError
from aggregator.demo.http import Http, session
from aggregator.demo.plan import event_plan
from aggregator.demo.scene import Scene, SceneOptions, SiteScene
from certs.fingerprint import openadr_fingerprint
from grid.clock import SystemClock
from tests.demo.processes import CTRL_C, left_running, running, started

CLOCK = SystemClock()
ENDS_WITHIN_S = 120


async def refused(*options: str, environment: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """A demo that must end by itself; its exit code and what it said."""
    async with running("--once", *options, within_s=ENDS_WITHIN_S, environment=environment) as demo:
        return await demo.end(), demo.lines


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kill", "nowhere@3"], "--kill names no site 'nowhere'"),
        (["--kill", "tempe"], "is not SITE@SECONDS"),
        (["--kill", "tempe@110"], "--kill comes after the event: choose less than 110 seconds"),
        (["--arrivals", "nothing.csv"], "there is no file"),
        (["--json", "no/such/folder/out.json"], "--json: cannot write no/such/folder/out.json"),
        (["--json", "."], "--json: cannot write .: Is a directory"),
        (["--console-port", "70000"], "--console-port 70000 is no port"),
        (["--console-host", "192.0.2.1"], "cannot listen on 192.0.2.1:0"),
        (["--keep", "/dev/null/demo"], "--keep: cannot make /dev/null/demo"),
    ],
)
async def test_what_could_only_fail_at_the_end_is_refused_at_once(options: list[str], says: str) -> None:
    code, lines = await refused(*options)
    assert code == 2
    assert says in lines[-1]
    assert not any("serves" in line for line in lines)


async def test_a_console_port_that_is_taken_starts_nothing(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with taken:
        port = taken.sockets[0].getsockname()[1]
        code, lines = await refused("--keep", str(tmp_path / "demo"), "--console-port", str(port))
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{port}" in lines[-1]
    assert not (tmp_path / "demo").exists()


async def test_no_c_compiler_is_one_clear_line_and_the_evidence_stays(tmp_path: Path) -> None:
    code, lines = await refused(environment={"PATH": "/nonexistent", "CC": "", "TMPDIR": str(tmp_path)})
    assert code == DemoError.exit_code
    assert "gcc" in lines[-1]
    (folder,) = tmp_path.glob("negawatt-demo-*")
    assert lines[-2].endswith(f"are kept in {folder}")
    assert (folder / "plant-tempe" / "log.jsonl").exists()
    assert left_running(folder) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_before_the_event_is_settled_is_no_success(number: signal.Signals, tmp_path: Path) -> None:
    keep, file = tmp_path / "demo", tmp_path / "out.json"
    options = ("--once", "--json", str(file), "--keep", str(keep))
    async with running(*options, within_s=ENDS_WITHIN_S) as demo:
        await demo.until("utility VTN serves")
        demo.signal(number)
        code = await demo.end()
    assert code == DemoError.exit_code
    assert demo.lines[-1] == "negawatt: stopped before the event was settled"
    assert not file.exists()
    assert started(keep) != []
    assert left_running(keep) == []


async def test_ctrl_c_twice_on_a_terminal_leaves_neither_process_nor_folder(tmp_path: Path) -> None:
    async with running(within_s=ENDS_WITHIN_S, terminal=True, environment={"TMPDIR": str(tmp_path)}) as demo:
        await demo.until("simulated sites, seed 2026")
        await demo.until("utility VTN serves")
        (folder,) = tmp_path.glob("negawatt-demo-*")
        copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("state"))
        demo.press(CTRL_C)
        demo.press(CTRL_C)
        code = await demo.end()
    assert code == DemoError.exit_code
    assert not folder.exists()
    assert started(copy) != []
    assert left_running(copy) == []


async def test_a_ven_the_utility_refuses_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The utility takes every certificate but the portfolio's."""
    monkeypatch.setattr(directing, "AILING_FOR_S", 3.0)
    async with Children(CLOCK) as children, session() as client:
        scene = await _vtn_and_aggregator(tmp_path, children)
        director = Director(scene, children, Http(client, scene.name_of, children.check_all), CLOCK, print)
        with pytest.raises(DemoError, match=r"negawatt-portfolio cannot register: .* have the utility accept"):
            await director.registered()


async def _vtn_and_aggregator(folder: Path, children: Children) -> Scene:
    """A scene without sites' processes: VENs register all the same."""
    identities = setting._make_certificates(folder, CLOCK)
    accepted = [
        openadr_fingerprint(identity.certificate.read_bytes())
        for enrolment, identity in identities.vens.items()
        if enrolment != setting.ENROLMENT
    ]
    vtn_config: dict[str, Any] = {**setting._vtn_config(identities, event_plan()), "ven_fingerprints": accepted}
    vtn = await children.start(setting._child(folder, setting.VTN, ("vtn", "run"), vtn_config))
    options = SceneOptions(seed=1, arrivals=None, console_host="127.0.0.1", console_port=0)
    config = setting._aggregator_config(identities, vtn["port"], 0, options)
    aggregator = await children.start(setting._child(folder, setting.AGGREGATOR, ("aggregator", "run"), config))
    sites = [
        SiteScene(
            site_id=site_id,
            agent=setting._child(folder, f"agent-{site_id}", ("agent", "run"), {}),
            plant_url="http://127.0.0.1:9",
            truth=folder / "truth.jsonl",
        )
        for site_id in setting.SITE_IDS
    ]
    return Scene(
        folder=folder,
        seed=1,
        vtn_url=f"http://127.0.0.1:{vtn['admin_port']}",
        console_url=f"http://127.0.0.1:{aggregator['console_port']}",
        market_context="urn:x",
        sites=tuple(sites),
    )


@pytest.mark.parametrize(
    ("host", "says"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("127.0.0.2", "127.0.0.2"), ("box", "box")],
)
def test_the_consoles_url_names_a_host_one_can_open(host: str, says: str) -> None:
    assert setting.reachable(host) == says
