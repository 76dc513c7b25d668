"""The simulated site's own equations, stepped without processes, ports or clocks, for closed-loop campaigns.

GPU demand, true curves, noise, losses and cooling are agent.simulation's (the design's realistic noise). What the
loop sees is what a site shows it: the meter's mean of the last whole second, NVML's mean of the last second, the
battery now. The battery here is first-order with a slew limit, so that its speed can be varied.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from agent.control.readings import BatteryReading, ClassReading, MeterReading, Readings
from agent.simulation.arrivals import ServingLoad, generated
from agent.simulation.load import GpuLoad
from agent.simulation.scenario import PlantSettings, build
from agent.simulation.site import Site
from grid.intervals import Interval

SUBSTEPS = 10
TICK_SUBSTEP = 3
"""The agent's tick comes 0.3 s into a second."""


class Plant:
    """Truth of one site. Power in kW."""

    def __init__(
        self, *, seed: int, start: datetime, with_battery: bool = True, battery_time_s: float = 0.3, gpus: int = 256
    ) -> None:
        settings = PlantSettings(site_id="site-1", seed=seed, state_dir=Path(), gpus=gpus)
        scenario = build(settings)
        self.jobs = scenario.workloads.jobs
        self.default_w = scenario.gpu_model.max_limit_w
        self.battery_max_kw = scenario.battery_kw if with_battery else 0.0
        self._with_battery = with_battery
        self._battery_time_s = battery_time_s
        self._energy_kwh = scenario.battery_kw * 0.25
        self._job = scenario.job_of_gpu
        rng = np.random.default_rng(seed)
        self._load = GpuLoad(scenario, ServingLoad(generated(6.0, rng), rng))
        self._site = Site(scenario)
        self._start = start
        self._steps = 0
        self._caps_w = np.full(gpus, self.default_w)
        self._battery_kw = self._battery_set_kw = 0.0
        self._soc = 0.5
        self._window: list[np.ndarray] = []
        self._second: list[tuple[float, float, float]] = []
        self.log: list[tuple[float, float, float]] = []
        """Mean of each whole second: site, battery, and what caps took at the meter."""

    @property
    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._steps / SUBSTEPS)

    def run_to_tick(self) -> Readings:
        """Advance to the next tick and return what the agent sees there."""
        self._substep()
        while self._steps % SUBSTEPS != TICK_SUBSTEP:
            self._substep()
        watts = np.bincount(self._job, weights=np.mean(self._window, axis=0))
        instant_w = np.bincount(self._job, weights=self._window[-1])
        counts = np.bincount(self._job)
        meter = None
        if self.log:
            covers = Interval.lasting(self._start + timedelta(seconds=len(self.log) - 1), 1.0)
            meter = MeterReading(site_kw=self.log[-1][0], covers=covers)
        return Readings(
            meter=meter,
            battery=self._battery_reading() if self._with_battery else None,
            classes={
                job.job_id: ClassReading(
                    power_kw=float(w) / 1000, instant_kw=float(i) / 1000, gpu_count=int(n), prior_w=self.default_w
                )
                for job, w, i, n in zip(self.jobs, watts, instant_w, counts, strict=True)
            },
        )

    def act(self, caps_w: Mapping[str, float] | None, battery_kw: float | None) -> None:
        per_job = [self.default_w if caps_w is None else caps_w[job.job_id] for job in self.jobs]
        self._caps_w = np.array(per_job)[self._job]
        self._battery_set_kw = battery_kw or 0.0

    def _battery_reading(self) -> BatteryReading:
        return BatteryReading(
            power_kw=self._battery_kw,
            soc_pct=self._soc * 100,
            energy_kwh=self._energy_kwh,
            max_discharge_kw=self.battery_max_kw,
            max_charge_kw=self.battery_max_kw,
        )

    def _substep(self) -> None:
        dt = 1 / SUBSTEPS
        draw = self._load.step(self._caps_w, np.zeros_like(self._caps_w))
        most_kw = self.battery_max_kw * dt / 0.5
        wanted_kw = (self._battery_set_kw - self._battery_kw) * min(1.0, dt / self._battery_time_s)
        self._battery_kw += float(np.clip(wanted_kw, -most_kw, most_kw))
        self._soc -= self._battery_kw * dt / 3600 / self._energy_kwh
        gpu_kw, uncapped_kw = float(draw.power_w.sum()) / 1000, float(draw.uncapped_w.sum()) / 1000
        site = self._site.step(gpu_kw, uncapped_kw, self._battery_kw)
        self._second.append((site.site_kw, site.battery_kw, site.caps_kw))
        self._window = [*self._window[1 - SUBSTEPS :], draw.power_w]
        self._steps += 1
        if len(self._second) == SUBSTEPS:
            site_kw, battery_kw, caps_kw = np.array(self._second).mean(axis=0)
            self.log.append((float(site_kw), float(battery_kw), float(caps_kw)))
            self._second = []
