"""What runs on a site's GPUs, as its workload manager says.

A job is the unit of control: all of its GPUs are capped alike, since the ranks of a synchronous job wait for the
slowest. Its flex tier bounds the throughput it may lose (Phoenix field test, arXiv 2507.00909).
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grid.errors import ConfigError


class FlexTier(IntEnum):
    """How much of its throughput a job may lose."""

    FLEX_0 = 0
    FLEX_1 = 1
    FLEX_2 = 2
    FLEX_3 = 3

    @property
    def floor(self) -> float:
        """The least mean throughput its users agreed to, as a share of uncapped."""
        return (1.0, 0.9, 0.75, 0.5)[self.value]


class Job(BaseModel):
    """One job, which is also one cap class."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: str
    workload: str
    """A name agent.workloads.curves knows, or DECODE."""
    tier: FlexTier
    price_usd_per_gpu_hour: float = Field(default=2.0, gt=0)
    """What an hour of one GPU at full throughput is worth to the site."""
    gpu_uuids: tuple[str, ...] = Field(min_length=1)


class Workloads(BaseModel):
    """Everything that runs now; no GPU belongs to two jobs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    jobs: tuple[Job, ...]

    @classmethod
    def read(cls, path: Path) -> Workloads:
        """Read the workload manager's file. Raises ConfigError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ConfigError(f"cannot read the workloads in {path}: {error}") from error
