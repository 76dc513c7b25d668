"""A few rounds of the campaign in every test run; that it knows every write, and that it sees one that is missing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ven.journal
from tests.campaigns.ven_crash.points import POINTS, WRITES
from tests.campaigns.ven_crash.stages import EVERY


def run(*arguments: str) -> dict[str, Any]:
    """A process of its own, since VEN processes are forked from it."""
    command = [sys.executable, "-m", "tests.campaigns.ven_crash", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is (not result["failures"]), result["failures"]
    return result


def test_a_ven_that_is_killed_everywhere_loses_nothing() -> None:
    result = run("--rounds", "8", "--seed", "8")
    assert result["failures"] == []
    assert result["kills"]["at named points"] >= 8 * 6
    assert result["kills"]["at random"] >= 8 * 6
    assert result["counts"]["intervals"] > 0


@pytest.mark.parametrize("write", ["Events.decide", "Reports.record_data"])
def test_the_campaign_sees_a_write_that_is_missing(write: str) -> None:
    assert run("--mutations", write)["mutations"][write] is not None


def test_every_write_of_the_journal_has_its_points() -> None:
    folder = Path(ven.journal.__file__).parent
    writes = [write for path in folder.glob("*.py") for write in _writes(ast.parse(path.read_text()))]
    assert sorted(writes) == sorted(WRITES)


def _writes(module: ast.Module) -> list[str]:
    return [
        f"{kind.name}.{method.name}"
        for kind in ast.walk(module)
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef)
        and any(isinstance(node, ast.Name) and node.id == "transaction" for node in ast.walk(method))
    ]


def test_every_point_has_its_stage() -> None:
    assert {point for stage in EVERY for point in stage.points} == set(POINTS)
