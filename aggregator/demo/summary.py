"""The demo's summary: a contract for machines, and the verdict that decides its exit code.

Every figure says who counted it: the plant (truth at the meter, state of the GPU library), the utility (from the
reports it received) or the aggregator (its statement). The site figures are simulated. docs/demo.md lists the fields.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

MIN_REGISTRATIONS = 3
DELIVERED_SHARE = (0.98, 1.05)
"""Of the requested kWh, by the utility's count."""
STATEMENT_AGREES_WITHIN = 0.01
MAX_TRACKING_RMSE_PCT = 2.0
MIN_CAPS_SHARE = 0.80
MIN_SITE_SHARE = 0.10
"""Each site gives at least this share of the portfolio's reduction."""
MAX_RESTING_KW = 0.1
"""A battery below it rests."""

Figure = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""Exact here, a number in JSON."""


class _Summary(BaseModel):
    model_config = ConfigDict(frozen=True)


class SiteSummary(_Summary):
    """One site over the hold, by its plant's log. None: there was no accepted budget to measure it by."""

    site_id: str
    status: Literal["ok", "lost"]
    baseline_kw: float | None
    limit_kw: float | None
    mean_kw: float
    tracking_rmse_pct: float | None
    seconds_over_limit: int | None
    reduction_share: float | None
    """Of the portfolio's reduction."""
    caps_share: float | None
    """Of what caps and battery took off the meter; None where the site is lost or they took nothing."""
    response_s: float | None
    settle_s: float | None
    caps_restored: bool
    utility_missing: tuple[datetime, ...]
    """Starts of the expected intervals the utility did not receive."""
    statement_missing: tuple[datetime, ...]
    """Starts of the intervals of the hold the statement lists as missing."""


class OutageSummary(_Summary):
    """What the killed agent's site could not do."""

    site_id: str
    killed_at: datetime
    restarted_at: datetime
    dead_intervals: tuple[datetime, ...]
    """Starts of the intervals that must be missing."""
    doubtful_intervals: tuple[datetime, ...]
    """Starts of those that may be: their last second may have died with the agent."""
    battery_kw: float | None
    """The most the battery moved after its dead-man, until the restart; None when the restart came first."""


class SettlementSummary(_Summary):
    """The aggregator's statement for the event."""

    committed_kwh: Figure
    delivered_kwh: Figure
    payment_usd: Figure
    programme_verified: bool = False
    """Whether a person checked the programme's rules, by which it is paid, against their source."""


class AuditSummary(_Summary):
    """The exported chain, verified by ``negawatt audit verify`` in a process of its own."""

    entries: int
    verified: bool
    why: str | None = None
    """What the verifier said of a chain that does not verify."""


class Summary(_Summary):
    """What one demo event came to."""

    registrations: int
    opt: str
    requested_kw: float
    requested_kwh: float
    """Over the hold."""
    simulated: Literal[True] = True
    seed: int
    dtstart: datetime
    hold_start: datetime
    hold_end: datetime
    release_end: datetime
    sites: tuple[SiteSummary, ...]
    outage: OutageSummary | None
    """None unless an agent was killed."""
    utility_intervals_received: int
    utility_intervals_expected: int
    utility_delivered_kwh: float
    settlement: SettlementSummary | None
    """None when the event was not settled in time."""
    audit: AuditSummary

    def shortcomings(self) -> list[str]:
        """Why this run does not count as a success; empty when it does.

        With a site lost (killed on purpose), what only a whole portfolio can do is not asked of the others.
        """
        return [
            *self._protocol(),
            *(line for site in self.sites for line in _site(site)),
            *(line for site in self.sites for line in self._intervals(site)),
            *self._settlement(),
            *(self._whole() if self.outage is None else _outage(self.outage)),
        ]

    def _protocol(self) -> list[str]:
        return _failed(
            (self.registrations >= MIN_REGISTRATIONS, f"{self.registrations} registrations"),
            (self.opt == "optIn", f"the event was answered {self.opt}"),
            (self.audit.verified, f"the audit chain does not verify: {self.audit.why}"),
        )

    def _intervals(self, site: SiteSummary) -> list[str]:
        """What was metered has come, what was not is missing, and utility and statement agree on which is which."""
        dead: set[datetime] = set()
        excused: set[datetime] = set()
        if self.outage is not None and self.outage.site_id == site.site_id:
            dead = set(self.outage.dead_intervals)
            excused = dead | set(self.outage.doubtful_intervals)
        missing = set(site.utility_missing)
        in_hold = {start for start in missing if self.hold_start <= start < self.hold_end}
        settled = self.settlement is not None
        return _failed(
            (missing <= excused, f"{site.site_id}: the utility misses {_times(missing - excused)}"),
            (dead <= missing, f"{site.site_id}: nobody metered {_times(dead - missing)}, and the utility received it"),
            (
                not settled or set(site.statement_missing) == in_hold,
                f"{site.site_id}: of the hold the utility misses {_times(in_hold)}, "
                f"the statement {_times(site.statement_missing)}",
            ),
        )

    def _settlement(self) -> list[str]:
        if self.settlement is None:
            return ["the event was not settled"]
        statement_kwh, utility_kwh = float(self.settlement.delivered_kwh), self.utility_delivered_kwh
        return _failed(
            (
                abs(statement_kwh - utility_kwh) <= STATEMENT_AGREES_WITHIN * utility_kwh,
                f"our statement says {statement_kwh:.3f} kWh, the utility {utility_kwh:.3f} kWh",
            )
        )

    def _whole(self) -> list[str]:
        low, high = (share * self.requested_kwh for share in DELIVERED_SHARE)
        received, expected = self.utility_intervals_received, self.utility_intervals_expected
        return _failed(
            (received == expected, f"the utility received {received} of {expected} intervals"),
            (
                low <= self.utility_delivered_kwh <= high,
                f"the utility counts {self.utility_delivered_kwh:.3f} of {self.requested_kwh:.3f} kWh delivered",
            ),
            *(
                (
                    site.reduction_share >= MIN_SITE_SHARE,
                    f"{site.site_id} gave {site.reduction_share:.0%} of the reduction",
                )
                for site in self.sites
                if site.reduction_share is not None
            ),
        )


def _site(site: SiteSummary) -> list[str]:
    restored = (site.caps_restored, f"{site.site_id}: caps are not restored")
    if site.status == "lost":
        return _failed(restored)
    if site.tracking_rmse_pct is None:
        return [f"{site.site_id}: accepted no budget", *_failed(restored)]
    caps = "nothing was reduced" if site.caps_share is None else f"caps gave {site.caps_share:.0%} of the reduction"
    return _failed(
        restored,
        (
            site.tracking_rmse_pct <= MAX_TRACKING_RMSE_PCT,
            f"{site.site_id}: tracking RMSE {site.tracking_rmse_pct:.2f}% of baseline",
        ),
        (site.caps_share is not None and site.caps_share >= MIN_CAPS_SHARE, f"{site.site_id}: {caps}"),
        (site.response_s is not None, f"{site.site_id}: not every GPU and the battery were written"),
    )


def _outage(outage: OutageSummary) -> list[str]:
    return _failed(
        (
            outage.battery_kw is None or outage.battery_kw <= MAX_RESTING_KW,
            f"{outage.site_id}: the battery moved {outage.battery_kw} kW after its dead-man",
        )
    )


def _times(starts: set[datetime] | tuple[datetime, ...]) -> str:
    return ", ".join(f"{start:%H:%M:%S}" for start in sorted(starts)) or "nothing"


def _failed(*checks: tuple[bool, str]) -> list[str]:
    return [what for holds, what in checks if not holds]
