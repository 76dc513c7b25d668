"""The benchmark of the codec compares what does the same; its figures are not looked at here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import codec as benchmark

KINDS = {kind.name: replace(kind, samples=kind.samples[:2]) for kind in benchmark.kinds()}


@pytest.mark.parametrize("name", list(KINDS))
def test_every_contender_makes_and_reads_the_messages(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    for signing in (None, benchmark.identities(tmp_path)[0]):
        for steps in (
            benchmark.creating(kind, signing),
            benchmark.parsing(kind, signing, benchmark.contents_of(kind, signing)),
        ):
            assert list(steps) == ["ours", "openleadr", "floor"]
            for step in steps.values():
                assert step()


def test_a_row_says_how_often_faster_and_how_far_from_the_floor() -> None:
    best = {"ours": 10.0, "openleadr": 100.0, "floor": 8.0}
    row = benchmark.row("parse", KINDS["poll"], None, best)
    assert (row["ours_us"], row["openleadr_us"], row["floor_us"]) == (10.0, 100.0, 8.0)
    assert (row["ratio"], row["over_floor"], row["signature"]) == (10.0, 1.25, "none")
