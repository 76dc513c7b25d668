"""How long to wait before the next try: doubling, bounded, jittered, for ever.

The jitter keeps a fleet of VENs from returning in one instant after a VTN's outage.
"""

from __future__ import annotations

import secrets

FIRST_S = 1.0
LAST_S = 60.0

_RANDOM = secrets.SystemRandom()


class Backoff:
    """Waits of one conversation; between half of the step and all of it."""

    def __init__(self, first_s: float = FIRST_S, last_s: float = LAST_S) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._step_s = first_s

    def next_s(self) -> float:
        """The wait before the next try. Unit: s."""
        step_s = self._step_s
        self._step_s = min(2 * step_s, self._last_s)
        return _RANDOM.uniform(step_s / 2, step_s)

    def reset(self) -> None:
        """It worked: begin anew."""
        self._step_s = self._first_s
