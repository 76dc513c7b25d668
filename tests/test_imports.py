"""What no product module may import, where import-linter cannot say it: a package that none of them knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("grid", "certs", "ven", "agent", "aggregator")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def test_openleadr_gives_us_its_schemas_and_no_code() -> None:
    modules = [path for package in PRODUCT for path in (ROOT / package).rglob("*.py")]
    assert len(modules) > 100
    users = [
        path.relative_to(ROOT)
        for path in modules
        for name in imported(ast.parse(path.read_text("utf-8")))
        if name.partition(".")[0] == "openleadr"
    ]
    assert users == []
