"""One simulated site, step by step: GPUs, battery and building, and the truth about their power.

A step reads the limits in force from the GPUs' state file, lets everything go on by STEP_S and writes back what the
GPUs draw; the plant is the only writer of power. Ten steps make a second, which is what the truth log and the meter
hold. The plant knows no time but its own steps: who calls it keeps them on the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from agent.simulation.arrivals import serving_load
from agent.simulation.battery import Battery
from agent.simulation.load import STEP_S, GpuLoad
from agent.simulation.meter import Meter
from agent.simulation.nvml.state import NvmlState
from agent.simulation.scenario import Scenario
from agent.simulation.site import Site, SitePower
from grid.clock import Clock
from grid.units import W_PER_KW

STEPS_PER_S = round(1.0 / STEP_S)

_FIRST_PROCESS_ID = 20_000
_MEMORY_USED = 0.8
_SW_POWER_CAP = 4
"""Bit of NVML's clocks event reasons."""
_AT_CAP = 0.93
"""A GPU that draws this share of its cap is held back by it (GPUs under a cap average 0.95 to 0.98 of it)."""
_AMBIENT_C, _C_PER_W = 28.0, 0.1


class Plant:
    """A site's physics around its GPUs' state file."""

    def __init__(self, scenario: Scenario, state: NvmlState, clock: Clock) -> None:
        self.scenario = scenario
        self.state = state
        self.battery = Battery(scenario, clock)
        self.meter = Meter(scenario)
        self._load = GpuLoad(scenario, serving_load(scenario))
        self._site = Site(scenario)
        count = len(scenario.uuids)
        self._last_second_w = np.full((STEPS_PER_S, count), scenario.gpu_model.idle_w)
        self._energy_mj = np.zeros(count)
        self._driver_loads = state.loads
        state.gpus["process_id"] = _FIRST_PROCESS_ID + scenario.job_of_gpu
        state.gpus["memory_used_bytes"] = round(_MEMORY_USED * scenario.gpu_model.memory_bytes)

        self._steps: list[SitePower] = []

    def step(self) -> SitePower | None:
        """Go on by STEP_S; returns the true means of a second when the step completes one."""
        gpus = self.state.gpus
        draw = self._load.step(self.state.enforced_w(), gpus["lock_max_mhz"].astype(np.float64))
        self._last_second_w[len(self._steps)] = draw.power_w
        self._energy_mj += draw.power_w * STEP_S * 1000.0
        if self.state.loads != self._driver_loads:
            self._driver_loads = self.state.loads
            self._energy_mj[:] = 0.0
        gpus["power_instant_mw"] = draw.power_w * 1000.0
        gpus["throughput_ppm"] = draw.throughput * 1e6
        gpus["power_average_mw"] = self._last_second_w.mean(axis=0) * 1000.0
        gpus["energy_mj"] = self._energy_mj
        self._steps.append(
            self._site.step(
                float(draw.power_w.sum()) / W_PER_KW,
                float(draw.uncapped_w.sum()) / W_PER_KW,
                self.battery.step(STEP_S),
            )
        )
        return self._end_second() if len(self._steps) == STEPS_PER_S else None

    def _end_second(self) -> SitePower:
        second = mean_power(self._steps)
        self._steps.clear()
        self.meter.show(second.site_kw)
        self._show_conditions()
        return second

    def _show_conditions(self) -> None:
        """What nobody controls by: once a second is often enough."""
        gpus, model = self.state.gpus, self.scenario.gpu_model
        power_w = gpus["power_average_mw"] / 1000.0
        gpus["lost"] = self._load.lost
        gpus["temperature_c"] = _AMBIENT_C + _C_PER_W * power_w
        gpus["utilization_pct"] = np.clip(100.0 * self._load.level, 0.0, 100.0)
        gpus["clock_mhz"] = np.where(gpus["lock_max_mhz"] > 0, gpus["lock_max_mhz"], model.max_clock_mhz)
        gpus["event_reasons"] = np.where(power_w >= _AT_CAP * self.state.enforced_w(), _SW_POWER_CAP, 0)


def mean_power(steps: Sequence[SitePower]) -> SitePower:
    """The mean of equally long steps."""
    return SitePower(
        site_kw=fmean(step.site_kw for step in steps),
        gpu_kw=fmean(step.gpu_kw for step in steps),
        battery_kw=fmean(step.battery_kw for step in steps),
        caps_kw=fmean(step.caps_kw for step in steps),
    )
