"""The audit chain holds, and one altered byte anywhere breaks it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grid.audit import AuditEntry, export_line, link, public_key_from_text, public_key_text, sign_head, verify
from grid.errors import AuditError

KEY = Ed25519PrivateKey.generate()
AT = datetime(2026, 7, 1, 12, tzinfo=UTC)


def chain_of(length: int) -> list[str]:
    lines: list[str] = []
    last: AuditEntry | None = None
    for n in range(length):
        last = link(
            last, chain="test", at=AT, actor="vtn", action="event.received", subject=f"e{n}", facts={"kw": n, "ö": "é"}
        )
        lines.append(export_line(last))
        if n % 2 == 1 or n == length - 1:
            lines.append(export_line(sign_head(last, KEY)))
    return lines


def test_a_whole_chain_verifies_with_the_exported_key() -> None:
    key = public_key_from_text(public_key_text(KEY.public_key()))
    verified = verify(chain_of(5), key)
    assert (verified.entries, verified.heads) == (5, 3)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_any_altered_byte_is_found(data: st.DataObject) -> None:
    text = "\n".join(chain_of(3)).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != text[at]))
    altered = text[:at] + bytes([byte]) + text[at + 1 :]
    with pytest.raises((AuditError, UnicodeDecodeError)):
        verify(altered.decode().split("\n"), KEY.public_key())


def test_lost_reordered_and_unsigned_lines_are_found() -> None:
    lines = chain_of(4)
    with pytest.raises(AuditError, match="does not follow"):
        verify(lines[1:], KEY.public_key())
    with pytest.raises(AuditError, match="does not follow"):
        verify([lines[1], lines[0], *lines[2:]], KEY.public_key())
    with pytest.raises(AuditError, match="not covered by a signed head"):
        verify(lines[:-1], KEY.public_key())
    with pytest.raises(AuditError, match="no entries"):
        verify([], KEY.public_key())
    with pytest.raises(AuditError, match="signature"):
        verify(lines, Ed25519PrivateKey.generate().public_key())
