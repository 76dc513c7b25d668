"""The plant as a whole: its truth log, its process, and the errors a person sees."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from agent.simulation.meter import MODEL
from agent.simulation.nvml.state import NvmlState
from agent.simulation.plant import Plant
from agent.simulation.service import Pace, TruthLog
from agent.workloads.jobs import Workloads
from grid.clock import SystemClock, VirtualClock
from tests.agent.simulation.conftest import RunPynvml, reference_site

START = datetime(2026, 3, 1, 12, 0, 0, 400_000, tzinfo=UTC)


def new_plant(folder: Path, clock: VirtualClock, **settings: Any) -> Plant:
    scenario = reference_site(**settings)
    state = NvmlState.create(folder / "gpus.state", scenario.uuids, scenario.gpu_model)
    return Plant(scenario, state, clock)


async def test_truth_is_one_row_per_whole_second(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    plant = new_plant(tmp_path, clock)
    file = io.StringIO()
    pace = Pace(plant, TruthLog(file, CollectorRegistry()), clock)
    running = asyncio.get_running_loop().create_task(pace.run())
    await clock.advance(10.7)
    plant.state.gpus["cap_mw"] = 200_000
    await clock.advance(20.0)
    assert pace.stale() is None
    running.cancel()
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    starts = [datetime.fromisoformat(row["t"]) for row in rows]
    assert starts == [START.replace(microsecond=0) + timedelta(seconds=1 + i) for i in range(30)]
    assert all(row["caps_kw"] == 0 for row in rows[:10])
    assert rows[-1]["caps_kw"] > 0.2 * rows[-1]["site_kw"]
    assert plant.meter.registers.get(MODEL, "W") / 1000 == pytest.approx(rows[-1]["site_kw"], rel=0.003)
    for row in rows:
        # What is not GPU: other IT, losses and cooling, less the battery (site = 1.2 IT, GPUs 70% of IT).
        rest = row["site_kw"] + row["battery_kw"] - row["gpu_kw"]
        assert 0.3 * plant.scenario.site_kw < rest < 0.5 * plant.scenario.site_kw
    assert pace.stale() is None
    await clock.advance(5.0)
    assert pace.stale() == "no second was completed for 5 s"


async def test_battery_power_comes_off_the_meter_and_not_off_the_caps(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    with_battery, without = (new_plant(tmp_path, clock) for _ in range(2))
    with_battery.battery.registers.put(704, "WSetEna", 1)
    with_battery.battery.registers.put(704, "WSet", 5000)
    pairs = [(with_battery.step(), without.step()) for _ in range(50)]
    discharging, resting = pairs[-1]
    assert discharging is not None
    assert resting is not None
    assert discharging.battery_kw == pytest.approx(5.0)
    assert resting.site_kw - discharging.site_kw == pytest.approx(5.0)
    assert discharging.caps_kw == resting.caps_kw == 0.0


async def test_gpu_state_carries_power_energy_and_losses(tmp_path: Path) -> None:
    plant = new_plant(tmp_path, VirtualClock(START), gpus_lost_per_hour=1.0)
    energy_kwh = 0.0
    for _ in range(1000):
        second = plant.step()
        if second is not None:
            energy_kwh += second.gpu_kw / 3600
    assert second is not None
    gpus = plant.state.gpus
    assert gpus["power_average_mw"].sum() / 1e6 == pytest.approx(second.gpu_kw, rel=1e-3)
    assert gpus["energy_mj"].sum() / 3.6e9 == pytest.approx(energy_kwh, rel=1e-3)
    assert 1 <= int(gpus["lost"].sum()) <= 20
    assert len(set(gpus["process_id"].tolist())) == len(plant.scenario.workloads.jobs)


def config(folder: Path, more: str = "") -> Path:
    path = folder / "plant.toml"
    path.write_text(f'site_id = "site-a"\nseed = 3\nstate_dir = "state"\ngpus_lost_per_hour = 0\n{more}', "utf-8")
    return path


def command(folder: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "grid.process.cli", "plant", "run"]
    return [*start, "--config", str(folder / "plant.toml"), "--ready-file", str(folder / "ready.json"), *more]


@asynccontextmanager
async def plant_process(folder: Path) -> AsyncIterator[dict[str, Any]]:
    clock = SystemClock()
    process = await asyncio.create_subprocess_exec(*command(folder))
    try:
        async with clock.timeout(30):
            while not (folder / "ready.json").exists():
                assert process.returncode is None
                await clock.sleep(0.05)
        yield json.loads((folder / "ready.json").read_text())
        process.send_signal(signal.SIGTERM)
        async with clock.timeout(10):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_process_serves_what_its_ready_file_says(tmp_path: Path, run_pynvml: RunPynvml) -> None:
    config(tmp_path)
    clock = SystemClock()
    async with plant_process(tmp_path) as ready, aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{ready['admin_port']}"
        assert (Path(ready["nvml_library_dir"]) / "libnvidia-ml.so.1").exists()
        jobs = Workloads.read(Path(ready["workloads"])).jobs
        begun = clock.now()
        capped = jobs[-1].gpu_uuids[0]
        await asyncio.to_thread(
            run_pynvml,
            Path(ready["nvml_state"]),
            f"nv.nvmlInit(); nv.nvmlDeviceSetPowerManagementLimit(nv.nvmlDeviceGetHandleByUUID({capped!r}), 150_000)",
        )
        async with http.get(f"{base}/writes?since={begun.isoformat()}") as answer:
            writes = await answer.json()
        assert [uuid for uuid, at in writes["gpus"].items() if at is not None] == [capped]
        assert begun <= datetime.fromisoformat(writes["gpus"][capped]) <= clock.now()
        assert writes["battery"] is None
        async with http.get(f"{base}/caps") as answer:
            caps = {row["uuid"]: row for row in await answer.json()}
        assert caps[capped] == {"uuid": capped, "cap_w": 150.0, "default_w": 400.0, "lost": False}
        assert sum(row["cap_w"] == 400.0 for row in caps.values()) == 255
        async with http.get(f"{base}/writes?since=lunchtime") as answer:
            assert answer.status == 400
        async with clock.timeout(10):
            while len(Path(ready["truth"]).read_text().splitlines()) < 2:
                await clock.sleep(0.1)
        async with http.get(f"{base}/state") as answer:
            state = await answer.json()
        assert state["site_id"] == "site-a"
        assert 100 < state["site_kw"] < 160
        assert 50 < state["gpu_kw"] < 100
        assert state["soc_pct"] == 50.0
        async with http.get(f"{base}/readyz") as answer:
            assert answer.status == 200
    rows = [json.loads(line) for line in Path(ready["truth"]).read_text().splitlines()]
    times = [datetime.fromisoformat(row["t"]) for row in rows]
    assert all(later - earlier == timedelta(seconds=1) for earlier, later in pairwise(times))
    assert all(time.microsecond == 0 for time in times)


@pytest.mark.parametrize(
    ("more", "environ", "code", "words"),
    [
        ("colour = 1\n", {}, 2, "unknown key"),
        ('arrivals_file = "none.csv"\n', {}, 7, "none.csv"),
        ("", {"CC": "no-such-compiler"}, 7, "set CC to one that runs"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    tmp_path: Path, more: str, environ: dict[str, str], code: int, words: str
) -> None:
    config(tmp_path, more)
    done = subprocess.run(command(tmp_path), env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert done.stderr.startswith("negawatt: ")
    assert words in done.stderr
    assert not (tmp_path / "ready.json").exists()


def test_a_taken_port_ends_the_process_with_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config(tmp_path, f"meter_port = {port}\n")
        done = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"negawatt: cannot serve Modbus on 127.0.0.1:{port}" in done.stderr.splitlines()[-1]
