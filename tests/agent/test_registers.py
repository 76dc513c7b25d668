"""Numbers in plain registers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.registers import RegisterPoint


@given(words=st.integers(1, 4), signed=st.booleans(), data=st.data())
def test_a_number_reads_back_as_it_was_written(words: int, signed: bool, data: st.DataObject) -> None:
    bits = 16 * words
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    value = data.draw(st.integers(low, high))
    point = RegisterPoint(address=0, words=words, signed=signed)
    encoded = point.encode(value)
    assert len(encoded) == words
    assert point.decode(encoded) == value


def test_the_high_word_comes_first_and_what_does_not_fit_is_refused() -> None:
    point = RegisterPoint(address=0, words=2)
    assert point.encode(0x12345678) == [0x1234, 0x5678]
    with pytest.raises(OverflowError):
        point.encode(-1)
