"""One GPU of ours: what it takes, what it had, what we wrote, and how that is held against what it shows.

Every write of a limit is read back. A clock lock cannot be read, so it is held against the clock itself: one that
runs above its lock has lost it. A limit or lock that is not ours any more is due again, and told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from agent.errors import GpuError, GpuLimitError, GpuPermissionError, GpuTelemetryOnlyError, GpuTransientError
from agent.gpu.device import GpuDevice, GpuReading
from agent.gpu.energy import EnergyCounter

READ_BACK_WITHIN_W = 0.5
SAME_LIMIT_W = 0.001
"""NVML counts in mW: closer than this two limits are one."""
CLOCK_WITHIN_MHZ = 15.0
"""The step of an NVIDIA board's clocks."""
POWER_STANDS_S = 10.0
"""How long the last power of a GPU that cannot be read is taken for its power now."""

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Member:
    """A GPU that we hold down, or that has yet to get back what it had."""

    gpu: GpuDevice
    class_id: str | None
    """None for a GPU that no job runs on any more: it gets back what it had, nothing else."""
    prior_w: float | None
    """None for a GPU that takes no limit: it is read, never capped."""
    bounds_w: tuple[float, float] | None
    clock_bounds_mhz: tuple[float, float] | None
    """None for a GPU that takes no clock lock."""
    locked: bool
    """A clock lock of ours may be in force."""
    written_w: float | None = None
    """The limit that we last wrote and have not given back."""
    lock_mhz: float | None = None
    """The lock that we last wrote and have not given back."""
    unjournalled: bool = False
    """Changed in an emergency that the disk did not take: this process alone knows what it had."""
    reading: GpuReading | None = None
    """None until it was read, and again once it was not for a while."""
    read_s: float = 0.0
    """Monotonic time of the last reading."""
    unread: str = ""
    """Why it is not read now."""
    energy: EnergyCounter = field(default_factory=EnergyCounter)

    @property
    def uuid(self) -> str:
        return self.gpu.uuid

    # --- reading ----------------------------------------------------------------------------------------------

    def read(self, now_s: float) -> None:
        """Raises GpuError; what was read last is kept."""
        self.reading = self.gpu.read()
        self.energy.show(self.reading.energy_mj)
        self.read_s, self.unread = now_s, ""

    def not_read(self, error: GpuError, now_s: float) -> None:
        """Its last power stands for a while; then nobody knows what it draws."""
        if self.unread != str(error):
            self.unread = str(error)
            _log.warning("GPU not read", uuid=self.uuid, why=self.unread)
        if now_s - self.read_s > POWER_STANDS_S:
            self.reading = None

    # --- what it is held to -----------------------------------------------------------------------------------

    def inside_w(self, limit_w: float) -> float:
        """``limit_w`` within what the GPU takes."""
        low_w, high_w = self.bounds_w or (limit_w, limit_w)
        return min(high_w, max(low_w, limit_w))

    def cap_w(self, asked_w: float) -> float:
        """What an asked cap comes to: it never raises the limit the GPU had. Unit: W."""
        assert self.prior_w is not None
        return self.inside_w(min(asked_w, self.prior_w))

    def clock_mhz(self, asked_mhz: float) -> float:
        """What an asked clock comes to on a GPU that takes locks. Unit: MHz."""
        assert self.clock_bounds_mhz is not None
        low_mhz, high_mhz = self.clock_bounds_mhz
        return min(high_mhz, max(low_mhz, asked_mhz))

    def hold(self, cap_w: float) -> None:
        """Write a cap unless it is the one that we wrote last. Raises GpuError."""
        if self.written_w is None or abs(self.written_w - cap_w) > READ_BACK_WITHIN_W:
            self.set_limit(cap_w)

    def set_limit(self, limit_w: float) -> None:
        """Write and read back, twice at most. Raises GpuError."""
        for _ in range(2):
            self.write_unread(limit_w)
            read_w = self.gpu.limit_w()
            if abs(read_w - limit_w) <= READ_BACK_WITHIN_W:
                self.written_w = limit_w
                return
        raise GpuTransientError(
            f"asked for {limit_w:.0f} W, reads back {read_w:.0f} W: another process writes limits, find and stop it"
        )

    def write_unread(self, limit_w: float) -> None:
        """Write whatever is believed to be in force; ``read_back`` has to follow. Raises GpuError."""
        self.written_w = None
        self.gpu.set_limit_w(limit_w)

    def read_back(self, limit_w: float) -> None:
        """Set a limit again that is not in force. Raises GpuError."""
        if abs(self.gpu.limit_w() - limit_w) <= READ_BACK_WITHIN_W:
            self.written_w = limit_w
        else:
            self.set_limit(limit_w)

    def set_lock(self, high_mhz: float) -> None:
        """Raises GpuError; a GPU that refuses outright has no lock to give back, one that fails otherwise may have."""
        if self.lock_mhz == high_mhz:
            return
        was_locked, self.locked = self.locked, True
        try:
            self.gpu.lock_clocks_mhz(high_mhz)
        except (GpuTelemetryOnlyError, GpuPermissionError, GpuLimitError):
            self.locked = was_locked
            raise
        self.lock_mhz = high_mhz

    def unlock(self) -> None:
        """Raises GpuError."""
        if self.locked:
            self.gpu.unlock_clocks()
            self.locked, self.lock_mhz = False, None

    def give_back_limit(self, prior_w: float) -> None:
        """Write only what does not read back exactly: the last cap of a release may be close, and is not it.

        A GPU that cannot be read is written, which says why it fails. Raises GpuError.
        """
        limit_w = self.inside_w(prior_w)
        try:
            has_it = abs(self.gpu.limit_w() - limit_w) < SAME_LIMIT_W
        except GpuError:
            has_it = False
        if not has_it:
            self.set_limit(limit_w)

    # --- somebody else ----------------------------------------------------------------------------------------

    def overwritten(self) -> str | None:
        """Why what we wrote is not in force any more and is due again. Raises GpuError."""
        if self.written_w is not None:
            found_w, written_w = self.gpu.limit_w(), self.written_w
            if abs(found_w - written_w) > READ_BACK_WITHIN_W:
                self.written_w = None
                return (
                    f"{self.uuid}: {written_w:.0f} W were set, {found_w:.0f} W found and set again: "
                    "another process writes limits, or the driver was reloaded"
                )
        return self._unlocked() if self.lock_mhz is not None else None

    def _unlocked(self) -> str | None:
        lock_mhz, clock_mhz = self.lock_mhz, self.gpu.read().clock_mhz
        assert lock_mhz is not None
        if clock_mhz is None or clock_mhz <= lock_mhz + CLOCK_WITHIN_MHZ:
            return None
        self.lock_mhz = None
        return (
            f"{self.uuid}: locked to {lock_mhz:.0f} MHz, runs at {clock_mhz:.0f} MHz and is locked again: "
            "another process sets clocks, or the driver was reloaded"
        )

    def held_lower(self) -> str | None:
        """Says so when something out of band holds it below what software set. Raises GpuError."""
        if self.written_w is None:
            return None
        try:
            enforced_w = self.gpu.enforced_w()
        except GpuTelemetryOnlyError:
            return None
        if enforced_w > self.written_w - READ_BACK_WITHIN_W:
            return None
        return (
            f"{self.uuid}: {enforced_w:.0f} W are in force where {self.written_w:.0f} W were set: "
            "the chassis or its controller holds it lower"
        )


def found(gpu: GpuDevice, class_id: str | None, journalled_w: float | None, *, locked: bool) -> Member:
    """``journalled_w``: its limit before a process before this one touched it. Raises GpuError."""
    bounds_w, prior_w = gpu.bounds_w(), journalled_w
    if bounds_w is not None and prior_w is None:
        try:
            prior_w = gpu.limit_w()
        except GpuTelemetryOnlyError:
            prior_w = None
    return Member(
        gpu=gpu,
        class_id=class_id,
        prior_w=prior_w if bounds_w is not None else None,
        bounds_w=bounds_w,
        clock_bounds_mhz=gpu.clock_bounds_mhz(),
        locked=locked,
    )
