"""The demo's summary: a contract for machines, and the verdict that decides its exit code.

Every figure says who counted it: the plant (truth at the meter, state of the GPU library), the utility (from the
reports it received) or the aggregator (its statement). The site figures are simulated.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

MIN_REGISTRATIONS = 3
DELIVERED_SHARE = (0.98, 1.05)
"""Of the requested kWh, by the utility's count."""
STATEMENT_AGREES_WITHIN = 0.01
MAX_TRACKING_RMSE_PCT = 2.0
MIN_CAPS_SHARE = 0.80
MIN_SITE_SHARE = 0.10
"""Each site gives at least this share of the portfolio's reduction."""


class _Summary(BaseModel):
    model_config = ConfigDict(frozen=True)


class SiteSummary(_Summary):
    """One site over the hold, by its plant's log."""

    site_id: str
    status: Literal["ok", "lost"]
    baseline_kw: float
    limit_kw: float
    mean_kw: float
    tracking_rmse_pct: float
    seconds_over_limit: int
    reduction_share: float
    """Of the portfolio's reduction."""
    caps_share: float
    """Of this site's reduction: what caps gave, the battery giving the rest."""
    response_s: float | None
    settle_s: float | None
    caps_restored: bool


class SettlementSummary(_Summary):
    """The aggregator's statement for the event."""

    committed_kwh: Decimal
    delivered_kwh: Decimal
    payment_usd: Decimal


class AuditSummary(_Summary):
    """The exported chain, verified by ``negawatt audit verify`` in a process of its own."""

    entries: int
    verified: bool


class Summary(_Summary):
    """What one demo event came to."""

    registrations: int
    opt: str
    requested_kw: float
    requested_kwh: float
    """Over the hold."""
    simulated: Literal[True] = True
    seed: int
    sites: tuple[SiteSummary, ...]
    utility_intervals_received: int
    utility_intervals_expected: int
    utility_delivered_kwh: float
    settlement: SettlementSummary
    audit: AuditSummary

    def shortcomings(self) -> list[str]:
        """Why this run does not count as a success; empty when it does.

        With a site lost (killed on purpose), what only a whole portfolio can do is not asked of the others.
        """
        whole = all(site.status == "ok" for site in self.sites)
        return [
            *self._protocol(),
            *(line for site in self.sites for line in _site(site)),
            *(self._delivery() if whole else ()),
        ]

    def _protocol(self) -> list[str]:
        return _failed(
            (self.registrations >= MIN_REGISTRATIONS, f"{self.registrations} registrations"),
            (self.opt == "optIn", f"the event was answered {self.opt}"),
            (self.audit.verified, "the audit chain does not verify"),
        )

    def _delivery(self) -> list[str]:
        low, high = (share * self.requested_kwh for share in DELIVERED_SHARE)
        statement_kwh = float(self.settlement.delivered_kwh)
        received, expected = self.utility_intervals_received, self.utility_intervals_expected
        return _failed(
            (received == expected, f"the utility received {received} of {expected} intervals"),
            (
                low <= self.utility_delivered_kwh <= high,
                f"the utility counts {self.utility_delivered_kwh:.3f} of {self.requested_kwh:.3f} kWh delivered",
            ),
            (
                abs(statement_kwh - self.utility_delivered_kwh) <= STATEMENT_AGREES_WITHIN * self.utility_delivered_kwh,
                f"our statement says {statement_kwh} kWh, the utility {self.utility_delivered_kwh:.3f} kWh",
            ),
            *(
                (
                    site.reduction_share >= MIN_SITE_SHARE,
                    f"{site.site_id} gave {site.reduction_share:.0%} of the reduction",
                )
                for site in self.sites
            ),
        )


def _site(site: SiteSummary) -> list[str]:
    restored = (site.caps_restored, f"{site.site_id}: caps are not restored")
    if site.status == "lost":
        return _failed(restored)
    return _failed(
        restored,
        (
            site.tracking_rmse_pct <= MAX_TRACKING_RMSE_PCT,
            f"{site.site_id}: tracking RMSE {site.tracking_rmse_pct:.2f}% of baseline",
        ),
        (site.caps_share >= MIN_CAPS_SHARE, f"{site.site_id}: caps gave {site.caps_share:.0%} of the reduction"),
        (site.response_s is not None, f"{site.site_id}: not every GPU and the battery were written"),
    )


def _failed(*checks: tuple[bool, str]) -> list[str]:
    return [what for holds, what in checks if not holds]
