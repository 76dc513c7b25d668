"""Nested limits: the outcome is the linear programme's optimum, keeps every limit and every floor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.hierarchy import Nested, Tree, solve
from tests.agent.control.problems import Site, random_site

seeds = st.integers(0, 2**32 - 1)


def limited(site: Site, seed: int) -> Tree:
    """Limits at random shares of what is drawn uncapped, some of them slack, some below the floors."""
    rng = np.random.default_rng(seed)
    racks = site.drawn_kw(np.array([c.max_power_w for c in site.curve]))
    feeds = np.bincount(site.feed, weights=racks, minlength=int(site.feed.max()) + 1)
    return site.tree(
        racks * rng.uniform(0.6, 1.2, len(racks)),
        feeds * rng.uniform(0.6, 1.1, len(feeds)),
        float(racks.sum() * rng.uniform(0.6, 1.05)),
    )


def over_kw(site: Site, tree: Tree, found: Nested) -> np.ndarray:
    racks = site.drawn_kw(found.bound_w)
    feeds = np.bincount(site.feed, weights=racks, minlength=len(tree.feed_limit_kw))
    return np.concatenate((racks - tree.rack_limit_kw, feeds - tree.feed_limit_kw, [racks.sum() - tree.site_limit_kw]))


@settings(max_examples=60, deadline=None)
@given(seed=seeds, jobs=st.integers(1, 12), racks=st.integers(1, 5), feeds=st.integers(1, 3))
def test_it_costs_what_the_linear_programme_says_or_the_floors_bind(
    seed: int, jobs: int, racks: int, feeds: int
) -> None:
    site = random_site(seed, jobs=jobs, racks=racks, feeds=feeds, most_units=3)
    tree = limited(site, seed)
    found = solve(site.units(), tree)
    least = site.by_linear_programme(tree)
    assert np.all(found.bound_w >= site.floor_w - 1e-6)
    assert np.all(over_kw(site, tree, found) <= found.short_kw + 1e-6)
    if least is None:
        assert found.short_kw.max() > 0
    else:
        assert found.short_kw.max() == pytest.approx(0.0, abs=1e-6)
        assert site.cost(found.bound_w) == pytest.approx(least, rel=1e-6, abs=1e-6)
        assert found.usd_per_h == pytest.approx(least, rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, jobs=st.integers(1, 8), racks=st.integers(2, 5))
def test_a_job_with_one_cap_goes_alike_and_no_limit_is_broken_for_it(seed: int, jobs: int, racks: int) -> None:
    site = random_site(seed, jobs=jobs, racks=racks, feeds=2, most_units=3)
    tree = limited(site, seed)
    found = solve(site.units(alike=True), tree)
    for job in range(jobs):
        assert np.ptp(found.bound_w[site.job == job]) <= 1e-5
    assert np.all(found.bound_w >= site.floor_w - 1e-6)
    least = site.by_linear_programme(tree, alike=True)
    if least is not None and found.short_kw.max() <= 1e-6:
        assert np.all(over_kw(site, tree, found) <= 1e-6)
        assert site.cost(found.bound_w) >= least - 1e-6


def test_jobs_with_one_cap_cost_hardly_more_than_the_linear_programme_says() -> None:
    """Twenty jobs in up to three of eight racks each, most limits tight: on the mean of many sites."""
    gaps = []
    for seed in range(40):
        site = random_site(seed, jobs=20, racks=8, feeds=2, most_units=3)
        tree = limited(site, seed)
        least = site.by_linear_programme(tree, alike=True)
        if least is not None:
            found = solve(site.units(alike=True), tree)
            assert found.short_kw.max() <= 1e-6
            gaps.append(site.cost(found.bound_w) / least - 1)
    assert len(gaps) > 10
    assert np.mean(gaps) <= 0.02


def test_what_a_job_with_one_cap_leaves_in_other_racks_goes_to_their_jobs() -> None:
    """Job 0 is held back by rack 0; rack 1 has then no reason to lower job 1."""
    site = random_site(3, jobs=2, racks=2, feeds=1)
    curve, gpus = site.curve[0], np.array([10.0, 10.0, 10.0])
    site = Site(
        curve=[curve] * 3,
        gpus=gpus,
        price=np.ones(3),
        floor_w=np.full(3, 150.0),
        job=np.array([0, 0, 1]),
        rack=np.array([0, 1, 1]),
        feed=np.zeros(2, dtype=np.intp),
    )
    top_w = curve.max_power_w
    tree = site.tree(np.array([2.0, 2.0 + 10 * top_w / 1000]), np.array([np.inf]), np.inf)
    found = solve(site.units(alike=True), tree)
    assert found.bound_w == pytest.approx([200.0, 200.0, top_w])
