"""What the meter sees besides the GPUs that caps reach, the losses they cause, and the battery.

A reading that differs from what the parts make might be a faulty meter or a chiller that started, and nobody can
tell without a second meter. So what is expected follows readings within seconds while they agree, and over a minute
while they do not; and what caps act on follows a reading that agrees, or one that shows more load than is known:
caps come down on it at once and never go up.
"""

from __future__ import annotations

from agent.control.failsafe import MeterTrust

RELEARN_S = 60.0
"""Time constant at which a lasting disagreement becomes what is expected."""


class RestEstimate:
    """Unit: kW. None until the first reading."""

    def __init__(self, *, time_s: float) -> None:
        self._time_s = time_s
        self.expected_kw: float | None = None
        """What is not GPUs: with their power, what readings are judged by."""
        self.acted_on_kw: float | None = None
        """With the GPUs that caps do not reach: what caps are fed forward on."""

    def observe(self, rest_kw: float, uncontrolled_kw: float, trust: MeterTrust) -> None:
        """One second: what is not GPUs, and what GPUs that caps do not reach take at the meter."""
        if not trust.alive:
            return
        seen_kw = rest_kw + uncontrolled_kw
        if self.expected_kw is None or self.acted_on_kw is None:
            self.expected_kw, self.acted_on_kw = rest_kw, seen_kw
            return
        self.expected_kw += (rest_kw - self.expected_kw) / (self._time_s if trust.agrees else RELEARN_S)
        if trust.may_raise or seen_kw > self.acted_on_kw:
            self.acted_on_kw += (seen_kw - self.acted_on_kw) / self._time_s
