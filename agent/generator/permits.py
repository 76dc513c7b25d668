"""What an engine may run for: its permit's hours, by purpose, over any 365 days.

An emergency-class engine runs without limit while the utility's supply is lost, some hours for tests, and never for
money: market demand response is refused whatever hours are left (40 CFR 63.6640(f) and 60.4211(f); the hours they once
gave to demand response were vacated in Delaware v. EPA, 2015). Hours of a run that nobody asked for count against
every limit, since they may have been any. A rolling year is never laxer than a calendar year. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

WINDOW = timedelta(days=365)


class EngineClass(StrEnum):
    """As the permit has it."""

    EMERGENCY = "emergency"
    NON_EMERGENCY = "non_emergency"


class Purpose(StrEnum):
    """What a run is for."""

    OUTAGE = "outage"
    """The utility's supply is lost."""
    TEST = "test"
    """Maintenance and readiness."""
    EMERGENCY_ORDER = "emergency_order"
    """A grid operator's or a government's order in an emergency of the grid."""
    MARKET = "market"
    """Demand response or any other sale."""
    UNASKED = "unasked"
    """It ran, and nobody had asked it to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """One engine's permit."""

    number: str
    engine_class: EngineClass
    hours_per_year: Mapping[Purpose, float] = field(default_factory=dict)
    """By purpose. Without an entry: an outage is unlimited, other purposes are not permitted to an emergency engine
    and unlimited for another one."""
    total_hours_per_year: float | None = None
    """Of all purposes together, outages among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """It may run."""

    hours_left: float
    """For this purpose, from now on; may be infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It may not."""

    why: str


def judge(permit: Permit, purpose: Purpose, used_h: Mapping[Purpose, float], wanted_h: float) -> Allowed | Refused:
    """Whether ``wanted_h`` more for this purpose are permitted; ``used_h`` is what it ran over the last WINDOW."""
    if purpose is Purpose.MARKET and permit.engine_class is EngineClass.EMERGENCY:
        return Refused(
            why=f"permit {permit.number} is for an emergency engine: it may not serve market demand response"
        )
    limit_h = permit.hours_per_year.get(purpose)
    if limit_h is None and permit.engine_class is EngineClass.EMERGENCY and purpose is not Purpose.OUTAGE:
        return Refused(why=f"permit {permit.number} gives no hours for {_name(purpose)}")
    unasked_h = used_h.get(Purpose.UNASKED, 0.0)
    left_h = float("inf") if limit_h is None else limit_h - used_h.get(purpose, 0.0) - unasked_h
    if permit.total_hours_per_year is not None:
        left_h = min(left_h, permit.total_hours_per_year - sum(used_h.values()))
    if left_h < wanted_h or left_h <= 0:
        return Refused(
            why=f"permit {permit.number} has {max(0.0, left_h):.1f} h left for {_name(purpose)} in any 365 days, "
            f"and {wanted_h:.1f} h are wanted"
        )
    return Allowed(hours_left=left_h)


def _name(purpose: Purpose) -> str:
    return purpose.value.replace("_", " ")
