"""The chain as a stream: whole as it stood when asked for, however slowly it is read."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.audit.export import export_lines
from aggregator.storage import audit
from aggregator.storage.store import READERS, Store
from grid.audit import verify
from grid.clock import SystemClock


async def _record(store: Store, entries: int) -> None:
    async with store.transaction() as tx:
        for n in range(entries):
            await tx.record(actor="test", action="thing.done", subject=str(n), facts={})


async def test_slow_readers_keep_nobody_from_reading(store: Store) -> None:
    await _record(store, 3)
    slow = [export_lines(store) for _ in range(READERS + 1)]
    async with SystemClock().timeout(10):
        for lines in slow:
            await anext(lines)
        async with store.reading() as connection:
            assert await audit.count(connection) == 3
    for lines in slow:
        await lines.aclose()


async def test_what_comes_after_the_question_is_left_to_the_next_export(
    store: Store, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 2)
    await _record(store, 5)
    async with aclosing(export_lines(store)) as lines:
        got = [await anext(lines)]
        await _record(store, 5)
        got += [line async for line in lines]
    held = verify(got, key.public_key())
    assert (held.entries, held.heads) == (5, 1)
    assert verify([line async for line in export_lines(store)], key.public_key()).entries == 10


async def test_a_chain_without_entries_has_no_lines(store: Store) -> None:
    assert [line async for line in export_lines(store)] == []
