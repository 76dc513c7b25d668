"""The plant process: builds the simulated site, serves it, and keeps it on the clock.

Steps lie on the monotonic clock from a whole UTC second on, so that rows of the truth log are whole UTC seconds. A
step that comes late is made up for at once and never skipped: the log has every second.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Gauge

from agent.simulation.admin import routes
from agent.simulation.load import STEP_S
from agent.simulation.modbus import ModbusDevice
from agent.simulation.nvml import library
from agent.simulation.nvml.state import NvmlState
from agent.simulation.plant import STEPS_PER_S, Plant
from agent.simulation.scenario import PlantSettings, build, write_workloads
from agent.simulation.site import SitePower
from grid.clock import Clock
from grid.intervals import ceil_to
from grid.process.health import AdminServer
from grid.process.running import write_ready_file

log = structlog.get_logger()

_STALE_S = 3.0


class TruthLog:
    """JSON lines of true one-second means, flushed line by line."""

    def __init__(self, file: TextIO, registry: CollectorRegistry) -> None:
        self._file = file
        self._power = Gauge("negawatt_plant_power_kw", "True power of the last second", ["part"], registry=registry)
        self.latest: dict[str, Any] | None = None

    def write(self, start: datetime, power: SitePower) -> None:
        """Append the second that began at ``start``."""
        values = {
            "site_kw": round(power.site_kw, 4),
            "gpu_kw": round(power.gpu_kw, 4),
            "battery_kw": round(power.battery_kw, 4),
            "caps_kw": round(power.caps_kw, 4),
        }
        self.latest = {"t": start.isoformat(), **values}
        self._file.write(json.dumps(self.latest) + "\n")
        self._file.flush()
        for part, kw in values.items():
            self._power.labels(part.removesuffix("_kw")).set(kw)


class Pace:
    """Calls a plant's steps when they are due."""

    def __init__(self, plant: Plant, truth: TruthLog, clock: Clock) -> None:
        self._plant = plant
        self._truth = truth
        self._clock = clock
        self._second_ended = clock.monotonic()

    def stale(self) -> str | None:
        """Readiness: whether seconds go by."""
        behind_s = self._clock.monotonic() - self._second_ended
        return None if behind_s < _STALE_S else f"no second was completed for {behind_s:.0f} s"

    async def run(self) -> None:
        """Step for ever, from the next whole UTC second on."""
        now = self._clock.now()
        first = ceil_to(now, 1.0)
        started = self._clock.monotonic() + (first - now).total_seconds()
        steps = 0
        while True:
            steps += 1
            await self._clock.sleep(started + steps * STEP_S - self._clock.monotonic())
            power = self._plant.step()
            if power is not None:
                self._second_ended = self._clock.monotonic()
                self._truth.write(first + timedelta(seconds=steps // STEPS_PER_S - 1), power)


async def run_plant(settings: PlantSettings, clock: Clock, ready_file: Path | None) -> None:
    """Build the site in its folder and run it until cancelled. Raises SimulationError, AddressInUseError."""
    folder = settings.state_dir
    folder.mkdir(parents=True, exist_ok=True)
    scenario = build(settings)
    nvml = library.build(folder / "nvml")
    state = NvmlState.create(folder / "gpus.state", scenario.uuids, scenario.gpu_model)
    write_workloads(scenario, folder / "workloads.json")
    plant = Plant(scenario, state, clock)
    registry = CollectorRegistry()
    with (folder / "truth.jsonl").open("a", encoding="utf-8") as file:
        truth = TruthLog(file, registry)
        pace = Pace(plant, truth, clock)
        async with (
            ModbusDevice(plant.meter.registers, port=settings.meter_port) as meter,
            ModbusDevice(plant.battery.registers, plant.battery.written, port=settings.battery_port) as battery,
            AdminServer(
                {"steps": pace.stale},
                registry,
                port=settings.admin_port,
                routes=routes(plant, lambda: truth.latest),
            ) as admin,
        ):
            write_ready_file(
                ready_file,
                admin_port=admin.port,
                meter_port=meter.port,
                battery_port=battery.port,
                nvml_library_dir=str(nvml.parent.resolve()),
                nvml_state=str(state.path.resolve()),
                workloads=str((folder / "workloads.json").resolve()),
                truth=str((folder / "truth.jsonl").resolve()),
            )
            log.info("plant serves", seed=settings.seed, gpus=settings.gpus, nominal_kw=round(scenario.site_kw, 1))
            await pace.run()
