"""An exit code says one thing, and docs/architecture.md says what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import agent.errors
import agent.simulation.errors
import aggregator.demo.errors
import aggregator.errors
import certs.errors
import ven.errors
from grid.errors import NegawattError

TREES = (agent.errors, agent.simulation.errors, aggregator.demo.errors, aggregator.errors, certs.errors, ven.errors)
DOCUMENTED = Path(__file__).parents[1] / "docs" / "architecture.md"


def _with_a_code_of_its_own(error: type[NegawattError]) -> Iterator[type[NegawattError]]:
    # The errors of benchmarks and campaigns are not the product's.
    if "exit_code" in vars(error) and not error.__module__.startswith("tests."):
        yield error
    for kind in error.__subclasses__():
        yield from _with_a_code_of_its_own(kind)


def test_each_kind_of_error_has_a_code_of_its_own_and_it_is_documented() -> None:
    kinds = [(kind.exit_code, kind.__name__) for kind in _with_a_code_of_its_own(NegawattError)]
    codes = [code for code, _ in kinds]
    assert sorted(codes) == sorted(set(codes)), kinds
    listed = re.findall(r"^\| (\d+) \|", DOCUMENTED.read_text("utf-8"), flags=re.MULTILINE)
    assert {int(code) for code in listed} == {0, *codes, 130}
    assert len(TREES) == len(set(TREES))
