"""The agent as a person runs it, alone with a budget from a file: held, killed, held again, and given back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import tomli_w

from agent.battery.device import REVERT_AFTER_S
from aggregator.demo.children import Child, Children
from aggregator.demo.errors import DemoError
from aggregator.demo.truth import means_kw, read_truth
from grid.clock import SystemClock
from grid.intervals import Interval, floor_to
from grid.messages import BudgetInterval, SiteBudget

CLOCK = SystemClock()
WITHIN_S = 15.0
SETTLED_WITHIN_S = 15.0
OVER = 0.01
"""How far a mean of 5 s may lie above the limit at a site of 32 GPUs, as a share of it."""

Status = dict[str, Any]


def budget(limit_kw: float, now: datetime) -> SiteBudget:
    """In force from now on, for much longer than the test."""
    end = now + timedelta(minutes=5)
    return SiteBudget(
        site_id="a",
        revision=1,
        issued_at=now,
        intervals=(BudgetInterval(start=now - timedelta(seconds=1), end=end, limit_kw=limit_kw),),
        not_after=end,
        release_ramp_s=10.0,
    )


def agent(folder: Path, plant: Status, *words: str) -> Child:
    """An agent of the plant's devices, without an uplink."""
    folder.mkdir(exist_ok=True)
    config = {
        "site": {"id": "a", "state_dir": "state"},
        "meter": {"port": plant["meter_port"]},
        "battery": {"port": plant["battery_port"]},
        "node": {"simulated": True, "lock_dir": "locks"},
        "workloads": {"file": plant["workloads"]},
    }
    (folder / "config.toml").write_text(tomli_w.dumps(config))
    environment = {"LD_LIBRARY_PATH": plant["nvml_library_dir"], "NEGAWATT_NVML_STATE": plant["nvml_state"]}
    return Child(name="agent", words=("agent", "run", *words), folder=folder, environment=environment)


async def start_plant(children: Children, folder: Path) -> Status:
    folder.mkdir()
    (folder / "config.toml").write_text(tomli_w.dumps({"site_id": "a", "seed": 5, "state_dir": "state", "gpus": 32}))
    return await children.start(Child(name="plant", words=("plant", "run"), folder=folder))


async def get(port: int, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return await answer.json()


async def until(port: int, path: str, holds: Callable[[Any], object], *, within_s: float = WITHIN_S) -> Any:
    """The first answer that is as it should be."""
    seen: Any = None
    try:
        async with CLOCK.timeout(within_s):
            while not holds(seen := await get(port, path)):
                await CLOCK.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"{path} stayed at {seen}")
    return seen


def reduced(caps: list[Status]) -> int:
    return sum(cap["cap_w"] < cap["default_w"] for cap in caps)


async def test_a_budget_from_a_file_is_held_through_a_kill_and_given_back_at_the_end(tmp_path: Path) -> None:
    async with Children(CLOCK) as children:
        plant = await start_plant(children, tmp_path / "plant")
        site = await until(plant["admin_port"], "/state", lambda s: "site_kw" in s)
        file = tmp_path / "budget.json"
        limit_kw = site["nominal_site_kw"] * 0.85
        file.write_text(budget(limit_kw, CLOCK.now()).model_dump_json())

        ready = await children.start(agent(tmp_path / "agent", plant, "--budget", str(file)))
        status = await until(ready["admin_port"], "/status", lambda s: s["caps_active"] and s["mode"] == "event")
        assert (status["budget_revision"], status["uplink"]) == (1, "none")
        await until(plant["admin_port"], "/caps", reduced)
        await CLOCK.sleep(SETTLED_WITHIN_S + 10)
        killed_at = floor_to(CLOCK.now(), 1)

        await children.kill("agent")
        assert reduced(await get(plant["admin_port"], "/caps"))

        ready = await children.start(agent(tmp_path / "agent", plant))
        status = await until(ready["admin_port"], "/status", lambda s: s["mode"] is not None)
        assert (status["mode"], status["budget_revision"]) == ("event", 1)
        await until(ready["admin_port"], "/readyz", lambda s: s["status"] == "ready")
        back_at = floor_to(CLOCK.now(), 1)
        await CLOCK.sleep(22)
        before = read_truth(Path(plant["truth"]), Interval.lasting(killed_at - timedelta(seconds=10), 10))
        after = read_truth(Path(plant["truth"]), Interval.lasting(back_at, 20))
        assert max(means_kw(before)) <= limit_kw * (1 + OVER)
        assert max(means_kw(after)) <= limit_kw * (1 + OVER)

        await children.stop("agent")
        assert reduced(await get(plant["admin_port"], "/caps")) == 0
        # Much sooner than its dead-man would give it back.
        await until(plant["admin_port"], "/state", lambda s: s["battery_kw"] == 0.0, within_s=REVERT_AFTER_S / 3)


async def test_a_restart_after_the_event_gives_back_what_a_killed_agent_left(tmp_path: Path) -> None:
    async with Children(CLOCK) as children:
        plant = await start_plant(children, tmp_path / "plant")
        site = await until(plant["admin_port"], "/state", lambda s: "site_kw" in s)
        now = CLOCK.now()
        short = budget(site["nominal_site_kw"] * 0.85, now)
        end = now + timedelta(seconds=5)
        last = short.intervals[0].model_copy(update={"end": end})
        file = tmp_path / "budget.json"
        file.write_text(short.model_copy(update={"intervals": (last,), "not_after": end}).model_dump_json())

        await children.start(agent(tmp_path / "agent", plant, "--budget", str(file)))
        await until(plant["admin_port"], "/caps", reduced)
        await children.kill("agent")
        await CLOCK.sleep((end - CLOCK.now()).total_seconds())
        assert reduced(await get(plant["admin_port"], "/caps"))

        ready = await children.start(agent(tmp_path / "agent", plant, "--budget", str(file)))
        await until(plant["admin_port"], "/caps", lambda caps: not reduced(caps))
        await until(ready["admin_port"], "/status", lambda s: s["mode"] == "idle" and not s["caps_active"])


async def test_a_budget_of_another_site_is_refused_in_one_line(tmp_path: Path) -> None:
    async with Children(CLOCK) as children:
        plant = await start_plant(children, tmp_path / "plant")
        file = tmp_path / "budget.json"
        file.write_text(budget(5.0, CLOCK.now()).model_copy(update={"site_id": "b"}).model_dump_json())
        with pytest.raises(DemoError, match="is refused: it is for site b, this is a"):
            await children.start(agent(tmp_path / "agent", plant, "--budget", str(file)))
