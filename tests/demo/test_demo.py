"""The whole system, as a person runs it: one event on a terminal, and one with an agent killed, side by side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from aggregator.demo.summary import Summary
from tests.demo.processes import CTRL_C, left_running, running, started

ARRIVALS = Path(__file__).parents[3] / "shared" / "data" / "azure-llm" / "AzureLLMInferenceTrace_conv.csv"
ENDS_WITHIN_S = 300
KILLED = "abilene"
PROCESSES = 8
"""The VTN, the aggregator, and plant and agent of three sites."""


class Run:
    """What a demo printed, left and said in its summary."""

    def __init__(self, folder: Path, code: int, lines: list[str]) -> None:
        self.folder = folder
        self.code = code
        self.output = "\n".join(lines)
        file = folder / "out.json"
        assert file.exists(), self.output
        self.json: dict[str, Any] = json.loads(file.read_text())
        self.summary = Summary.model_validate(self.json)


async def once(folder: Path, *options: str) -> Run:
    options = ("--once", "--json", str(folder / "out.json"), "--keep", str(folder / "demo"), *options)
    async with running(*options, within_s=ENDS_WITHIN_S) as demo:
        return Run(folder, await demo.end(), demo.lines)


async def on_a_terminal(folder: Path, *options: str) -> Run:
    """Until the console stays up; then a look at it, and Ctrl-C."""
    options = ("--json", str(folder / "out.json"), "--keep", str(folder / "demo"), *options)
    async with running(*options, within_s=ENDS_WITHIN_S, terminal=True) as demo:
        url = (await demo.until("the console stays up at ")).split()[5]
        assert len(left_running(folder / "demo")) == PROCESSES
        async with aiohttp.ClientSession() as http, http.get(url) as page:
            assert page.status == 200
        demo.press(CTRL_C)
        return Run(folder, await demo.end(), demo.lines)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Run, Run]]:
    """A whole run and one whose second site loses its agent 40 s into the event, at the same time."""
    arrivals = ["--arrivals", str(ARRIVALS)] if ARRIVALS.exists() else []
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(on_a_terminal(whole, *arrivals))
        second = group.create_task(once(killed, "--seed", "7", "--kill", f"{KILLED}@40"))
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
    assert run.json["settlement"]["delivered_kwh"] == pytest.approx(summary.utility_delivered_kwh, rel=0.01)
    assert run.json["settlement"]["payment_usd"] > 0
    assert all(site["tracking_rmse_pct"] <= 2 and site["caps_restored"] for site in run.json["sites"])
    assert sum(site["reduction_share"] for site in run.json["sites"]) == pytest.approx(1)
    assert summary.audit.verified


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_agent_leaves_the_other_sites_holding(runs: tuple[Run, Run]) -> None:
    _, run = runs
    assert run.code == 0, run.output
    assert run.summary.shortcomings() == []
    by_site = {site.site_id: site for site in run.summary.sites}
    lost = by_site.pop(KILLED)
    assert lost.status == "lost"
    assert all(site.status == "ok" and site.utility_missing == () for site in by_site.values())
    assert all(site.caps_restored for site in run.summary.sites)
    # Dead intervals are missing, never filled: the utility did not get them and the statement does not pay them.
    assert run.summary.outage is not None
    assert set(lost.utility_missing) >= set(run.summary.outage.dead_intervals) != set()
    assert set(lost.statement_missing) == {s for s in lost.utility_missing if s < run.summary.hold_end}
    assert run.json["settlement"]["delivered_kwh"] < run.json["settlement"]["committed_kwh"]
    assert run.summary.outage.battery_kw == 0.0


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_left_running(runs: tuple[Run, Run]) -> None:
    for run in runs:
        assert len(started(run.folder / "demo")) == PROCESSES
        assert left_running(run.folder / "demo") == []
        assert "everything is stopped" in run.output
