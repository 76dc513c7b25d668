"""When not to believe the meter, and what the loop may still do then.

Doubtful means: no reading for a few seconds, the same reading over and over, or one that differs from GPUs,
battery and the known rest by more than a share for a while. A reading that differs raises nothing from its first
second on, before it is doubted; one that shows more than the parts make is held to the limit, since that is safe
whether it is true or not. In doubt nothing is raised and nothing charged; after a minute the caps step down to the
staged table; trust returns after half a minute of agreement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.control.readings import Quality

STALE_S = 3.0
FROZEN_READINGS = 8
DISAGREE_SHARE = 0.05
DISAGREE_S = 8
STAGED_AFTER_S = 60.0
TRUST_AFTER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTrust:
    """Whether to act on the meter now."""

    trusted: bool
    alive: bool
    """There is a new reading, and it is not the same one over and over."""
    agrees: bool
    """It is alive and near what the parts make."""
    shows_more: bool
    """It is alive and far above what the parts make: to hold that to the limit raises nothing, true or not."""
    staged: bool
    """In doubt for so long that the staged table applies."""
    reason: str
    """Why not; empty when trusted."""

    @property
    def quality(self) -> Quality:
        return Quality.VALID if self.trusted else Quality.QUESTIONABLE

    @property
    def may_raise(self) -> bool:
        """Whether this reading is good enough to raise a cap or charge on."""
        return self.trusted and self.agrees


class MeterWatch:
    """Judges each second's reading."""

    def __init__(self) -> None:
        self._last_seen: datetime | None = None
        self._last_kw: float | None = None
        self._repeats = 0
        self._disagreements = 0
        self._doubted_since: datetime | None = None
        self._agreed_since: datetime | None = None
        self._reason = ""

    def judge(self, site_kw: float | None, expected_kw: float | None, now: datetime) -> MeterTrust:
        """``site_kw`` None: no fresh reading this second. ``expected_kw``: by sub-meters, None when unknown."""
        complaint = self._complaint(site_kw, expected_kw, now)
        if complaint:
            self._reason = complaint
            self._doubted_since = self._doubted_since or now
            self._agreed_since = None
        elif self._doubted_since is not None and site_kw is not None:
            self._agreed_since = self._agreed_since or now
            if now - self._agreed_since >= timedelta(seconds=TRUST_AFTER_S):
                self._doubted_since = self._agreed_since = None
                self._reason = ""
        staged = self._doubted_since is not None and now - self._doubted_since >= timedelta(seconds=STAGED_AFTER_S)
        alive = site_kw is not None and self._repeats < FROZEN_READINGS
        agrees = alive and self._disagreements == 0
        above = site_kw is not None and expected_kw is not None and site_kw > expected_kw
        return MeterTrust(
            trusted=self._doubted_since is None,
            alive=alive,
            agrees=agrees,
            shows_more=alive and not agrees and above,
            staged=staged,
            reason=self._reason,
        )

    def clock_stepped(self, by: timedelta) -> None:
        """The clock was set: doubt and agreement have lasted as long as before."""
        self._last_seen = self._last_seen and self._last_seen + by
        self._doubted_since = self._doubted_since and self._doubted_since + by
        self._agreed_since = self._agreed_since and self._agreed_since + by

    def _complaint(self, site_kw: float | None, expected_kw: float | None, now: datetime) -> str:
        if site_kw is None:
            self._last_seen = self._last_seen or now
            if now - self._last_seen < timedelta(seconds=STALE_S):
                return ""
            return "meter stale: it gives no new reading; check its link"
        self._last_seen = now
        self._repeats = self._repeats + 1 if site_kw == self._last_kw else 0
        self._last_kw = site_kw
        off = expected_kw is not None and abs(site_kw - expected_kw) > DISAGREE_SHARE * abs(expected_kw)
        self._disagreements = self._disagreements + 1 if off else 0
        if self._repeats >= FROZEN_READINGS:
            return "meter frozen: the same reading over and over; check it"
        if self._disagreements >= DISAGREE_S:
            return f"meter off: it reads {site_kw:.1f} kW where GPUs, battery and the rest make {expected_kw:.1f} kW"
        return ""
