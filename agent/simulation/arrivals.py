"""Requests that serving jobs answer: recorded ones from a file, or generated ones.

Either way the result is how many requests are in flight, second by second over one period, relative to the mean:
the batch that decode runs, and so its power, scales with it. A request stays in flight while its context is read and
its tokens are generated. A recording from a smaller service is scaled up to the fleet by sending each request as
often as the fleet is larger, a few seconds apart. The period is wrapped around and entered at an offset of the
site's own.

Recorded format: CSV with TIMESTAMP, ContextTokens, GeneratedTokens (Azure LLM inference trace, 2023).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.simulation.errors import ArrivalsError
from agent.simulation.scenario import Scenario

PREFILL_TOKENS_PER_S = 6000.0
DECODE_S_PER_TOKEN = 0.03
"""Speeds of an 8B model on one A100."""
REQUESTS_PER_GPU_S = 1.5
"""What a serving GPU answers on average."""
_COPY_JITTER_S = 10.0
"""Copies of a recorded request come within so many seconds before or after it."""

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_MIN_REQUESTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """When requests came and what they asked for; one period of ``period_s`` seconds."""

    at_s: NDArray[np.float64]
    """Seconds from the start of the period."""
    context_tokens: NDArray[np.float64]
    generated_tokens: NDArray[np.float64]
    period_s: int

    def in_flight(self) -> NDArray[np.float64]:
        """Requests in flight in each second of the period, its end joined to its start."""
        lasts_s = self.context_tokens / PREFILL_TOKENS_PER_S + self.generated_tokens * DECODE_S_PER_TOKEN
        changes = np.zeros(self.period_s)
        np.add.at(changes, self.at_s.astype(np.int64) % self.period_s, 1.0)
        np.add.at(changes, np.ceil(self.at_s + lasts_s).astype(np.int64) % self.period_s, -1.0)
        running = np.cumsum(changes)
        # Those that wrap around are in flight at the start too; the total of all seconds is known exactly.
        whole_s = np.ceil(self.at_s + lasts_s) - np.floor(self.at_s)
        return np.asarray(running + (whole_s.sum() - running.sum()) / self.period_s)


def scaled(requests: Requests, per_s: float, rng: np.random.Generator) -> Requests:
    """``requests`` as a fleet that gets ``per_s`` of them would see them; never fewer than were recorded."""
    copies = max(1, round(per_s * requests.period_s / len(requests.at_s)))
    jitter_s = rng.uniform(-_COPY_JITTER_S, _COPY_JITTER_S, copies * len(requests.at_s))
    return Requests(
        at_s=(np.repeat(requests.at_s, copies) + jitter_s) % requests.period_s,
        context_tokens=np.repeat(requests.context_tokens, copies),
        generated_tokens=np.repeat(requests.generated_tokens, copies),
        period_s=requests.period_s,
    )


class ServingLoad:
    """In-flight requests relative to their mean, as time goes on."""

    def __init__(self, requests: Requests, rng: np.random.Generator) -> None:
        in_flight = requests.in_flight()
        self._relative = in_flight / in_flight.mean()
        self._period_s = requests.period_s
        self._offset_s = float(rng.uniform(0.0, requests.period_s))

    def at(self, elapsed_s: float) -> float:
        """Requests in flight at a time since the start, 1 being the mean."""
        position = (elapsed_s + self._offset_s) % self._period_s
        second = int(position)
        here, there = self._relative[second], self._relative[(second + 1) % self._period_s]
        return float(here + (there - here) * (position - second))


def recorded(path: Path) -> Requests:
    """Read recorded requests. Raises ArrivalsError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise ArrivalsError(f"{path} has no column {missing[0]}: it needs {', '.join(_COLUMNS)}")
            table = [tuple(row[name] for name in _COLUMNS) for row in rows]
        at = np.array([row[0] for row in table], dtype="datetime64[us]")
        context, generated = (np.array([row[i] for row in table], dtype=np.float64) for i in (1, 2))
    except (OSError, ValueError) as error:
        raise ArrivalsError(f"cannot read the recorded requests in {path}: {error}") from error
    if len(at) < _MIN_REQUESTS:
        raise ArrivalsError(f"{path} holds {len(at)} requests: give a recording of {_MIN_REQUESTS} or more")
    order = np.argsort(at)
    at_s = (at[order] - at[order[0]]) / np.timedelta64(1, "s")
    return Requests(
        at_s=at_s,
        context_tokens=context[order],
        generated_tokens=generated[order],
        period_s=int(at_s[-1]) + 1,
    )


def generated(per_s: float, rng: np.random.Generator, *, period_s: int = 3600) -> Requests:
    """Poisson arrivals whose rate drifts over minutes, with token counts spread as in chat traffic."""
    drift = np.zeros(period_s)
    phi, sd = np.exp(-1 / 300.0), 0.15
    for second, shock in enumerate(rng.standard_normal(period_s - 1) * sd * np.sqrt(1 - phi**2), start=1):
        drift[second] = phi * drift[second - 1] + shock
    counts = rng.poisson(per_s * np.clip(1.0 + drift, 0.3, 2.0))
    at_s = np.repeat(np.arange(period_s), counts) + rng.random(int(counts.sum()))
    return Requests(
        at_s=at_s,
        context_tokens=np.clip(rng.lognormal(6.6, 0.9, len(at_s)), 10, 8000),
        generated_tokens=np.clip(rng.lognormal(5.0, 0.8, len(at_s)), 5, 1500),
        period_s=period_s,
    )


def serving_load(scenario: Scenario) -> ServingLoad:
    """The requests a site's serving jobs answer: recorded where its settings name a file. Raises ArrivalsError."""
    jobs = zip(scenario.workloads.jobs, scenario.settings.jobs, strict=True)
    gpus = sum(len(job.gpu_uuids) for job, settings in jobs if settings.follows_requests)
    per_s = max(1.0, REQUESTS_PER_GPU_S * gpus)
    rng = scenario.generator("requests")
    file = scenario.settings.arrivals_file
    requests = generated(per_s, rng) if file is None else scaled(recorded(file), per_s, rng)
    return ServingLoad(requests, rng)
