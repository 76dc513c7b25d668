"""Energy from a counter that starts anew whenever its driver does.

A counter that fell has been reset: what it shows then was all used since, and what went by between the last reading
and the reset is lost, never guessed.
"""

from __future__ import annotations


class EnergyCounter:
    """Adds up the differences of one GPU's counter."""

    def __init__(self) -> None:
        self._last_mj: int | None = None
        self.used_mj: int | None = None
        """Since the first reading; None before the second."""

    def show(self, counter_mj: int | None) -> None:
        """The counter's next reading; one that is missing is made up for by the next."""
        if counter_mj is None:
            return
        if self._last_mj is not None:
            since_mj = counter_mj - self._last_mj if counter_mj >= self._last_mj else counter_mj
            self.used_mj = (self.used_mj or 0) + since_mj
        self._last_mj = counter_mj
