"""Marks, and the processes that all tests of this folder share: each test has a VEN of its own in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.ven.conformance.bench import Scenario, Stand, stand
from tests.ven.conformance.marks import OPENLEADR, OURS, SCRIPTED, titles
from tests.ven.simulation.conftest import Domain, domain

__all__ = ["domain"]

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rule(*numbers): OpenADR 2.0b conformance rules that the test shows")
    config.addinivalue_line("markers", "service(service, operation, sender): a service operation that it shows")
    config.addinivalue_line("markers", "ven(peers, settings): the VEN of the test, and its VTNs in turn")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("ven")
        peers = (OURS,) if marker is None else marker.kwargs["peers"]
        metafunc.parametrize("peer", peers, ids=[one.name for one in peers])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shows", help="only tests that show this, at one VTN of a kind: 'rule 6', 'oadrPoll by the VEN'")


SCENARIOS = pytest.StashKey[dict[str, Scenario]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each test becomes the waiting for its own outcome, since they run side by side (``Stand``)."""
    scenarios = config.stash.setdefault(SCENARIOS, {})
    wanted = config.getoption("--shows", None)
    if wanted is not None:
        items[:] = [item for item in items if wanted in titles(item) and _plain(item)]
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function) and "bench" in item.fixturenames:
            scenarios[item.nodeid] = item.obj
            item.obj = _wait_for
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def _plain(item: pytest.Item) -> bool:
    spec = item.callspec.params["peer"] if isinstance(item, pytest.Function) else None
    return spec in (OURS, OPENLEADR, SCRIPTED)


async def _wait_for(bench: asyncio.Task[None]) -> None:
    await bench


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def conformance_stand(
    request: pytest.FixtureRequest, domain: Domain, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("conformance")
    async with stand(request.session.items, request.config.stash[SCENARIOS], domain, folder) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def bench(request: pytest.FixtureRequest, conformance_stand: Stand, peer: object) -> asyncio.Task[None]:
    """The test itself, which has begun with its bench."""
    return conformance_stand.outcomes[request.node.nodeid]
