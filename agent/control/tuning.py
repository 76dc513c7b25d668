"""The control law's constants, in one place, each with its unit and reason; a site may set them in ``[control]``.

The defaults were chosen by closed-loop campaigns (tests/agent/control) with actuators that lag as real ones do:
caps 1-2 s, battery under 1 s, and a meter whose newest value is the mean of the last whole second.
"""

from __future__ import annotations

from pydantic import Field

from grid.process.config import Settings


class Tuning(Settings):
    """Constants of the loop."""

    battery_gain: float = Field(default=0.8, gt=0, le=1)
    """Share of the metered error the battery takes on each second."""
    midrange_per_s: float = Field(default=0.03, ge=0, le=0.2)
    """How fast caps take over what the battery carries away from its plan. Unit: 1/s."""
    gain_time_s: float = Field(default=20.0, gt=0)
    """Time constant of the learned gain of each class."""
    rest_time_s: float = Field(default=8.0, gt=0)
    """Time constant of the filter on what the meter reads besides GPUs and battery."""
    cap_lead_s: float = Field(default=2.0, ge=0, le=10)
    """How far ahead of a ramp caps are set: their lag."""
    meter_gain: float = Field(default=1.06, ge=1, le=2)
    """kW at the meter per kW of GPU power within seconds: losses follow at once, cooling only in minutes."""
    margin_min: float = Field(default=0.002, ge=0, le=0.05)
    margin_max: float = Field(default=0.004, ge=0, le=0.05)
    """Bounds of the margin kept below a limit, as shares of the baseline."""
    margin_in_doubt: float = Field(default=0.02, ge=0, le=0.2)
    """Kept besides while the meter is doubted, as a share of the baseline."""
    margin_of_noise: float = Field(default=0.3, ge=0)
    """The margin is this share of the measured noise, inside its bounds."""
    mean_correction_max: float = Field(default=0.01, ge=0, le=0.1)
    """How far the mean of the budget's interval may shift the target, as a share of the baseline."""
    minute_correction_max: float = Field(default=0.1, ge=0, le=0.3)
    """How far the mean of the current minute may shift the target, as a share of the baseline."""
    deadband: float = Field(default=0.02, ge=0, le=0.2)
    """A cap that moves less than this share waits for ``refresh_s``."""
    refresh_s: float = Field(default=10.0, ge=1)
    """After this long a cap is rewritten however little it moved."""
    rebound: float = Field(default=0.02, ge=0, le=0.2)
    """How far above the baseline the meter may go after release, as a share."""
    battery_hold_s: float = Field(default=900.0, gt=0)
    """The battery is offered at what it can hold this long."""
    soc_reserve_pct: float = Field(default=10.0, ge=0, le=100)
    """Charge the battery keeps for its site."""
    soc_max_pct: float = Field(default=95.0, ge=0, le=100)
    link_loss_s: float = Field(default=30.0, gt=0)
    """The link counts as lost after this long without it."""
    restore_grace_s: float = Field(default=30.0, ge=0)
    """Caps outlive a dead agent until this long after the event and its release."""
