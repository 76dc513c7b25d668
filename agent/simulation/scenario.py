"""What a simulated site consists of: its settings, and the reference site they default to.

The reference site is the one the benchmarks fix (PUE 1.2, GPUs 70% of IT power; 15% of the load Flex 0 with decode
among it, 15% Flex 1, 35% Flex 2, 35% Flex 3; battery 10% of site power for 15 minutes, half charged). Its jobs run
the published workloads (agent.workloads.curves) on GPUs with an A100's power limits. Prices spread within and across
tiers, so that every site's marginal cost curve is convex and the curves of several sites overlap.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from agent.simulation import shapes
from agent.simulation.nvml.state import GpuModel
from agent.workloads.curves import DECODE, PUBLISHED
from agent.workloads.jobs import FlexTier, Job, Workloads
from grid.process.config import FilePath, Settings
from grid.units import W_PER_KW

DECODE_POWER_W = 215.0
"""A GPU at full decode batch: below every cap worth setting (decode draws 137-300 W of 700 W). Unit: W."""


class JobSettings(Settings):
    """One job of the mix."""

    workload: str
    """A published workload, or ``decode``."""
    tier: FlexTier
    load_share: float = Field(gt=0, le=1)
    """Its share of the site's GPU power, uncapped; shares are scaled to add up to 1."""
    price_usd_per_gpu_hour: float = Field(gt=0)

    @field_validator("workload")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != DECODE and name not in PUBLISHED:
            raise ValueError(f"unknown workload {name}: use one of {', '.join((DECODE, *PUBLISHED))}")
        return name

    @property
    def follows_requests(self) -> bool:
        """Serving: load comes and goes with requests. Other inference is batch work with a full queue."""
        return self.workload == DECODE or (self.workload.startswith("infer") and self.tier <= FlexTier.FLEX_1)

    @property
    def trains(self) -> bool:
        """Pretraining and fine-tuning: synchronous steps with checkpoints."""
        return self.workload.startswith(("pt_", "ft_"))

    @property
    def high_shares(self) -> tuple[float, float]:
        """Of a training job's period: the range of the share spent computing."""
        pretrains = self.workload.startswith("pt_")
        return shapes.PRETRAINING_HIGH_SHARES if pretrains else shapes.FINE_TUNING_HIGH_SHARES


def _job(workload: str, tier: int, load_share: float, price: float) -> JobSettings:
    return JobSettings(workload=workload, tier=FlexTier(tier), load_share=load_share, price_usd_per_gpu_hour=price)


REFERENCE_MIX = (
    _job(DECODE, 0, 0.05, 3.5),
    _job(DECODE, 0, 0.04, 3.3),
    _job("pt_mpt_13b_lg", 0, 0.06, 3.2),
    _job("infer_llama_8b", 1, 0.05, 3.1),
    _job("infer_llama_8b", 1, 0.05, 2.8),
    _job("ft_llama_8b_dolly", 1, 0.05, 2.6),
    _job("infer_llama_8b", 2, 0.07, 2.5),
    _job("ft_llama_8b_p3", 2, 0.06, 2.3),
    _job("pt_mpt_13b_sm", 2, 0.05, 2.2),
    _job("ft_llama_8b_dolly", 2, 0.05, 2.1),
    _job("infer_llama_8b", 2, 0.07, 2.0),
    _job("pt_mpt_7b_fast", 2, 0.05, 1.9),
    _job("infer_llama_8b", 3, 0.08, 1.9),
    _job("ft_llama_8b_p3", 3, 0.07, 1.7),
    _job("pt_mpt_7b_fast", 3, 0.06, 1.5),
    _job("infer_llama_8b", 3, 0.08, 1.4),
    _job("pt_mpt_13b_sm", 3, 0.06, 1.2),
)


class BatterySettings(Settings):
    """The site's battery."""

    power_kw: float | None = Field(default=None, gt=0)
    """Rating both ways; 10% of the site's nominal power when left out."""
    minutes: float = Field(default=15.0, gt=0)
    """How long it lasts at its rating, from full to empty."""
    initial_soc: float = Field(default=0.5, ge=0, le=1)
    discharge_positive: bool = True
    """The sign of W, WSet and WSetPct. SunSpec says positive for discharge; some vendors do the opposite."""


class PlantSettings(Settings):
    """One simulated site."""

    site_id: str = Field(min_length=1)
    seed: int = Field(ge=0)
    """Everything random follows from it and the site's name."""
    state_dir: FilePath
    """Where the library, the GPUs' state, workloads.json and truth.jsonl go; made if need be."""
    gpus: int = Field(default=256, ge=1)
    jobs: tuple[JobSettings, ...] = Field(default=REFERENCE_MIX, min_length=1)
    pue: float = Field(default=1.2, ge=1.1)
    gpu_share_of_it: float = Field(default=0.7, gt=0, le=1)
    site_noise_sd: float = Field(default=0.0175, ge=0, le=0.1)
    """What the jobs' AR(1) noise amounts to at the meter, as a share of site power."""
    gpus_lost_per_hour: float = Field(default=0.01, ge=0, le=1)
    """Share of the GPUs."""
    meter_gain_sd: float = Field(default=0.0007, ge=0)
    """Gain error of the meter, drawn once; class 0.2 (IEC 62053-22) allows 0.002."""
    meter_noise_sd: float = Field(default=0.0002, ge=0)
    """Noise of a one-second mean, as a share of it."""
    arrivals_file: FilePath | None = None
    """Recorded requests (TIMESTAMP, ContextTokens, GeneratedTokens) for serving jobs; generated when left out."""
    battery: BatterySettings = BatterySettings()
    admin_port: int = Field(default=0, ge=0, le=65535)
    meter_port: int = Field(default=0, ge=0, le=65535)
    battery_port: int = Field(default=0, ge=0, le=65535)

    @model_validator(mode="after")
    def _enough_gpus(self) -> PlantSettings:
        if self.gpus < len(self.jobs):
            raise ValueError(f"{self.gpus} GPUs cannot run {len(self.jobs)} jobs: give each job one or more")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A site as it was built: which GPU runs what, and its nominal power."""

    settings: PlantSettings
    gpu_model: GpuModel
    uuids: tuple[str, ...]
    job_of_gpu: NDArray[np.intp]
    workloads: Workloads
    gpu_kw: float
    """Expected GPU power, uncapped."""

    @property
    def it_kw(self) -> float:
        return self.gpu_kw / self.settings.gpu_share_of_it

    @property
    def site_kw(self) -> float:
        """Expected power at the meter, uncapped."""
        return self.it_kw * self.settings.pue

    @property
    def battery_kw(self) -> float:
        return self.settings.battery.power_kw or 0.1 * self.site_kw

    def generator(self, purpose: str) -> np.random.Generator:
        """The random numbers for one purpose: the same for the same seed and site, whatever else is drawn."""
        return _generator(self.settings, purpose)


def build(settings: PlantSettings) -> Scenario:
    """Lay the jobs out over the site's GPUs."""
    expected_w = np.array([expected_power_w(job) for job in settings.jobs])
    counts = _gpu_counts(settings, expected_w)
    uuids = tuple(f"GPU-{uuid.uuid5(uuid.NAMESPACE_URL, f'{settings.site_id}/{i}')}" for i in range(settings.gpus))
    ends = np.concatenate(([0], np.cumsum(counts)))
    # One spread of a site's prices, so that no two sites ask the same for the same kind of work.
    spread = _generator(settings, "prices").uniform(0.9, 1.1, len(settings.jobs))
    jobs = tuple(
        Job(
            job_id=f"{settings.site_id}-{number:02d}-{job.workload}",
            workload=job.workload,
            tier=job.tier,
            price_usd_per_gpu_hour=round(job.price_usd_per_gpu_hour * float(spread[number]), 2),
            gpu_uuids=uuids[first:end],
        )
        for number, (job, (first, end)) in enumerate(zip(settings.jobs, pairwise(ends.tolist()), strict=True))
    )
    return Scenario(
        settings=settings,
        gpu_model=GpuModel(),
        uuids=uuids,
        job_of_gpu=np.repeat(np.arange(len(jobs)), counts),
        workloads=Workloads(jobs=jobs),
        gpu_kw=float(counts @ expected_w) / W_PER_KW,
    )


def published_power_w(job: JobSettings) -> float:
    """P0: power per GPU at full load, uncapped."""
    return DECODE_POWER_W if job.workload == DECODE else PUBLISHED[job.workload].max_power_w


def expected_power_w(job: JobSettings) -> float:
    """Mean power per GPU, uncapped, over steps, checkpoints and requests."""
    return published_power_w(job) * expected_level(job)


def expected_level(job: JobSettings) -> float:
    """Mean power as a share of P0."""
    if job.follows_requests:
        return shapes.serving_level(shapes.SERVING_LOAD)
    if job.trains:
        return shapes.training_level(job.high_shares)
    return shapes.BATCH_LEVEL


def _gpu_counts(settings: PlantSettings, expected_w: NDArray[np.float64]) -> NDArray[np.int64]:
    """GPUs per job: by load share over expected power, one at least, largest remainders first."""
    wanted = np.array([job.load_share for job in settings.jobs]) / expected_w
    exact = wanted / wanted.sum() * settings.gpus
    counts: NDArray[np.int64] = np.maximum(1, np.floor(exact)).astype(np.int64)
    while (short := settings.gpus - int(counts.sum())) != 0:
        gap = exact - counts
        if short > 0:
            counts[int(np.argmax(gap))] += 1
        else:
            counts[int(np.argmin(np.where(counts > 1, gap, np.inf)))] -= 1
    return counts


def _generator(settings: PlantSettings, purpose: str) -> np.random.Generator:
    words = f"{settings.site_id}/{purpose}".encode()
    return np.random.default_rng([settings.seed, *words])


def write_workloads(scenario: Scenario, path: Path) -> None:
    """What the site's workload manager would say is running."""
    path.write_text(scenario.workloads.model_dump_json(indent=1), "utf-8")
