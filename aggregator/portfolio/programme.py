"""A programme: the rules of one market product, as versioned data.

What is dispatched and how it is written on the wire, how long ramps take, which baseline pays, how money is
rounded: all of it is read from a TOML file and none of it is code. A rule set that could not be read at its source
says ``verified = false``, and whatever it produces says so too. Durations are in seconds.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from grid.errors import ConfigError
from grid.events import OptType
from grid.messages import OnLinkLoss
from grid.money import Rounding
from grid.process.config import Settings, load

_SHIPPED = files("aggregator.portfolio") / "programmes"


class DispatchRules(Settings):
    """How the programme dispatches."""

    signal_name: str = Field(min_length=1)
    """signalName of the OpenADR signal that carries the dispatch."""
    signal_type: Literal["delta"]
    """Its signalType; its value is a change against the baseline."""
    delta_sign: Literal[-1, 1]
    """kW of reduction = delta_sign * value: -1 where the utility writes a reduction as a negative delta."""
    min_notice_s: float = Field(ge=0)
    """An event first heard of later than this before its start is opted out of."""
    ramp_s: float = Field(ge=0)
    """From the event's start to the hold."""
    release_s: float = Field(ge=0)
    """From the end of the hold back to the baseline."""
    max_duration_s: float = Field(gt=0)
    """The longest active period; what an open-ended event runs at most."""
    on_link_loss: OnLinkLoss


class PerformanceStep(Settings):
    """Delivered over committed energy within ``[ratio_from, ratio_to)`` pays ``a + b * ratio`` of the commitment."""

    ratio_from: Decimal
    ratio_to: Decimal | None = None
    """None in the last step."""
    a: Decimal
    b: Decimal


class SettlementRules(Settings):
    """What pays, and how it is rounded."""

    baseline: Literal["meter_before"]
    """NAESB's meter before / meter after, the half before: the mean of the whole intervals before the start."""
    baseline_s: float = Field(gt=0)
    interval_s: float = Field(gt=0)
    """Energy and baseline are counted in whole intervals of this grid only."""
    price_usd_per_kwh: Decimal = Field(ge=0)
    performance: tuple[PerformanceStep, ...] = Field(min_length=1)
    """Ascending; a ratio below the first step pays nothing."""
    rounding: Rounding
    """Of the payment, once, to whole cents."""
    kw_places: int = Field(ge=0, le=9)
    kwh_places: int = Field(ge=0, le=9)
    lateness_s: float = Field(ge=0)
    """How long after the release missing telemetry is waited for."""

    @model_validator(mode="after")
    def _steps_follow(self) -> Self:
        if self.baseline_s % self.interval_s:
            raise ValueError("baseline_s must be a whole number of interval_s")
        for step, following in pairwise(self.performance):
            if step.ratio_to != following.ratio_from:
                raise ValueError("performance: each step must begin where the one before ends")
        if any(step.ratio_to is not None and step.ratio_to <= step.ratio_from for step in self.performance):
            raise ValueError("performance: ratio_to must be above ratio_from")
        return self


class Programme(Settings):
    """One market product's rules."""

    programme_id: str = Field(min_length=1)
    name: str
    market_context: str = Field(min_length=1)
    """The URI by which the utility's events name it."""
    source: str
    """Where the rules were read."""
    verified: bool
    """Whether a person checked them against that source."""
    valid_from: date
    """First day, UTC."""
    valid_to: date | None = None
    """First day on which it no longer holds, UTC."""
    default_opt: OptType
    """The answer when no decision comes in time."""
    stacking: Literal["exclusive"]
    """A kW sold here is sold nowhere else at the same time."""
    dispatch: DispatchRules | None = None
    """None: nothing is ever dispatched under it, and so no kW is sold."""
    settlement: SettlementRules | None = None

    @model_validator(mode="after")
    def _paid_as_dispatched(self) -> Self:
        if (self.dispatch is None) != (self.settlement is None):
            raise ValueError("a programme has both [dispatch] and [settlement], or neither")
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        return self

    def holds_on(self, day: date) -> bool:
        """Whether these rules are in force on a day (UTC)."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


def read_programme(path: Path) -> Programme:
    """Read a programme file. Raises ConfigError."""
    return load(path, Programme, environ={})


def shipped(name: str) -> Programme:
    """A programme that comes with Negawatt. Raises ConfigError for an unknown name."""
    names = sorted(entry.name.removesuffix(".toml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml"))
    if name not in names:
        raise ConfigError(f"no programme {name!r} is shipped: use one of {', '.join(names)}, or set programme_file")
    with as_file(_SHIPPED / f"{name}.toml") as path:
        return read_programme(path)
