"""``python -m tests.benchmarks.phoenix``: every policy on every seed, as one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from grid.errors import NegawattError
from tests.benchmarks.phoenix import ensemble as inputs
from tests.benchmarks.phoenix.ensemble import Ensemble, Event, FieldTest
from tests.benchmarks.phoenix.figures import Figures, figures, mean, tracking, worst
from tests.benchmarks.phoenix.ours import ours
from tests.benchmarks.phoenix.plant import Plant
from tests.benchmarks.phoenix.policies import FairPlan, UniformPlan, delivering, never_over, uncapped

PROCESSES = 2
DATA = Path(__file__).parents[4] / "shared" / "data" / "phoenix"
_ROUNDED = 4
_NOT_INSIDE = "the field test published each job's performance over its whole run, not inside the event"
_OTHER_EVENT = "the field test measured its own event and ensemble only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is run."""

    ensemble: Ensemble
    event: Event
    field_test: FieldTest | None
    """Where the case is the field test's own."""


def simulate(case: Case, noisy: bool, seed: int) -> dict[str, Figures]:
    """Every policy on one seed."""
    event = case.event
    plant = Plant(case.ensemble, minutes=event.minutes, seed=seed, noisy=noisy)
    baseline_kw = float(uncapped(plant, event.baseline_minutes).mean())
    fair = FairPlan(case.ensemble, event)
    own = ours(plant, event, baseline_kw, noisy=noisy)
    own_kw = float(own.power_kw[event.hold].mean())
    runs = {
        "fair": never_over(plant, event, fair, baseline_kw),
        "fair_rescaled": delivering(plant, event, fair, own_kw, baseline_kw),
        "uniform": never_over(plant, event, UniformPlan(case.ensemble), baseline_kw),
        "ours": own,
    }
    return {name: figures(run, event, case.ensemble, baseline_kw) for name, run in runs.items()}


def report(case: Case, *, noisy: bool, seeds: Sequence[int], processes: int) -> dict[str, Any]:
    """The JSON object. Every policy but ``measured`` is simulated and says so."""
    if processes > 1 and len(seeds) > 1:
        with ProcessPoolExecutor(processes) as pool:
            runs = list(pool.map(partial(simulate, case, noisy), seeds))
    else:
        runs = [simulate(case, noisy, seed) for seed in seeds]
    policies = list(runs[0])
    by_policy = {name: [run[name] for run in runs] for name in policies}
    event = case.event
    return {
        "boundary": "GPU power, no battery, means of a minute",
        "source": "arXiv 2507.00909; ai-emerald/emerald-ai-demo-may-2025",
        "noise": "realistic" if noisy else "none",
        "seeds": len(seeds),
        "minutes": event.minutes,
        "hold_minutes": int(event.hold.sum()),
        "measured": _measured(case),
        **{
            name: {"basis": "simulated", "of": "the worst seed of each figure", **worst(by_policy[name])}
            for name in policies
        },
        "means": {name: {"basis": "simulated", **mean(by_policy[name])} for name in policies},
        "runs": [{"seed": seed, "basis": "simulated", **run} for seed, run in zip(seeds, runs, strict=True)],
    }


def _measured(case: Case) -> dict[str, Any]:
    if case.field_test is None:
        return {"basis": "measured", "reason": _OTHER_EVENT}
    power_kw, event = case.field_test.power_kw, case.event
    baseline_kw = float(power_kw[: event.baseline_minutes].mean())
    return {
        "basis": "measured",
        **asdict(tracking(power_kw, event, baseline_kw)),
        "weighted_performance": None,
        "tier_performance": None,
        "reason": _NOT_INSIDE,
    }


def read_case(data: Path, *, curves: Path | None, jobs: Path | None, event: Path | None) -> Case:
    """The field test's case, or the parts of another that are given. Raises BenchmarkError."""
    sweeps = inputs.read_sweeps(curves or data / inputs.CURVES_FILE)
    ensemble = inputs.ensemble(inputs.FIELD_TEST_JOBS if jobs is None else inputs.read_jobs(jobs), sweeps)
    if event is not None:
        return Case(ensemble=ensemble, event=inputs.read_event(event), field_test=None)
    field_test = inputs.read_field_test(data)
    own = curves is None and jobs is None
    return Case(ensemble=ensemble, event=field_test.event, field_test=field_test if own else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.phoenix", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the field test's files (default: %(default)s)")
    parser.add_argument("--curves", type=Path, help="CSV as dvfs_sweep.csv")
    parser.add_argument("--jobs", type=Path, help="CSV: name,workload,gpus,flex_tier")
    parser.add_argument("--event", type=Path, help="CSV: minute,target_fraction")
    parser.add_argument("--noise", choices=("none", "realistic"), default="realistic")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="run seeds 0 to N-1 (default: 1)")
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1 or chosen.processes < 1:
        parser.error("--seeds and --processes need 1 or more")
    try:
        case = read_case(chosen.data, curves=chosen.curves, jobs=chosen.jobs, event=chosen.event)
    except NegawattError as error:
        sys.stderr.write(f"phoenix: {error}\n")
        return error.exit_code
    result = report(case, noisy=chosen.noise == "realistic", seeds=range(chosen.seeds), processes=chosen.processes)
    sys.stdout.write(json.dumps(_rounded(result), indent=1) + "\n")
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _ROUNDED)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
