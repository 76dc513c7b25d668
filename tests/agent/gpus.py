"""GPUs behind the agent's own protocol, in memory, that refuse what they are told to."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import GpuError
from agent.gpu.device import Found, GpuReading, Hold

DEFAULT_W = 400.0
LOW_MHZ, HIGH_MHZ = 210.0, 1410.0


class FakeGpu:
    """Takes 100 to 400 W and 210 to 1410 MHz; draws 300 W, or its limit."""

    def __init__(self, uuid: str, *, instances: tuple[str, ...] = ()) -> None:
        self.uuid = uuid
        self.model = "fake"
        self.instances = instances
        self.forgets = False
        self.limit = DEFAULT_W
        self.out_of_band: float = DEFAULT_W
        self.lock: float | None = None
        self.energy_mj: int | None = 0
        self.held: frozenset[Hold] = frozenset()
        self.refuses_bounds: GpuError | None = None
        self.refuses_read: GpuError | None = None
        self.refuses_limit_read: GpuError | None = None
        self.refuses_write: GpuError | None = None
        self.refuses_clocks: GpuError | None = None
        self.locks_clocks = True
        self.writes = 0

    def bounds_w(self) -> tuple[float, float]:
        if self.refuses_bounds is not None:
            raise self.refuses_bounds
        return 100.0, DEFAULT_W

    def clock_bounds_mhz(self) -> tuple[float, float] | None:
        return (LOW_MHZ, HIGH_MHZ) if self.locks_clocks else None

    def read(self) -> GpuReading:
        if self.refuses_read is not None:
            raise self.refuses_read
        power_w = min(300.0, self.limit)
        return GpuReading(
            power_w=power_w,
            instant_w=power_w,
            energy_mj=self.energy_mj,
            utilisation=0.5,
            clock_mhz=HIGH_MHZ if self.lock is None else self.lock,
            held=self.held,
        )

    def limit_w(self) -> float:
        if self.refuses_limit_read is not None:
            raise self.refuses_limit_read
        return self.limit

    def enforced_w(self) -> float:
        return min(self.limit, self.out_of_band)

    def set_limit_w(self, limit_w: float) -> None:
        if self.refuses_write is not None:
            raise self.refuses_write
        self.writes += 1
        self.limit = limit_w

    def lock_clocks_mhz(self, high_mhz: float) -> None:
        if self.refuses_clocks is not None:
            raise self.refuses_clocks
        self.lock = high_mhz

    def unlock_clocks(self) -> None:
        if self.refuses_clocks is not None:
            raise self.refuses_clocks
        self.lock = None


class FakeGpus:
    """Those that answer now."""

    def __init__(self, *gpus: FakeGpu) -> None:
        self.present: Sequence[FakeGpu] = gpus

    def devices(self) -> Found:
        return Found(devices=self.present, left_out={})

    def reopen(self) -> None:
        """There is no driver that could go."""
