"""A simulated generator in fast motion, and the limits the tests run it by."""

from __future__ import annotations

from agent.generator.device import EngineState, GeneratorReading
from agent.generator.machine import GeneratorLimits
from agent.simulation.generator import Generator

LIMITS = GeneratorLimits(
    rating_kw=1000.0,
    min_load_share=0.3,
    ramp_kw_per_s=100.0,
    block_kw=400.0,
    block_pause_s=5.0,
    start_s=8.0,
    start_timeout_s=15.0,
    start_tries=3,
    retry_pause_s=10.0,
    min_up_s=60.0,
    cool_down_s=30.0,
)


def engine(**settings: float) -> Generator:
    return Generator(rating_kw=LIMITS.rating_kw, ramp_kw_per_s=200.0, **settings)  # type: ignore[arg-type]


def reading_of(plant: Generator) -> GeneratorReading:
    """What the driver would read, without the wire."""
    alarms = plant.registers.get("Alarms")
    return GeneratorReading(
        state=EngineState(plant.state),
        power_kw=plant.power_kw,
        rating_kw=LIMITS.rating_kw,
        remote_start=plant.in_automatic,
        run_s=plant.registers.get("RunTime"),
        alarms=("overcrank",) if alarms & 1 else ("low oil pressure",) if alarms & 2 else (),
    )
