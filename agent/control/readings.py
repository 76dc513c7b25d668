"""What the loop sees each second, and what it answers: plain values, in kW.

At the meter import is positive; battery power is positive for discharge. A reading that is missing is None: the
loop never sees a made-up number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from grid.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """The mean of one whole second at the meter."""

    site_kw: float
    covers: Interval
    check_kw: float | None = None
    """What a second meter showed of the same second; None without one."""
    from_check: bool = False
    """``site_kw`` is the second meter's, because the first gave nothing: good for control, not for settlement."""
    alarms: tuple[str, ...] = ()
    """What a person should look at, though there is a reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryReading:
    """The battery now."""

    power_kw: float
    """Discharge > 0."""
    soc_pct: float
    energy_kwh: float
    """What it holds when full."""
    max_discharge_kw: float
    max_charge_kw: float
    soc_min_pct: float = 0.0
    """Where its maker or its owner on site ends discharging; our own reserve is on top."""
    soc_max_pct: float = 100.0
    slew_kw_per_s: float = math.inf
    soh_pct: float | None = None
    alarms: tuple[str, ...] = ()
    """What it complains of, by SunSpec's names."""
    out_of_service: tuple[str, ...] = ()
    """Why it gives and takes nothing (its two limits are 0 then); empty when it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReading:
    """All GPUs of one job, together."""

    power_kw: float
    """Mean of the last second."""
    instant_kw: float
    """At this moment: over many seconds it shows the phases of a training step, which a mean blurs."""
    gpu_count: int
    """GPUs that answer and can be capped; a lost one is not among them."""
    prior_w: float | None
    """The limit they had before we touched them, the highest of the class. Per GPU; None when they take no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """One tick's view of the site."""

    meter: MeterReading | None
    battery: BatteryReading | None
    classes: Mapping[str, ClassReading]

    @property
    def gpu_kw(self) -> float:
        """All GPUs, as NVML says."""
        return sum(c.power_kw for c in self.classes.values())


class Quality(IntEnum):
    """ESPI quality codes the agent sets on telemetry."""

    VALID = 0
    QUESTIONABLE = 10
    """Read, but from a meter that was doubted then."""


class Mode(StrEnum):
    """What the loop is doing."""

    IDLE = "idle"
    EVENT = "event"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What to do this second."""

    mode: Mode
    caps_w: Mapping[str, float] | None
    """Cap per GPU of every class; None: no cap of ours may be in force."""
    battery_kw: float | None
    """Set-point, discharge > 0; None: the battery belongs to its own controller."""
    target_kw: float | None
    """What the meter is held to now (limit less margin); None without one."""
    baseline_kw: float | None
    """What the meter would read uncurtailed; None until it was seen for a while."""
    marginal_usd_per_kwh: float
    """The water level: what the dearest kWh given up now costs the site."""
    quality: Quality
    """Of this second's metered value."""
    alarms: tuple[str, ...]
