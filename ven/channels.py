"""What a VEN can report, by report and rID: metadata and the values behind it (EiReport, reportName and rID).

One resource has a channel in each report we offer. Power and energy are the same measurement in two units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ven.config import ReportName, VenSettings
from ven.wire.common import KILOWATT, Measure, Target
from ven.wire.report import METADATA, Report, ReportDescription, SamplingRate

SPECIFIERS = {
    "telemetry-usage": ReportName.TELEMETRY_USAGE,
    "telemetry-status": ReportName.TELEMETRY_STATUS,
    "history-usage": ReportName.HISTORY_USAGE,
    "history-greenbutton": ReportName.HISTORY_GREENBUTTON,
}
"""Our reportSpecifierIDs."""

KILOWATT_HOUR = Measure(name="energyReal", units="Wh", si_scale="k")


class Quantity(StrEnum):
    """What a channel carries."""

    POWER = "power"
    ENERGY = "energy"
    STATUS = "status"
    GREEN_BUTTON = "green_button"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One rID."""

    rid: str
    resource_id: str
    quantity: Quantity


def channels(settings: VenSettings) -> Mapping[str, Sequence[Channel]]:
    """The channels of each report we offer, by reportSpecifierID."""
    return {
        specifier_id: tuple(_channels(settings, name))
        for specifier_id, name in SPECIFIERS.items()
        if name in settings.reports
    }


def _channels(settings: VenSettings, name: ReportName) -> list[Channel]:
    quantity, suffix = {
        ReportName.TELEMETRY_USAGE: (Quantity.POWER, ""),
        ReportName.TELEMETRY_STATUS: (Quantity.STATUS, "-status"),
        ReportName.HISTORY_USAGE: (Quantity.POWER, "-history"),
        ReportName.HISTORY_GREENBUTTON: (Quantity.GREEN_BUTTON, "-greenbutton"),
    }[name]
    found = []
    for resource in settings.resources:
        found.append(Channel(rid=f"{resource.rid}{suffix}", resource_id=resource.resource_id, quantity=quantity))
        if resource.energy and quantity is Quantity.POWER:
            found.append(
                Channel(
                    rid=f"{resource.rid}{suffix}-energy", resource_id=resource.resource_id, quantity=Quantity.ENERGY
                )
            )
    return found


def metadata(settings: VenSettings, at: datetime) -> tuple[Report, ...]:
    """What we can report, as the reports of an oadrRegisterReport."""
    sampling = SamplingRate(
        min_period_s=math.ceil(settings.report_granularity_min_s),
        max_period_s=math.floor(settings.report_granularity_max_s),
    )
    return tuple(
        Report(
            specifier_id=specifier_id,
            request_id="0",
            created_at=at,
            name=f"{METADATA}_{SPECIFIERS[specifier_id]}",
            descriptions=tuple(_description(channel, settings, sampling) for channel in offered),
        )
        for specifier_id, offered in channels(settings).items()
    )


def _description(channel: Channel, settings: VenSettings, sampling: SamplingRate) -> ReportDescription:
    report_type, reading_type, measure = {
        Quantity.POWER: ("usage", "Mean", KILOWATT),
        Quantity.ENERGY: ("usage", "Direct Read", KILOWATT_HOUR),
        Quantity.STATUS: ("x-resourceStatus", "x-notApplicable", None),
        Quantity.GREEN_BUTTON: ("usage", "Direct Read", None),
    }[channel.quantity]
    contexts = settings.market_contexts
    return ReportDescription(
        rid=channel.rid,
        report_type=report_type,
        reading_type=reading_type,
        measure=measure,
        data_source=Target(resource_ids=(channel.resource_id,)),
        market_context=contexts[0] if len(contexts) == 1 else None,
        sampling=sampling,
    )
