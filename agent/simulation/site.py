"""From GPU power to the meter: other IT, losses, cooling and the battery, and the same site without caps.

Other IT is nearly constant; losses follow IT power at once; most of the cooling follows it with a lag of minutes.
The site without caps goes through the same equations with the same random numbers and the same battery, so the
difference of the two meters is what caps cause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent.simulation.load import STEP_S
from agent.simulation.scenario import Scenario

_LOSSES = (0.04, 0.08)
"""Share of IT power lost in transformers, UPS and cables; drawn once a site."""
_COOLING_LAG_S = (120.0, 600.0)
_COOLING_FIXED = 0.4
"""Share of nominal cooling power that does not follow the load: fans and pumps at their turndown."""
_OTHER_IT_SD = 0.003
_OTHER_IT_TIME_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePower:
    """One step at the meter. Unit: kW; import and battery discharge are positive."""

    site_kw: float
    gpu_kw: float
    battery_kw: float
    caps_kw: float
    """How much lower the meter is for the caps set now and before."""


class Site:
    """Everything between the GPUs and the meter. One call of ``step`` a step of the load."""

    def __init__(self, scenario: Scenario) -> None:
        self._rng = scenario.generator("site")
        self._losses = float(self._rng.uniform(*_LOSSES))
        self._cooling_follow = 1.0 - math.exp(-STEP_S / float(self._rng.uniform(*_COOLING_LAG_S)))
        self._nominal_it_kw = scenario.it_kw
        self._other_it_kw = scenario.it_kw - scenario.gpu_kw
        self._cooling_kw = (scenario.settings.pue - 1.0 - self._losses) * scenario.it_kw
        self._other_phi = math.exp(-STEP_S / _OTHER_IT_TIME_S)
        self._other_noise = 0.0
        self._warm_kw = self._warm_uncapped_kw = scenario.it_kw

    def step(self, gpu_kw: float, uncapped_gpu_kw: float, battery_kw: float) -> SitePower:
        """Go on by STEP_S with this power of GPUs and battery."""
        shock = float(self._rng.standard_normal())
        self._other_noise = self._other_phi * self._other_noise + math.sqrt(1.0 - self._other_phi**2) * shock
        other_kw = self._other_it_kw * (1.0 + _OTHER_IT_SD * self._other_noise)
        it_kw, it_uncapped_kw = gpu_kw + other_kw, uncapped_gpu_kw + other_kw
        self._warm_kw += self._cooling_follow * (it_kw - self._warm_kw)
        self._warm_uncapped_kw += self._cooling_follow * (it_uncapped_kw - self._warm_uncapped_kw)
        facility_kw = self._facility_kw(it_kw, self._warm_kw)
        return SitePower(
            site_kw=facility_kw - battery_kw,
            gpu_kw=gpu_kw,
            battery_kw=battery_kw,
            caps_kw=self._facility_kw(it_uncapped_kw, self._warm_uncapped_kw) - facility_kw,
        )

    def _facility_kw(self, it_kw: float, warm_kw: float) -> float:
        cooling = _COOLING_FIXED + (1.0 - _COOLING_FIXED) * warm_kw / self._nominal_it_kw
        return it_kw * (1.0 + self._losses) + self._cooling_kw * cooling
