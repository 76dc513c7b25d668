"""The agent's own short forecast of what its meter would read uncurtailed.

The mean of the last minute in which nothing of ours was in force, single seconds that lie far off (a transfer, a
bad frame) drawn in to five robust deviations. It serves capability, margin and release; the baseline that settles
is the programme's and comes with the budget. While an event runs the last forecast before it stands.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

import numpy as np

WINDOW_S = 60
ENOUGH_S = 10
"""Seconds seen before there is a forecast."""
FAR_DEVIATIONS = 5.0
LEAST_DEVIATION = 0.02
"""Robust deviation assumed at least, as a share of the median: a steady meter is no reason to reject."""
NOISE_MEAN_S = 5
NOISE_MINUTES = 10


class BaselineForecast:
    """Mean of the last uncurtailed minute, noise of the last ten."""

    def __init__(self) -> None:
        self._samples: deque[tuple[datetime, float]] = deque(maxlen=WINDOW_S)
        self._kw: float | None = None
        self._until_noise = WINDOW_S
        self._minutes_noise_kw: deque[float] = deque(maxlen=NOISE_MINUTES)

    def observe(self, second: datetime, uncurtailed_kw: float) -> None:
        """Take in the mean of the second that starts at ``second``."""
        while self._samples and self._samples[0][0] <= second - timedelta(seconds=WINDOW_S):
            self._samples.popleft()
        self._samples.append((second, uncurtailed_kw))
        self._kw = self._forecast_kw()
        self._until_noise -= 1
        if self._until_noise == 0:
            self._until_noise = WINDOW_S
            self._minutes_noise_kw.append(self._minute_noise_kw())

    def clock_stepped(self, by: timedelta) -> None:
        """The clock was set: the samples stay as old as they are."""
        self._samples = deque(((second + by, kw) for second, kw in self._samples), maxlen=WINDOW_S)

    @property
    def kw(self) -> float | None:
        """The forecast, or None before ENOUGH_S seconds were seen."""
        return self._kw

    def _forecast_kw(self) -> float | None:
        if len(self._samples) < ENOUGH_S:
            return None
        values = np.array([kw for _, kw in self._samples])
        median = float(np.median(values))
        deviation = max(1.4826 * float(np.median(np.abs(values - median))), LEAST_DEVIATION * abs(median))
        return float(np.clip(values, median - FAR_DEVIATIONS * deviation, median + FAR_DEVIATIONS * deviation).mean())

    @property
    def noise_kw(self) -> float:
        """Standard deviation of 5-s means within a minute, the median of the minutes seen; 0 before two means are.

        One quiet minute, or one with a checkpoint in it, says little of the hours to come.
        """
        return float(np.median(self._minutes_noise_kw)) if self._minutes_noise_kw else self._minute_noise_kw()

    def _minute_noise_kw(self) -> float:
        values = np.array([kw for _, kw in self._samples])
        groups = len(values) // NOISE_MEAN_S
        if groups < 2:
            return 0.0
        return float(values[-groups * NOISE_MEAN_S :].reshape(groups, NOISE_MEAN_S).mean(axis=1).std())
