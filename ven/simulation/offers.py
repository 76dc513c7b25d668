"""What a VEN offers to report, out of the metadata it registered."""

from __future__ import annotations

from dataclasses import dataclass

from grid.errors import UnitError
from grid.units import SECONDS_PER_HOUR, power_kw
from ven.wire.report import TELEMETRY_USAGE, RegisterReport, Report, ReportDescription

REAL_POWER = "powerReal"
REAL_ENERGY = "energyReal"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedRid:
    """One rID of one report."""

    specifier_id: str
    report_name: str
    """Without METADATA_."""
    description: ReportDescription

    @property
    def rid(self) -> str:
        return self.description.rid

    @property
    def measure_name(self) -> str | None:
        return None if self.description.measure is None else self.description.measure.name

    @property
    def resource_id(self) -> str:
        """The resource it is about; the rID where none is named."""
        for target in (self.description.data_source, self.description.subject):
            if target is not None and target.resource_ids:
                return target.resource_ids[0]
        return self.rid

    def can_sample_every(self, seconds: float) -> bool:
        sampling = self.description.sampling
        return sampling is None or sampling.min_period_s <= seconds <= sampling.max_period_s

    def kw(self, value: float, duration_s: float | None) -> float | None:
        """Mean power; None where the rID is neither power nor energy in units we read."""
        measure = self.description.measure
        if measure is None:
            return None
        try:
            if measure.name == REAL_POWER:
                return power_kw(value, units=measure.units, si_scale=measure.si_scale)
            if measure.name == REAL_ENERGY and measure.units == "Wh" and duration_s:
                return power_kw(value, units="W", si_scale=measure.si_scale) * SECONDS_PER_HOUR / duration_s
        except UnitError:
            return None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Everything one VEN can report."""

    rids: tuple[OfferedRid, ...] = ()

    @classmethod
    def of(cls, message: RegisterReport) -> Offer:
        return cls(rids=tuple(rid for report in message.reports for rid in _rids(report)))

    def find(self, specifier_id: str, rid: str) -> OfferedRid | None:
        for one in self.rids:
            if (one.specifier_id, one.rid) == (specifier_id, rid):
                return one
        return None

    def telemetry(self, interval_s: float) -> tuple[OfferedRid, ...]:
        """Power and energy that can be had every ``interval_s``."""
        return tuple(
            one
            for one in self.rids
            if one.report_name == TELEMETRY_USAGE
            and one.measure_name in (REAL_POWER, REAL_ENERGY)
            and one.can_sample_every(interval_s)
        )

    def resources(self, interval_s: float) -> dict[str, str]:
        """Resource by rID, one rID a resource: its power, or else its energy."""
        by_resource: dict[str, OfferedRid] = {}
        for one in self.telemetry(interval_s):
            held = by_resource.get(one.resource_id)
            if held is None or (held.measure_name != REAL_POWER and one.measure_name == REAL_POWER):
                by_resource[one.resource_id] = one
        return {one.rid: resource_id for resource_id, one in by_resource.items()}


def _rids(report: Report) -> list[OfferedRid]:
    name = (report.name or TELEMETRY_USAGE).removeprefix("METADATA_")
    return [
        OfferedRid(specifier_id=report.specifier_id, report_name=name, description=description)
        for description in report.descriptions
    ]
