"""What the GPUs of a class come to: the readings the loop steps on, and the telemetry beside them.

A GPU that takes no limit is of a class of its own beside its job's: its watts are seen and cannot be moved. One whose
power nobody knows is in neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from agent.control.readings import ClassReading
from agent.gpu.device import GpuReading, Hold
from agent.node.member import Member
from agent.node.port import ClassTelemetry
from grid.units import W_PER_KW

READ_ONLY = " (read only)"
"""What the class of a job's GPUs that take no limit is called."""
_MJ_PER_KWH = 3.6e9
_SLOWED = frozenset({Hold.HEAT, Hold.HARDWARE})

Read = tuple[Member, GpuReading]


def read_by_class(members: Sequence[Member]) -> Mapping[str, list[Read]]:
    """Those that were read, by class."""
    classes: dict[str, list[Read]] = {}
    for member in members:
        if member.class_id is not None and member.reading is not None:
            class_id = member.class_id if member.prior_w is not None else f"{member.class_id}{READ_ONLY}"
            classes.setdefault(class_id, []).append((member, member.reading))
    return classes


def reading(group: Sequence[Read]) -> ClassReading:
    return ClassReading(
        power_kw=sum(r.power_w for _, r in group) / W_PER_KW,
        instant_kw=sum(r.instant_w for _, r in group) / W_PER_KW,
        gpu_count=len(group),
        prior_w=max((m.prior_w for m, _ in group if m.prior_w is not None), default=None),
    )


def telemetry(group: Sequence[Read]) -> ClassTelemetry:
    used_mj = [m.energy.used_mj for m, _ in group]
    told = [r.utilisation for _, r in group if r.utilisation is not None]
    return ClassTelemetry(
        energy_kwh=None if None in used_mj else sum(mj for mj in used_mj if mj is not None) / _MJ_PER_KWH,
        utilisation=fmean(told) if told else None,
        capped=sum(Hold.POWER_CAP in r.held for _, r in group),
        slowed=sum(not _SLOWED.isdisjoint(r.held) for _, r in group),
        clock_bounds_mhz=_common([m.clock_bounds_mhz for m, _ in group]),
        models=frozenset(m.gpu.model for m, _ in group),
    )


def _common(bounds_mhz: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    """The range inside all of them."""
    known = [both for both in bounds_mhz if both is not None]
    if len(known) < len(bounds_mhz):
        return None
    low_mhz, high_mhz = max(low for low, _ in known), min(high for _, high in known)
    return (low_mhz, high_mhz) if low_mhz <= high_mhz else None
