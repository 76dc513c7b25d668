"""Allocation: the greedy fill is the optimum, meets its budget and never goes below a floor."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.allocate import Allocator, CapClass, Scale
from agent.control.demand import Demand
from agent.workloads.curves import PUBLISHED
from agent.workloads.jobs import FlexTier, Job
from tests.agent.control.problems import random_site

WORKLOADS = sorted(PUBLISHED)


def cap_class(name: str, workload: str, floor: float, price: float) -> CapClass:
    return CapClass(class_id=name, curve=PUBLISHED[workload], floor=floor, price_usd_per_gpu_hour=price)


def busy(workload: str, count: int, gain: float = 1.0) -> Scale:
    return Scale(gpu_count=count, gain=gain, cost_gain=gain, demand=Demand.full(PUBLISHED[workload]))


@st.composite
def sites(draw: st.DrawFn) -> tuple[list[CapClass], dict[str, Scale]]:
    classes, scales = [], {}
    for i in range(draw(st.integers(1, 5))):
        workload = draw(st.sampled_from(WORKLOADS))
        floor, price = draw(st.sampled_from((0.9, 0.75, 0.5))), draw(st.floats(0.5, 5.0))
        classes.append(cap_class(f"j{i}", workload, floor, price))
        samples = draw(st.lists(st.floats(80.0, 380.0), min_size=1, max_size=12))
        scales[f"j{i}"] = Scale(
            gpu_count=draw(st.integers(1, 64)), gain=1.0, cost_gain=1.0, demand=Demand.seen(np.array(samples))
        )
    return classes, scales


def drawn_kw(classes: list[CapClass], scales: dict[str, Scale], power_w: dict[str, float]) -> float:
    return sum(
        scales[c.class_id].kw_per_curve_w * scales[c.class_id].demand.mean_under(power_w[c.class_id]) for c in classes
    )


@settings(max_examples=40, deadline=None)
@given(site=sites(), share=st.floats(0.3, 1.1))
def test_what_is_drawn_is_the_budget_or_the_floors(site: tuple[list[CapClass], dict[str, Scale]], share: float) -> None:
    classes, scales = site
    allocator = Allocator(classes)
    budget_kw = allocator.full_kw(scales) * share
    allocation = allocator.allocate(budget_kw, scales)
    drawn = drawn_kw(classes, scales, dict(allocation.power_w))
    # The demand is cut into a few pieces, inside which what a bound frees is taken to be linear.
    most_off_kw = 0.01 * allocator.full_kw(scales)
    if share < 1:
        assert drawn == pytest.approx(budget_kw + allocation.short_kw, abs=most_off_kw)
    else:
        assert drawn == pytest.approx(allocator.full_kw(scales))
    assert all(allocation.power_w[c.class_id] >= c.floor_w - 1e-9 for c in classes)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), jobs=st.integers(1, 12), share=st.floats(0.5, 1.05))
def test_the_cost_is_the_linear_programmes(seed: int, jobs: int, share: float) -> None:
    """Prices, debits, floors and local bounds at random; losses bounded by the lines of the curves (HiGHS)."""
    site, rng = random_site(seed, jobs=jobs, racks=1, feeds=1), np.random.default_rng(seed)
    debit = rng.choice((1.0, 1.5, 20.0), jobs)
    tops_w = np.array([c.max_power_w for c in site.curve])
    # A job's floor and what its rack allows, above and below its tier's.
    least_w = np.minimum(site.floor_w * rng.uniform(0.8, 1.2, jobs), tops_w)
    most_w = np.where(rng.random(jobs) < 0.3, least_w + (tops_w - least_w) * rng.random(jobs), tops_w)
    classes = [
        CapClass(class_id=f"j{i}", curve=curve, floor=0.75, price_usd_per_gpu_hour=float(site.price[i]))
        for i, curve in enumerate(site.curve)
    ]
    scales = {
        f"j{i}": Scale(
            gpu_count=int(site.gpus[i]),
            gain=1.0,
            cost_gain=1.0,
            demand=Demand.full(curve),
            debit=float(debit[i]),
            least_w=float(least_w[i]),
            most_w=float(most_w[i]),
        )
        for i, curve in enumerate(site.curve)
    }
    allocator = Allocator(classes)
    budget_kw = float(site.full_kw.sum()) * share
    found = allocator.allocate(budget_kw, scales)
    bound_w = np.array([found.power_w[f"j{i}"] for i in range(jobs)])
    assert np.all(bound_w >= least_w - 1e-6)
    assert np.all(bound_w <= most_w + 1e-6)
    priced = replace(site, price=site.price * debit, floor_w=least_w, top_w=most_w)
    free = np.array([np.inf])
    cost = priced.by_linear_programme(priced.tree(free, free, budget_kw))
    if found.short_kw > 1e-9:
        assert cost is None
        assert bound_w == pytest.approx(least_w)
    else:
        assert priced.cost(bound_w) == pytest.approx(cost, rel=1e-6, abs=1e-6)
        drawn_kw = float(priced.drawn_kw(bound_w).sum())
        assert drawn_kw == pytest.approx(min(budget_kw, allocator.full_kw(scales)), rel=1e-9)
        # The steps lead from what local bounds leave to the floors.
        room_kw = allocator.full_kw(scales) - float(priced.drawn_kw(least_w).sum())
        assert allocator.steps(scales).kw.sum() == pytest.approx(room_kw, abs=1e-9)


def test_a_class_that_leaves_and_comes_back_is_allocated_as_before() -> None:
    classes = [cap_class("a", "infer_llama_8b", 0.5, 2.0), cap_class("b", "pt_mpt_13b_sm", 0.5, 2.0)]
    scales = {"a": busy("infer_llama_8b", 8), "b": busy("pt_mpt_13b_sm", 8)}
    allocator = Allocator(classes)
    before = allocator.allocate(4.0, scales)
    assert set(allocator.allocate(2.0, {"b": scales["b"]}).power_w) == {"b"}
    assert allocator.allocate(4.0, scales) == before
    none_left = {"a": replace(scales["a"], gpu_count=0), "b": scales["b"]}
    assert set(allocator.steps(none_left).of_class.tolist()) == {1}
    assert allocator.allocate(1.0, {}).power_w == {}


def test_no_other_split_on_a_grid_is_cheaper() -> None:
    classes = [
        cap_class("a", "ft_llama_8b_p3", 0.5, 2.0),
        cap_class("b", "pt_mpt_13b_sm", 0.5, 1.4),
        cap_class("c", "infer_llama_8b", 0.75, 2.5),
    ]
    scales = {"a": busy("ft_llama_8b_p3", 8), "b": busy("pt_mpt_13b_sm", 10), "c": busy("infer_llama_8b", 6)}
    allocator = Allocator(classes)
    budget_kw = allocator.full_kw(scales) * 0.75

    def cost(power_w: dict[str, float]) -> float:
        return sum(
            scales[c.class_id].gpu_count * c.price_usd_per_gpu_hour * (1 - c.curve.throughput(power_w[c.class_id]))
            for c in classes
        )

    best = cost(dict(allocator.allocate(budget_kw, scales).power_w))
    grids = [np.linspace(c.floor_w, c.curve.max_power_w, 25) for c in classes]
    feasible = (
        cost(powers)
        for combo in itertools.product(*grids)
        if drawn_kw(classes, scales, powers := dict(zip("abc", map(float, combo), strict=True))) <= budget_kw
    )
    assert best <= min(feasible) + 1e-9


@settings(max_examples=25, deadline=None)
@given(site=sites())
def test_costs_never_fall_along_the_curve(site: tuple[list[CapClass], dict[str, Scale]]) -> None:
    classes, scales = site
    costs = Allocator(classes).steps(scales).usd_per_kwh.tolist()
    assert costs == sorted(costs)


def test_a_bound_above_the_demand_frees_nothing() -> None:
    classes = [cap_class("serving", "infer_llama_8b", 0.9, 2.0)]
    quiet = Scale(gpu_count=8, gain=1.0, cost_gain=1.0, demand=Demand.seen(np.full(20, 250.0)))
    assert classes[0].floor_w > 250.0
    assert len(Allocator(classes).steps({"serving": quiet}).kw) == 0


@pytest.mark.parametrize(("workload", "tier"), [("decode", 3), ("pt_mpt_13b_sm", 0)])
def test_flex_0_and_decode_are_no_cap_classes(workload: str, tier: int) -> None:
    job = Job(job_id="j", workload=workload, tier=FlexTier(tier), gpu_uuids=("GPU-0",))
    assert CapClass.of(job) is None
