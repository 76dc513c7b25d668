"""docs/conformance.md out of the marks: ``python -m tests.ven.conformance.table`` writes it."""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from tests.ven.conformance.marks import OPERATIONS, RULES, Operation, PeerSpec, shown
from tests.ven.conformance.mutations import of

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "conformance.md"

OPENING = """# OpenADR 2.0b conformance

Which test shows which rule and which operation of a service. `python -m tests.ven.conformance.table` makes this page
out of the marks that the tests bear; a test fails while it is not up to date.

Every test has a VEN of its own in a running `negawatt ven run`, over mutual TLS, at a VTN in another process (`ours`,
`negawatt vtn run`; `openleadr`, stock openleadr 0.5.36) or at one in the test's hand (`scripted`), for what neither of
them can be made to say. All are signed with EC keys, but for `test_a_ven_through_its_life`, which runs with RSA keys
and unsigned as well, at ours and at openleadr's. The last column counts what
`python -m tests.campaigns.conformance_mutations` switches off in the VEN to see that these tests fail.

The rules are told in our words, as far as they concern a VEN; 35 and 41 to 44 are told together. A VEN of ours asks
for no reports of the VTN, so oadrCreateReport and oadrCancelReport by the VEN do not occur. Stock openleadr has no
EiOpt, no modifications, no report requests after the registration, and refuses itself to send a wrong SIMPLE level.
"""


@dataclass
class Shown:
    """The tests of one rule or operation."""

    tests: dict[str, None] = field(default_factory=dict)
    peers: dict[str, None] = field(default_factory=dict)


class _Collector:
    """A pytest plugin that keeps what it collected."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def collected() -> list[pytest.Item]:
    """Every conformance test."""
    collector = _Collector()
    words = [str(HERE), "--collect-only", "-q", "-p", "no:cacheprovider"]
    with redirect_stdout(io.StringIO()):
        code = pytest.main(words, plugins=[collector])
    assert code == pytest.ExitCode.OK, code
    return collector.items


def page(items: Iterable[pytest.Item]) -> str:
    """The whole document."""
    found: defaultdict[int | Operation, Shown] = defaultdict(Shown)
    for item in items:
        for mark in shown(item):
            name = getattr(item, "originalname", item.name)
            found[mark].tests[f"{item.path.stem}.{name}"] = None
            if isinstance(item, pytest.Function):
                spec = cast(PeerSpec, item.callspec.params["peer"])
                found[mark].peers[spec.kind] = None
    rows = [
        OPENING,
        "## Rules\n",
        "| rule | meaning | tests | VTNs | mutations |",
        "|---|---|---|---|---|",
        *(f"| {number} | {meaning} | {_cells(found[number], number)} |" for number, meaning in RULES.items()),
        "\n## Operations\n",
        "| service | operation | by | meaning | tests | VTNs | mutations |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(one)} | {meaning} | {_cells(found[one], one)} |" for one, meaning in OPERATIONS.items()),
    ]
    return "\n".join(rows) + "\n"


def _cells(one: Shown, mark: int | Operation) -> str:
    tests = "<br>".join(f"`{test}`" for test in one.tests)
    return f"{tests} | {', '.join(one.peers)} | {len(of(mark))}"


def main() -> int:
    PAGE.write_text(page(collected()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
