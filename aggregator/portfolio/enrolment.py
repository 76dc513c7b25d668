"""An enrolment: one VEN identity at one VTN for one programme, covering sites as OpenADR resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from aggregator.portfolio.programme import Programme, read_programme, shipped
from grid.errors import ConfigError
from grid.process.config import FilePath, Settings
from ven.config import VenSettings


class ResourceSite(Settings):
    """The site behind one resource of the VEN."""

    resource_id: str = Field(min_length=1)
    site_id: str = Field(min_length=1)


class EnrolmentSettings(Settings):
    """``[[enrolments]]``."""

    programme: str | None = None
    """Name of a programme that is shipped; or"""
    programme_file: FilePath | None = None
    """a programme of your own."""
    resources: tuple[ResourceSite, ...] = Field(min_length=1)
    ven: VenSettings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.programme is None) == (self.programme_file is None):
            raise ValueError("set either programme (a shipped name) or programme_file")
        ours, theirs = {r.resource_id for r in self.resources}, {r.resource_id for r in self.ven.resources}
        if ours != theirs or len(ours) != len(self.resources):
            raise ValueError(
                f"resources must name each resource of [enrolments.ven] once: here {', '.join(sorted(ours))}; "
                f"there {', '.join(sorted(theirs))}"
            )
        site_ids = [r.site_id for r in self.resources]
        if len(set(site_ids)) != len(site_ids):
            raise ValueError("resources: two resources of one enrolment cannot be the same site")
        return self


class Enrolment:
    """An enrolment with its programme at hand."""

    def __init__(self, settings: EnrolmentSettings, programme: Programme) -> None:
        self.enrolment_id = settings.ven.enrolment_id
        self.programme = programme
        self.ven = settings.ven
        self.site_of = {r.resource_id: r.site_id for r in settings.resources}
        """site_id by resource_id."""

    @classmethod
    def open(cls, settings: EnrolmentSettings) -> Enrolment:
        """Read the programme. Raises ConfigError when it cannot be, or when the VEN would take other markets."""
        if settings.programme_file is not None:
            programme = read_programme(settings.programme_file)
        else:
            programme = shipped(settings.programme or "")
        ven, context = settings.ven, programme.market_context
        if ven.market_contexts and ven.market_contexts != (context,):
            raise ConfigError(
                f"enrolment {ven.enrolment_id}: market_contexts must be [{context!r}], its programme's, or left out"
            )
        if ven.default_opt is not programme.default_opt:
            raise ConfigError(
                f"enrolment {ven.enrolment_id}: default_opt must be {programme.default_opt}, as its programme says"
            )
        return cls(settings, programme)

    @property
    def site_ids(self) -> Sequence[str]:
        return tuple(self.site_of.values())

    def sites_named(self, resource_ids: Sequence[str]) -> Sequence[str] | None:
        """The sites an event's targets name; all of them when it names none; None when one is not ours."""
        if not resource_ids:
            return self.site_ids
        if not set(resource_ids) <= set(self.site_of):
            return None
        return tuple(self.site_of[r] for r in dict.fromkeys(resource_ids))


def refuse_double_sale(enrolments: Sequence[Enrolment]) -> None:
    """Raise ConfigError when two programmes that dispatch would sell the kW of one site."""
    seller: dict[str, Enrolment] = {}
    for enrolment in enrolments:
        if enrolment.programme.dispatch is None:
            continue
        for site_id in enrolment.site_ids:
            other = seller.setdefault(site_id, enrolment)
            if other is not enrolment:
                raise ConfigError(
                    f"site {site_id} would sell the same kW twice, in enrolments {other.enrolment_id} and "
                    f"{enrolment.enrolment_id}: take it out of one of them"
                )
