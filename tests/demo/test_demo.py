"""The whole system, as a person runs it: one event to its statement, and one with an agent killed, side by side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aggregator.demo.summary import Summary

ARRIVALS = Path(__file__).parents[3] / "shared" / "data" / "azure-llm" / "AzureLLMInferenceTrace_conv.csv"
ENDS_WITHIN_S = 420
KILLED = "abilene"


class Run:
    """What a demo process printed, and its summary."""

    def __init__(self, code: int, output: str, summary: dict[str, Any]) -> None:
        self.code = code
        self.output = output
        self.summary = Summary.model_validate(summary)


async def demo(folder: Path, *options: str) -> Run:
    """Run a demo in a process of its own, and stop it by its own signal when it takes too long."""
    file = folder / "out.json"
    command = [sys.executable, "-m", "grid.process.cli", "demo", "--once", "--json", str(file), *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    late = asyncio.get_running_loop().call_later(ENDS_WITHIN_S, process.send_signal, signal.SIGTERM)
    output, _ = await process.communicate()
    late.cancel()
    assert file.exists(), output.decode()
    return Run(process.returncode or 0, output.decode(), json.loads(file.read_text()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Run, Run]]:
    """A whole run and one whose second site loses its agent 40 s into the event, at the same time."""
    arrivals = ["--arrivals", str(ARRIVALS)] if ARRIVALS.exists() else []
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(demo(whole, "--keep", str(whole / "demo"), *arrivals))
        second = group.create_task(
            demo(killed, "--keep", str(killed / "demo"), "--seed", "7", "--kill", f"{KILLED}@40")
        )
    yield first.result(), second.result()


@pytest.mark.asyncio(loop_scope="module")
async def test_one_command_runs_an_event_to_its_statement(runs: tuple[Run, Run]) -> None:
    run, _ = runs
    summary = run.summary
    assert run.code == 0, run.output
    assert summary.shortcomings() == []
    assert summary.registrations == 4
    assert summary.opt == "optIn"
    assert summary.utility_intervals_received == summary.utility_intervals_expected > 0
    assert 0.98 <= summary.utility_delivered_kwh / summary.requested_kwh <= 1.05
    assert abs(float(summary.settlement.delivered_kwh) / summary.utility_delivered_kwh - 1) <= 0.01
    assert all(site.tracking_rmse_pct <= 2 and site.caps_restored for site in summary.sites)
    assert sum(site.reduction_share for site in summary.sites) == pytest.approx(1)
    assert summary.audit.verified
    assert summary.settlement.payment_usd > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_agent_leaves_the_other_sites_holding(runs: tuple[Run, Run]) -> None:
    _, run = runs
    assert run.code == 0, run.output
    by_site = {site.site_id: site for site in run.summary.sites}
    assert by_site.pop(KILLED).status == "lost"
    assert all(site.status == "ok" and site.tracking_rmse_pct <= 2 for site in by_site.values())
    assert all(site.caps_restored for site in run.summary.sites)
    # Dead intervals are missing, never filled: the utility did not get them and the statement does not pay them.
    assert run.summary.utility_intervals_received < run.summary.utility_intervals_expected
    assert float(run.summary.settlement.delivered_kwh) < float(run.summary.settlement.committed_kwh)


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_left_running(runs: tuple[Run, Run], tmp_path_factory: pytest.TempPathFactory) -> None:
    folders = {path.resolve() for path in tmp_path_factory.getbasetemp().glob("*/demo")}  # pytest links to the newest
    pids = [json.loads(ready.read_text())["pid"] for folder in folders for ready in folder.glob("*/ready.json")]
    assert len(pids) == 16
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kill", "nowhere@3"], "--kill names no site 'nowhere'"),
        (["--kill", "tempe"], "is not SITE@SECONDS"),
        (["--arrivals", "nothing.csv"], "there is no file"),
        (["--json", "no/such/folder/out.json"], "there is no folder"),
    ],
)
async def test_what_could_only_fail_at_the_end_is_refused_at_once(options: list[str], says: str) -> None:
    code, output = await refused(*options)
    assert code == 2
    assert says in output.splitlines()[-1]


async def test_a_console_port_that_is_taken_stops_everything(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with taken:
        port = taken.sockets[0].getsockname()[1]
        keep = tmp_path / "demo"
        code, output = await refused("--keep", str(keep), "--console-port", str(port))
    assert code != 0
    assert f"cannot listen on 127.0.0.1:{port}" in output.splitlines()[-1]
    for ready in keep.glob("*/ready.json"):
        with pytest.raises(ProcessLookupError):
            os.kill(json.loads(ready.read_text())["pid"], 0)


async def test_no_c_compiler_is_one_clear_line(tmp_path: Path) -> None:
    code, output = await refused("--keep", str(tmp_path / "demo"), environment={"PATH": "/nonexistent", "CC": ""})
    assert code != 0
    assert "gcc" in output.splitlines()[-1]


async def refused(*options: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """A demo that must end by itself with an error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grid.process.cli", "demo", "--once", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
