"""docs/conformance.md is what the marks say, and every rule and operation has a test and a mutation."""

from __future__ import annotations

import subprocess
import sys

from tests.ven.conformance.marks import OPERATIONS, RULES, title
from tests.ven.conformance.mutations import Mark, of
from tests.ven.conformance.table import HERE, PAGE

WHOLE = "import sys; from tests.ven.conformance.table import collected, page; sys.stdout.write(page(collected()))"


def test_the_page_is_up_to_date_and_lacks_nothing() -> None:
    # pytest does not run inside pytest.
    made = subprocess.run(
        [sys.executable, "-c", WHOLE], cwd=HERE.parents[2], capture_output=True, text=True, timeout=60, check=True
    )
    assert PAGE.read_text() == made.stdout, "run python -m tests.ven.conformance.table"
    untested = [line for line in made.stdout.splitlines() if line.startswith("|") and "|  |" in line]
    assert untested == []


def test_everything_can_be_switched_off() -> None:
    marks: list[Mark] = [*RULES, *OPERATIONS]
    assert [title(mark) for mark in marks if not of(mark)] == []
