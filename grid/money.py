"""Money as Decimal, rounded once and by a named rule.

Quantities come in as floats from meters; ``quantity`` fixes them at a number of places before any price touches
them, so that a statement recomputed from its printed figures gives the same cents.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Literal

Rounding = Literal["half_up", "half_even"]

_MODES = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}


def quantity(value: float, places: int) -> Decimal:
    """``value`` as an exact decimal with ``places`` digits after the point, halves to even."""
    return Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)


def usd(amount: Decimal, rounding: Rounding) -> Decimal:
    """``amount`` in whole cents by the programme's rule."""
    return amount.quantize(Decimal("0.01"), rounding=_MODES[rounding])
