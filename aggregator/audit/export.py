"""The aggregator's audit chain as a file an auditor can check alone: JSON lines, the public key beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.errors import StoreError
from aggregator.storage import audit
from aggregator.storage.store import ReadableStore
from grid.audit import export_line, public_key_text


async def export_lines(store: ReadableStore) -> AsyncGenerator[str, None]:
    """Every entry and head as committed at one instant, in order, each line with its end.

    The chain only grows, so its end is asked once and each page read by itself: whoever takes the lines may be slow,
    and no connection waits for it.
    """
    async with store.reading() as connection:
        newest = await audit.newest(connection)
    after, until = -1, -1 if newest is None else newest.seq
    while after < until:
        async with store.reading() as connection:
            page = await audit.page(connection, after=after, until=until)
        for item in page:
            yield export_line(item) + "\n"
        after = page[-1].seq


async def write_export(store: ReadableStore, out: Path) -> int:
    """Write the chain to ``out``; returns the number of lines. Raises StoreError when it cannot be written."""
    lines = 0
    try:
        with out.open("w", encoding="utf-8", newline="\n") as file:
            async for line in export_lines(store):
                file.write(line)
                lines += 1
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    return lines


def write_public_key(key: Ed25519PrivateKey, out: Path) -> None:
    """Write the key that checks the chain's heads. Raises StoreError."""
    try:
        out.write_text(public_key_text(key.public_key()) + "\n", encoding="ascii")
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
