"""A meter that falls faster than our actuators can explain: a transfer that no contact has shown yet.

From one second to the next the meter moves with what is behind it. What GPUs, battery and generator moved is known;
a fall beyond that of more than a share of the site is a feed that opened. Pure.
"""

from __future__ import annotations


class FallWatch:
    """Compares each second with the one before it."""

    def __init__(self, most_kw: float) -> None:
        self._most_kw = most_kw
        """The largest fall without a reason that is still the load's own."""
        self._before: tuple[float, float] | None = None

    def step(self, meter_kw: float | None, ours_kw: float) -> bool:
        """Whether it fell so. ``ours_kw``: GPU power less battery and generator, over the meter's second."""
        if meter_kw is None:
            return False  # the next reading is compared with the last that there was
        before, self._before = self._before, (meter_kw, ours_kw)
        if before is None:
            return False
        fell_kw, explained_kw = before[0] - meter_kw, before[1] - ours_kw
        return fell_kw - max(0.0, explained_kw) > self._most_kw
