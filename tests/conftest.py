"""The order of the whole suite: files that mostly wait begin first, so that the others run beside them."""

from __future__ import annotations

import pytest

LONG = ("tests/demo/test_demo.py", "tests/campaigns/", "tests/ven/conformance/")
"""What takes longest, by the clock and not by the processor."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, prefix in enumerate(LONG) if item.nodeid.startswith(prefix)), len(LONG))
