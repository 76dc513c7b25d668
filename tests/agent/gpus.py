"""GPUs behind the agent's own protocol, in memory, that refuse what they are told to."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import GpuError
from agent.gpu.device import Found

DEFAULT_W = 400.0


class FakeGpu:
    """Takes 100 to 400 W; draws 300 W, or its limit."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.limit = DEFAULT_W
        self.refuses_bounds: GpuError | None = None
        self.refuses_read: GpuError | None = None
        self.refuses_limit_read: GpuError | None = None
        self.refuses_write: GpuError | None = None
        self.writes = 0

    def bounds_w(self) -> tuple[float, float]:
        if self.refuses_bounds is not None:
            raise self.refuses_bounds
        return 100.0, DEFAULT_W

    def power_w(self) -> float:
        if self.refuses_read is not None:
            raise self.refuses_read
        return min(300.0, self.limit)

    def instant_w(self) -> float:
        return self.power_w()

    def limit_w(self) -> float:
        if self.refuses_limit_read is not None:
            raise self.refuses_limit_read
        return self.limit

    def set_limit_w(self, limit_w: float) -> float:
        if self.refuses_write is not None:
            raise self.refuses_write
        self.writes += 1
        self.limit = limit_w
        return limit_w


class FakeGpus:
    """Those that answer now."""

    def __init__(self, *gpus: FakeGpu) -> None:
        self.present: Sequence[FakeGpu] = gpus

    def devices(self) -> Found:
        return Found(devices=self.present, left_out={})

    def reopen(self) -> None:
        """There is no driver that could go."""
