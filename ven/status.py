"""How each VEN fares, for consoles and health checks: a snapshot, and the vital signs it is taken from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VenStatus:
    """One VEN now."""

    enrolment_id: str
    ven_name: str
    state: str
    """Of its session: see ``ven.session.State``."""
    registered: bool
    """We hold a registration that nobody withdrew."""
    ven_id: str | None
    vtn_id: str | None
    reports_offered: bool
    """The VTN has our report offer."""
    last_poll: datetime | None
    """When the VTN last answered a poll."""
    stale: bool
    """The last attempt failed, or none succeeded yet: what we know of the VTN may be old."""
    why: str | None
    """What went wrong and what to do, while stale."""
    answers_owed: int
    reports_owed: int


class Vitals:
    """What a session notes about itself as it goes."""

    def __init__(self) -> None:
        self.last_poll: datetime | None = None
        self.contact = False
        """Whether the last attempt reached the VTN and was taken."""
        self.why: str | None = None
        self.refusals = 0
        """How many attempts in a row the VTN refused."""

    def succeeded(self) -> None:
        """The VTN answered as it should."""
        self.contact = True
        self.why = None
        self.refusals = 0

    def failed(self, why: str, *, refused: bool) -> bool:
        """An attempt failed; returns whether the reason is news."""
        news = why != self.why
        self.contact = False
        self.why = why
        self.refusals = self.refusals + 1 if refused else 0
        return news
