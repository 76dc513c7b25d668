"""Energy is what a counter gained, over resets and gaps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.gpu.energy import EnergyCounter


@pytest.mark.parametrize(
    ("shown", "used_mj"),
    [
        ((), None),
        ((700,), None),
        ((None, 700, None), None),
        ((700, 700), 0),
        ((700, 900, 1_000), 300),
        ((700, None, 1_000), 300),
        ((700, 900, 50, 80), 280),
    ],
)
def test_a_reset_counts_from_zero_and_a_gap_is_made_up_for(shown: Sequence[int | None], used_mj: int | None) -> None:
    counter = EnergyCounter()
    for counter_mj in shown:
        counter.show(counter_mj)
    assert counter.used_mj == used_mj
