"""What share of a commitment a delivery pays, by the programme's steps.

``pay = (a + b * ratio) * committed energy * price`` in the step that holds the ratio of delivered to committed energy
over the hold. A ratio below the first step pays nothing; no step may be assumed that the programme does not list.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from aggregator.portfolio.programme import PerformanceStep


def paid_share(steps: Sequence[PerformanceStep], ratio: Decimal) -> Decimal:
    """``a + b * ratio`` of the step that holds ``ratio``; 0 outside all of them."""
    for step in steps:
        if step.ratio_from <= ratio and (step.ratio_to is None or ratio < step.ratio_to):
            return step.a + step.b * ratio
    return Decimal(0)
