"""A job's power-throughput curve, learned while it runs, and how deep it may be capped on what is known so far.

Recursive least squares for the rate of work and for the power at a grid of caps, started from a prior
(agent.workloads.priors) whose errors are alike at neighbouring caps: what is seen at a light cap narrows what is
expected of a deeper one, so a job never seen before is lowered step by step as evidence comes in. Rates have no
known scale; throughput is the rate over the rate uncapped, and what both have in common cancels. Old evidence fades.
The curve is the estimate made monotone and concave (pooling adjacent violators among its slopes); the floor a job is
held to is where the lower confidence bound meets its tier's. (Bayesian linear regression: Rasmussen and Williams
2006, 2.1; careful descent: SafeOpt, Sui et al. 2015.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.workloads.curves import PowerCurve, SweepPoint
from agent.workloads.priors import GRID, GRID_STEP, Floats, Prior

SAMPLE_SD = 0.05
"""Of ten seconds' mean rate or power about the curve, as a share: noise lasts longer than a sample, so it is ample."""
SAMPLE_S = 10.0
LEAST_SD = 1e-3
SURPRISE = 3.0
"""A sample so many standard deviations off is not believed: it may be a checkpoint. It makes what is known doubtful,"""
DOUBT = 0.02
"""by this share of what was doubtful at first, so that a job that really changed is soon learned anew."""
LIKENESS = 0.3
"""Distance in relative cap over which errors of the prior are alike."""
SCALE_SD = 1.0
"""Of a job's rate of work before it was seen, as a share."""
BEND_SD = 0.04
"""Of power at a cap, besides its gain, as a share."""
FADE_S = 24 * 3600.0
"""Time over which a job may become another one."""
DRIFT_SD = 0.05
"""How far its rate and power may wander in that time, as a share."""
CONFIDENCE = 2.5
"""The lower bound lies so many standard deviations below the estimate."""
LEAST_SHARE = 0.01
"""The rate uncapped is never taken to be less than this share of what was expected of it."""
LEAST_RISE = 1e-4
"""Between caps that do not bind power rises this much, as a share of the highest limit: curves need a direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A job's mean over a time in which its cap stood still and had been taken up."""

    cap_w: float
    """Per GPU; the highest limit where none of ours is in force."""
    power_w: float
    """Per GPU."""
    rate: float
    """Work done a second, in the job's own unit."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Estimate:
    """Values on GRID, in units of the prior's, with their covariance."""

    mean: Floats
    covariance: Floats

    def seen(self, at: Floats, value: float, sd: float, *, shape: Floats, drift: float, scale_sd: float) -> _Estimate:
        """After ``value`` was seen of the mean weighted by ``at``.

        ``sd``: of such values, as a share; ``shape``: the prior's covariance of shape; ``drift``: share of a fading
        time that went by; ``scale_sd``: how far all of it may be off, as a share.
        """
        alike = np.outer(self.mean, self.mean)
        spread = self.covariance + drift * (DRIFT_SD**2 * alike + shape)
        along, expected = spread @ at, float(at @ self.mean)
        variance = float(at @ along) + max(sd * expected, LEAST_SD) ** 2
        if abs(value - expected) > SURPRISE * variance**0.5:
            return _Estimate(mean=self.mean, covariance=spread + DOUBT * (scale_sd**2 * alike + shape))
        step = along / variance
        return _Estimate(mean=self.mean + step * (value - expected), covariance=spread - np.outer(step, along))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """All that is known of one job: what a journal keeps."""

    prior: Prior
    rate: _Estimate
    power: _Estimate
    unit_rate: float | None = None
    """The rate uncapped by the first sample and the prior: the unit of ``rate``. None before it."""

    @classmethod
    def none(cls, prior: Prior) -> Evidence:
        """Of a job nobody has seen."""
        scale = SCALE_SD**2 * np.outer(prior.throughput, prior.throughput)
        gain = prior.gain_sd**2 * np.outer(prior.power, prior.power)
        return cls(
            prior=prior,
            rate=_Estimate(mean=prior.throughput, covariance=scale + _loss_covariance(prior)),
            power=_Estimate(mean=prior.power, covariance=gain + _bend_covariance(prior)),
        )

    def seen(self, sample: Sample) -> Evidence:
        """With one sample more. Samples that make no sense (no time, no work, no power) say nothing."""
        if sample.seconds <= 0 or sample.rate <= 0 or sample.power_w <= 0:
            return self
        prior, at = self.prior, _weights(sample.cap_w / self.prior.max_w)
        unit = sample.rate / float(at @ prior.throughput) if self.unit_rate is None else self.unit_rate
        sd, drift = SAMPLE_SD * (SAMPLE_S / sample.seconds) ** 0.5, sample.seconds / FADE_S
        return Evidence(
            prior=prior,
            rate=self.rate.seen(
                at, sample.rate / unit, sd, shape=_loss_covariance(prior), drift=drift, scale_sd=SCALE_SD
            ),
            power=self.power.seen(
                at,
                sample.power_w / prior.max_w,
                sd,
                shape=_bend_covariance(prior),
                drift=drift,
                scale_sd=prior.gain_sd,
            ),
            unit_rate=unit,
        )

    def learned(self) -> LearnedCurve:
        """The curve these samples make, and its lower bound."""
        full = max(float(self.rate.mean[-1]), LEAST_SHARE)
        theta = self.rate.mean / full
        # Delta method on rate / rate uncapped: what both have in common cancels.
        slope = np.eye(len(GRID)) / full - np.outer(theta, np.eye(len(GRID))[-1]) / full
        deviation = np.sqrt(np.clip(np.diag(slope @ self.rate.covariance @ slope.T), 0.0, None))
        power = _rising(np.minimum(self.power.mean, GRID))
        concave = _concave(power, theta)
        relative = np.sqrt(np.diag(self.power.covariance)) / np.maximum(self.power.mean, LEAST_SHARE)
        return LearnedCurve(
            curve=_curve(self.prior.max_w, power, concave),
            least_throughput=np.minimum.accumulate(
                np.minimum(concave, np.clip(theta - CONFIDENCE * deviation, 0.0, 1.0))[::-1]
            )[::-1],
            power_sd=float(relative.max()),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedCurve:
    """What allocation uses of a job."""

    curve: PowerCurve
    least_throughput: Floats
    """Lower confidence bound at the curve's points."""
    power_sd: float
    """Standard deviation of its power at a cap, as a share, where it is known least."""

    def least_w(self, floor: float) -> float:
        """The lowest power per GPU that surely keeps ``floor``, by the curve; its top where none is sure."""
        return float(np.interp(floor, self.least_throughput, self.curve.power_w, right=self.curve.max_power_w))


class CurveLearner:
    """The jobs of a site."""

    def __init__(self, evidence: Mapping[str, Evidence]) -> None:
        self._evidence = dict(evidence)

    @property
    def evidence(self) -> Mapping[str, Evidence]:
        """By job; what a journal keeps, and a restart begins with."""
        return self._evidence

    def keep(self, priors: Mapping[str, Prior]) -> None:
        """Begin with each new job, forget those that are gone."""
        self._evidence = {
            job_id: self._evidence.get(job_id) or Evidence.none(prior) for job_id, prior in priors.items()
        }

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """Take in a sample of some of the jobs; those it does not keep are left out."""
        for job_id in samples.keys() & self._evidence.keys():
            self._evidence[job_id] = self._evidence[job_id].seen(samples[job_id])

    def learned(self, job_id: str) -> LearnedCurve:
        """Raises KeyError for a job it does not keep."""
        return self._evidence[job_id].learned()


def _likeness() -> Floats:
    apart = (GRID[:, None] - GRID[None, :]) / LIKENESS
    return np.asarray(np.exp(-0.5 * apart**2))


_LIKENESS = _likeness()


def _loss_covariance(prior: Prior) -> Floats:
    sd = prior.loss_sd * (1.0 - prior.throughput)
    return np.asarray(np.outer(sd, sd) * _LIKENESS)


def _bend_covariance(prior: Prior) -> Floats:
    sd = BEND_SD * prior.power
    return np.asarray(np.outer(sd, sd) * _LIKENESS)


def _weights(cap: float) -> Floats:
    """How much each point of GRID counts at a cap between two of them."""
    apart = np.abs(GRID - min(GRID[-1], max(GRID[0], cap))) / GRID_STEP
    return np.asarray(np.clip(1.0 - apart, 0.0, 1.0))


def _rising(values: Floats) -> Floats:
    """The values, each a little above the one before."""
    steps = np.arange(len(values)) * LEAST_RISE
    return np.asarray(np.maximum.accumulate(np.maximum(values, LEAST_RISE) - steps) + steps)


def _concave(power: Floats, theta: Floats) -> Floats:
    """Throughput with slopes that neither rise nor are negative, 1 at the end: adjacent violators pooled."""
    pools: list[tuple[float, float]] = []
    for width, rise in zip(np.diff(power)[::-1].tolist(), np.diff(theta)[::-1].tolist(), strict=True):
        width_sum, rise_sum = width, max(0.0, rise)
        while pools and pools[-1][1] / pools[-1][0] > rise_sum / width_sum:
            last_width, last_rise = pools.pop()
            width_sum, rise_sum = width_sum + last_width, rise_sum + last_rise
        pools.append((width_sum, rise_sum))
    below = np.concatenate(([0.0], np.cumsum([w for w, _ in pools])))
    lost = np.concatenate(([0.0], np.cumsum([r for _, r in pools])))
    return np.asarray(np.clip(1.0 - np.interp(power[-1] - power, below, lost), 0.0, 1.0))


def _curve(max_w: float, power: Floats, theta: Floats) -> PowerCurve:
    rows = zip((GRID * max_w).tolist(), (power * max_w).tolist(), theta.tolist(), strict=True)
    return PowerCurve([SweepPoint(cap_w=cap, power_w=w, throughput=t) for cap, w, t in rows])
