"""What the benchmark runs: jobs, their power-throughput curves and the event, from files or as in the field test.

Formats: curves as dvfs_sweep.csv of ai-emerald/emerald-ai-demo-may-2025 (its columns ``Workload``, ``GPU power cap``,
``normalized throughput`` and ``power per GPU``); jobs as name,workload,gpus,flex_tier; an event as
minute,target_fraction, one row a minute from 0, where a fraction of the baseline holds for that minute's mean.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.workloads.curves import PowerCurve, SweepPoint
from agent.workloads.jobs import FlexTier
from tests.benchmarks.phoenix.errors import BenchmarkError, MissingDataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """One workload under caps, lowest cap first; shape (caps,)."""

    cap_w: Floats
    power_w: Floats
    """Mean power per GPU."""
    throughput: Floats
    """Share of uncapped."""

    def curve(self) -> PowerCurve:
        """As a site agent knows it."""
        points = zip(self.cap_w.tolist(), self.power_w.tolist(), self.throughput.tolist(), strict=True)
        return PowerCurve([SweepPoint(cap_w=c, power_w=p, throughput=t) for c, p, t in points])


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchJob:
    """One job of the ensemble."""

    name: str
    workload: str
    gpus: int
    tier: FlexTier

    @property
    def weight(self) -> float:
        """f of the field test's weighted performance: the floor of its tier."""
        return self.tier.floor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """Jobs and the sweep of each one's workload."""

    jobs: tuple[BenchJob, ...]
    sweeps: tuple[Sweep, ...]

    @property
    def gpus(self) -> Floats:
        return np.array([job.gpus for job in self.jobs], dtype=np.float64)

    @property
    def weights(self) -> Floats:
        return np.array([job.weight for job in self.jobs])

    @property
    def full_w(self) -> Floats:
        """Power per GPU uncapped, by the sweep; shape (jobs,)."""
        return np.array([sweep.power_w[-1] for sweep in self.sweeps])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Event:
    """Targets minute by minute; shape (minutes,)."""

    target: Floats
    """Share of the baseline."""
    baseline_minutes: int
    """The leading minutes whose mean is the baseline."""

    @property
    def minutes(self) -> int:
        return len(self.target)

    @property
    def reduced(self) -> Bools:
        return self.target < 1.0

    @property
    def hold(self) -> Bools:
        """Minutes below 1 whose target a neighbour shares: the event proper, without its ramp."""
        same = np.diff(self.target) == 0.0
        return np.asarray(self.reduced & (np.append(same, False) | np.append(False, same)))

    @property
    def ramp(self) -> Bools:
        return self.reduced & ~self.hold

    @property
    def after(self) -> Bools:
        """Minutes after the last reduced one."""
        return np.arange(self.minutes) > int(np.flatnonzero(self.reduced)[-1])

    @classmethod
    def of(cls, target: Floats, *, baseline_minutes: int | None = None) -> Event:
        """Raises BenchmarkError when there is no baseline or no hold to judge by."""
        leading = int(np.argmax(target < 1.0)) if (target < 1.0).any() else 0
        event = cls(target=target, baseline_minutes=leading if baseline_minutes is None else baseline_minutes)
        if event.baseline_minutes < 1:
            raise BenchmarkError("the event needs leading minutes at target 1, for its baseline, and minutes below 1")
        if not event.hold.any():
            raise BenchmarkError("the event needs two minutes or more in a row at one target below 1")
        if not ((target > 0.0) & (target <= 1.0)).all():
            raise BenchmarkError("the event's target fractions must be above 0 and at most 1")
        return event


# --- the field test ---------------------------------------------------------------------------------------------

CURVES_FILE, POWER_FILE = "dvfs_sweep.csv", "SRP_total_power.csv"

FIELD_TEST_JOBS = (
    BenchJob(name="ft_llama_8b_p3", workload="ft_llama_8b_p3", gpus=32, tier=FlexTier.FLEX_2),
    BenchJob(name="infer_llama_8b_32g", workload="infer_llama_8b_32g", gpus=32, tier=FlexTier.FLEX_3),
    BenchJob(name="infer_llama_8b_48g-1", workload="infer_llama_8b_48g", gpus=48, tier=FlexTier.FLEX_1),
    BenchJob(name="infer_llama_8b_48g-2", workload="infer_llama_8b_48g", gpus=48, tier=FlexTier.FLEX_2),
    BenchJob(name="pt_mpt_13b_sm", workload="pt_mpt_13b_sm", gpus=48, tier=FlexTier.FLEX_3),
    BenchJob(name="pt_mpt_7b_fast", workload="pt_mpt_7b_fast", gpus=48, tier=FlexTier.FLEX_3),
)
_RAMP_FROM, _HOLD_FROM, _HOLD_UNTIL = "16:15", "16:30", "19:30"
_HOLD_TARGET = 0.75
_BASELINE_UNTIL = "16:00"
"""Its power begins to fall after this, a quarter of an hour before the ramp of the target."""


def field_test_event(clock: Sequence[str]) -> Event:
    """Its targets on the minutes of its meter, given as HH:MM."""
    ramp, hold, end = (clock.index(minute) for minute in (_RAMP_FROM, _HOLD_FROM, _HOLD_UNTIL))
    target = np.ones(len(clock))
    done = (np.arange(hold - ramp) + 0.5) / (hold - ramp)
    target[ramp:hold] = 1.0 - (1.0 - _HOLD_TARGET) * done
    target[hold:end] = _HOLD_TARGET
    return Event.of(target, baseline_minutes=clock.index(_BASELINE_UNTIL))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FieldTest:
    """What its meter recorded, minute by minute."""

    power_kw: Floats
    event: Event


def read_field_test(folder: Path) -> FieldTest:
    """Raises MissingDataError or BenchmarkError."""
    rows = _rows(folder / POWER_FILE, ("timestamp", "total"))
    clock = [row["timestamp"][11:16] for row in rows]
    try:
        power_kw = np.array([float(row["total"]) / 1000.0 for row in rows])
        return FieldTest(power_kw=power_kw, event=field_test_event(clock))
    except ValueError as error:
        raise BenchmarkError(f"{folder / POWER_FILE} is not the field test's recording: {error}") from error


# --- files ------------------------------------------------------------------------------------------------------


def read_sweeps(path: Path) -> dict[str, Sweep]:
    """Sweeps by workload. Raises MissingDataError or BenchmarkError."""
    cap, theta, power = "GPU power cap", "normalized throughput", "power per GPU"
    points: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    try:
        for row in _rows(path, ("Workload", cap, theta, power)):
            points[row["Workload"].strip()].append((float(row[cap]), float(row[power]), float(row[theta])))
        return {workload: _sweep(rows) for workload, rows in points.items()}
    except ValueError as error:
        raise BenchmarkError(f"cannot read the curves in {path}: {error}") from error


def _sweep(rows: list[tuple[float, float, float]]) -> Sweep:
    caps_w, power_w, theta = (np.array(column) for column in zip(*sorted(rows), strict=True))
    if len(caps_w) < 2 or (np.diff(caps_w) <= 0).any() or (np.diff(power_w) <= 0).any():
        raise ValueError("a workload needs two caps or more, each once, and more power at a higher cap")
    return Sweep(cap_w=caps_w, power_w=power_w, throughput=theta / theta[-1])


def read_jobs(path: Path) -> tuple[BenchJob, ...]:
    """Raises MissingDataError or BenchmarkError."""
    try:
        jobs = tuple(
            BenchJob(
                name=row["name"].strip(),
                workload=row["workload"].strip(),
                gpus=int(row["gpus"]),
                tier=FlexTier(int(row["flex_tier"].removeprefix("Flex").strip())),
            )
            for row in _rows(path, ("name", "workload", "gpus", "flex_tier"))
        )
    except ValueError as error:
        raise BenchmarkError(f"cannot read the jobs in {path}: {error}") from error
    if not jobs or min(job.gpus for job in jobs) < 1 or len({job.name for job in jobs}) < len(jobs):
        raise BenchmarkError(f"the jobs in {path} need a name of their own and one GPU or more each")
    return jobs


def read_event(path: Path) -> Event:
    """Raises MissingDataError or BenchmarkError."""
    try:
        rows = [
            (int(row["minute"]), float(row["target_fraction"])) for row in _rows(path, ("minute", "target_fraction"))
        ]
    except ValueError as error:
        raise BenchmarkError(f"cannot read the event in {path}: {error}") from error
    if not rows or [minute for minute, _ in rows] != list(range(rows[0][0], rows[0][0] + len(rows))):
        raise BenchmarkError(f"the event in {path} needs one row for every minute, in order")
    return Event.of(np.array([fraction for _, fraction in rows]))


def ensemble(jobs: Sequence[BenchJob], sweeps: dict[str, Sweep]) -> Ensemble:
    """Raises BenchmarkError for a job whose workload has no curve."""
    for job in jobs:
        if job.workload not in sweeps:
            raise BenchmarkError(f"job {job.name} runs {job.workload}, which has no curve: {', '.join(sorted(sweeps))}")
    return Ensemble(jobs=tuple(jobs), sweeps=tuple(sweeps[job.workload] for job in jobs))


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise BenchmarkError(f"{path} has no column {missing[0]}: it needs {', '.join(columns)}")
            return [{name: row[name] or "" for name in columns} for row in reader]
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{path} is not there: get ai-emerald/emerald-ai-demo-may-2025 and name its folder with --data, "
            "or give --curves, --jobs and --event"
        ) from error
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error}") from error
