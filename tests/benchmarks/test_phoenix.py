"""The Phoenix benchmark's figures on series made by hand, and its JSON on a small ensemble of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.workloads.jobs import FlexTier
from tests.benchmarks.phoenix.__main__ import DATA, main, read_case
from tests.benchmarks.phoenix.ensemble import BenchJob, Ensemble, Event, Sweep, ensemble, field_test_event
from tests.benchmarks.phoenix.errors import BenchmarkError, MissingDataError
from tests.benchmarks.phoenix.figures import Figures, performance, tracking, worst
from tests.benchmarks.phoenix.plant import Plant
from tests.benchmarks.phoenix.policies import FairPlan, UniformPlan, delivering, never_over, planned, uncapped

CURVES = """\
Workload,GPU power cap,throughput,total GPU power,normalized throughput,power per GPU
pt_small,100,1,800,0.2,100
pt_small,200,3,1568,0.64,196
pt_small,300,4,2320,0.87,290
pt_small,400,5,3040,1.0,380
infer_small,100,1,784,0.22,98
infer_small,200,3,1560,0.78,195
infer_small,300,4,2312,0.93,289
infer_small,400,5,2944,1.0,368
"""
JOBS = """\
name,workload,gpus,flex_tier
a,pt_small,24,3
b,infer_small,16,2
c,infer_small,16,1
d,infer_small,4,0
"""
TARGETS = [1.0] * 4 + [0.95, 0.85] + [0.8] * 6 + [1.0] * 4
POLICIES = ("fair", "fair_rescaled", "uniform", "ours")
TRACKING = {
    "delivered_pct",
    "over_delivery_pct",
    "rmse_pct",
    "max_over_target_pct",
    "ramp_over_pct",
    "minutes_over_target",
    "rebound_pct",
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    event = "minute,target_fraction\n" + "".join(f"{minute},{t}\n" for minute, t in enumerate(TARGETS))
    arguments = []
    for name, text in (("curves", CURVES), ("jobs", JOBS), ("event", event)):
        (tmp_path / f"{name}.csv").write_text(text, "utf-8")
        arguments += [f"--{name}", str(tmp_path / f"{name}.csv")]
    return arguments


def small() -> Ensemble:
    sweep = Sweep(
        cap_w=np.array([100.0, 200.0, 400.0]),
        power_w=np.array([100.0, 200.0, 380.0]),
        throughput=np.array([0.3, 0.7, 1.0]),
    )
    jobs = (
        BenchJob(name="a", workload="infer", gpus=6, tier=FlexTier.FLEX_1),
        BenchJob(name="b", workload="infer", gpus=10, tier=FlexTier.FLEX_3),
        BenchJob(name="c", workload="infer", gpus=10, tier=FlexTier.FLEX_3),
    )
    return ensemble(jobs, {"infer": sweep})


# --- figures ------------------------------------------------------------------------------------------------------

EVENT = Event.of(np.array([1.0, 1.0, 0.9, 0.8, 0.8, 0.8, 0.8, 1.0, 1.0]))
POWER_KW = np.array([101.0, 99.0, 93.0, 79.0, 81.0, 78.0, 78.0, 98.0, 103.0])


def test_the_figures_of_a_series_made_by_hand() -> None:
    figures = tracking(POWER_KW, EVENT, 100.0)
    assert figures.delivered_pct == pytest.approx(-21.0)
    assert figures.over_delivery_pct == pytest.approx(100 * (84.0 - 80.0) / 80.0)
    assert figures.rmse_pct == pytest.approx(np.sqrt((1 + 1 + 4 + 4) / 4))
    assert figures.mean_deviation_pct == pytest.approx(1.5)
    assert figures.max_over_target_pct == pytest.approx(1.0)
    assert figures.minutes_over_target == 1
    assert figures.ramp_over_pct == pytest.approx(3.0)
    assert figures.rebound_pct == pytest.approx(3.0)
    assert figures.lowest_kw == 78.0


def test_a_series_below_its_target_is_never_over_and_one_without_an_end_has_no_rebound() -> None:
    figures = tracking(POWER_KW[:7] - 5.0, Event.of(EVENT.target[:7]), 100.0)
    assert (figures.max_over_target_pct, figures.minutes_over_target, figures.ramp_over_pct) == (0.0, 0, 0.0)
    assert figures.rebound_pct is None


def test_performance_is_weighted_by_floors_inside_the_hold_and_a_tier_is_its_worst_job() -> None:
    rate = np.ones((len(EVENT.target), 3))
    rate[EVENT.hold] = (0.95, 0.8, 0.4)
    rate[EVENT.ramp] = 0.1
    figures = performance(rate, EVENT, small())
    assert figures.weighted_performance == pytest.approx((0.9 * 0.95 + 0.5 * 0.8 + 0.5 * 0.4) / (0.9 + 0.5 + 0.5))
    assert figures.tier_performance == pytest.approx({"Flex 1": 0.95, "Flex 3": 0.4})
    assert figures.tier_performance_run["Flex 3"] == pytest.approx((4 * 0.4 + 0.1 + 4) / 9)
    assert not figures.allowances_kept


def test_the_worst_of_two_seeds_is_taken_figure_by_figure() -> None:
    one: Figures = {
        "rmse_pct": 0.3,
        "weighted_performance": 0.92,
        "tier_performance": {"Flex 1": 0.9},
        "rebound_pct": None,
    }
    two: Figures = {
        "rmse_pct": 0.2,
        "weighted_performance": 0.91,
        "tier_performance": {"Flex 1": 0.8},
        "rebound_pct": None,
    }
    assert worst([one, two]) == two | {"rmse_pct": 0.3}
    assert worst([{"delivered_pct": -26.0}, {"delivered_pct": -25.0}]) == {"delivered_pct": -25.0}


def test_the_field_tests_event_ramps_for_a_quarter_of_an_hour_and_holds_for_three() -> None:
    clock = [f"{14 + (40 + k) // 60:02}:{(40 + k) % 60:02}" for k in range(400)]
    event = field_test_event(clock)
    assert (event.baseline_minutes, event.ramp.sum(), event.hold.sum(), event.after.sum()) == (80, 15, 180, 110)
    assert event.target[event.ramp] == pytest.approx(1.0 - 0.25 * (np.arange(15) + 0.5) / 15)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the field test's data is not in {DATA}")
def test_what_the_field_test_measured_comes_out_as_published() -> None:
    case = read_case(DATA, curves=None, jobs=None, event=None)
    assert case.field_test is not None
    power_kw = case.field_test.power_kw
    baseline_kw = float(power_kw[: case.event.baseline_minutes].mean())
    figures = tracking(power_kw, case.event, baseline_kw)
    assert baseline_kw == pytest.approx(93.34, abs=0.005)
    assert figures.delivered_pct == pytest.approx(-31.6, abs=0.05)
    assert figures.over_delivery_pct == pytest.approx(26.0, abs=0.5)
    assert figures.mean_deviation_pct == pytest.approx(6.6, abs=0.05)
    assert figures.minutes_over_target == 0
    assert figures.lowest_kw == pytest.approx(46.6, abs=0.05)
    assert figures.rebound_pct == 0.0


@pytest.mark.parametrize("targets", [[1.0, 1.0], [0.8, 0.8], [1.0, 0.8], [1.0, -0.1, -0.1]])
def test_an_event_without_baseline_hold_or_sense_is_refused(targets: list[float]) -> None:
    with pytest.raises(BenchmarkError):
        Event.of(np.array(targets))


# --- policies -----------------------------------------------------------------------------------------------------


def test_fair_gives_every_job_the_same_share_of_its_headroom() -> None:
    event = Event.of(np.array([1.0] * 5 + [0.8] * 5))
    caps_w = FairPlan(small(), event).caps_w(0.8)
    # Half of the run: Flex 1 may fall to 0.8, which takes 260 W, and Flex 3 to the bottom of the sweep.
    given = 0.2 * 26 * 380 / (6 * 120 + 20 * 280)
    assert caps_w == pytest.approx(np.interp([380 - given * 120] + [380 - given * 280] * 2, [200, 380], [200, 400]))


def test_uniform_is_one_cap_that_planned_power_meets() -> None:
    caps_w = UniformPlan(small()).caps_w(0.8)
    assert caps_w == pytest.approx([np.interp(0.8 * 380, [200, 380], [200, 400])] * 3)


def test_margins_are_found_on_the_runs_own_noise() -> None:
    event = Event.of(np.array([1.0] * 4 + [0.8] * 8))
    plant = Plant(small(), minutes=event.minutes, seed=3, noisy=True)
    baseline_kw = float(uncapped(plant, event.baseline_minutes).mean())
    plan = FairPlan(small(), event)
    over = planned(plant, event, plan, 0.0).power_kw / baseline_kw - event.target
    kept = never_over(plant, event, plan, baseline_kw).power_kw / baseline_kw - event.target
    assert abs(over[event.hold].max()) > 1e-3
    assert -1e-3 <= kept[event.hold].max() <= 0.0
    rescaled = delivering(plant, event, plan, 0.77 * baseline_kw, baseline_kw).power_kw
    assert rescaled[event.hold].mean() / baseline_kw == pytest.approx(0.77, abs=1e-3)


def test_the_plant_without_noise_is_the_sweep_and_lags_behind_its_caps() -> None:
    plant = Plant(small(), minutes=1, seed=0, noisy=False)
    full = plant.advance(10, plant.max_cap_w)
    assert full.job_kw[-1] == pytest.approx([6 * 0.38, 10 * 0.38, 10 * 0.38])
    assert full.rate.min() == 1.0
    falling = plant.advance(10, np.full(3, 200.0))
    settled = plant.advance(150, np.full(3, 200.0))
    assert settled.job_kw[-1] == pytest.approx([1.2, 2.0, 2.0], rel=2e-3)
    assert settled.rate[-1] == pytest.approx([0.7] * 3, rel=2e-3)
    assert (falling.job_kw[-1] > 1.1 * settled.job_kw[-1]).all()


# --- the programme ------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> Mapping[str, Any]:
    assert main(arguments) == 0
    printed: Mapping[str, Any] = json.loads(capsys.readouterr().out)
    return printed


@pytest.mark.parametrize("noise", ["realistic", "none"])
def test_every_policy_has_every_figure_and_says_it_is_simulated(
    files: list[str], noise: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, [*files, "--noise", noise])
    for name in POLICIES:
        assert result[name]["basis"] == "simulated"
        assert set(result[name]) >= TRACKING | {"weighted_performance", "tier_performance"}
        assert set(result[name]["tier_performance"]) == {"Flex 0", "Flex 1", "Flex 2", "Flex 3"}
    assert result["measured"] == {"basis": "measured", "reason": result["measured"]["reason"]}
    assert [one["seed"] for one in result["runs"]] == [0]
    ours, rescaled = result["ours"], result["fair_rescaled"]
    assert ours["tier_performance"]["Flex 0"] == 1.0
    assert ours["rmse_pct"] <= 0.6
    assert ours["delivered_pct"] == pytest.approx(rescaled["delivered_pct"], abs=0.03)
    assert result["fair"]["minutes_over_target"] == 0


def test_without_the_data_a_line_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == MissingDataError.exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--data" in printed.err
    assert printed.err.count("\n") == 1


def test_a_job_without_a_curve_is_refused(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[3]).write_text("name,workload,gpus,flex_tier\na,unknown,8,2\n", "utf-8")
    assert main(files) == BenchmarkError.exit_code
    assert "no curve" in capsys.readouterr().err
