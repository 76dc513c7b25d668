"""The audit chain: who did what when, so that an auditor can check it alone.

Each entry carries the SHA-256 of its canonical JSON and of the entry before it; each committed batch ends in a
head, the newest hash signed with Ed25519. A chain has one writer, and that writer stores an entry in the same
transaction as the fact it records. An export is JSON lines of entries and heads; ``verify`` needs nothing else
but the public key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from grid.errors import AuditError
from grid.intervals import utc

GENESIS = "0" * 64


def canonical(value: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; NaN and infinities raise ``ValueError``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One link. ``facts`` holds only JSON values."""

    chain: str
    seq: int
    """From 0, by 1."""
    at: str
    """ISO 8601, UTC."""
    actor: str
    """Who: a person, a site, a VTN, or one of our processes."""
    action: str
    """What, as noun.verb: event.received, budget.issued, settlement.computed."""
    subject: str
    """To what: an event, a site, a budget revision."""
    facts: Mapping[str, Any]
    previous: str
    hash: str

    def computed_hash(self) -> str:
        body = asdict(self)
        del body["hash"]
        return hashlib.sha256(canonical(body)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The newest entry of a committed batch, signed."""

    chain: str
    seq: int
    hash: str
    signature: str
    """Ed25519 over the canonical JSON of chain, seq and hash; base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a chain that holds amounts to."""

    chain: str
    entries: int
    heads: int
    last_hash: str


def link(
    previous: AuditEntry | None,
    *,
    chain: str,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    facts: Mapping[str, Any],
) -> AuditEntry:
    """The entry that follows ``previous``."""
    unhashed = AuditEntry(
        chain=chain,
        seq=0 if previous is None else previous.seq + 1,
        at=utc(at).isoformat(),
        actor=actor,
        action=action,
        subject=subject,
        facts=facts,
        previous=GENESIS if previous is None else previous.hash,
        hash="",
    )
    return AuditEntry(**{**asdict(unhashed), "hash": unhashed.computed_hash()})


def sign_head(entry: AuditEntry, key: Ed25519PrivateKey) -> AuditHead:
    """A signed head at ``entry``."""
    signature = key.sign(_head_bytes(entry.chain, entry.seq, entry.hash))
    return AuditHead(
        chain=entry.chain,
        seq=entry.seq,
        hash=entry.hash,
        signature=base64.b64encode(signature).decode("ascii"),
    )


def check_head(head: AuditHead, key: Ed25519PublicKey) -> None:
    """Raise AuditError unless ``key`` signed ``head``."""
    try:
        key.verify(base64.b64decode(head.signature, validate=True), _head_bytes(head.chain, head.seq, head.hash))
    except (InvalidSignature, ValueError) as error:
        raise AuditError(f"the signature of head {head.seq} of chain {head.chain} does not hold") from error


def public_key_text(key: Ed25519PublicKey) -> str:
    """The raw public key, base64."""
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode("ascii")


def public_key_from_text(text: str) -> Ed25519PublicKey:
    """Inverse of ``public_key_text``. Raises AuditError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
    except ValueError as error:
        raise AuditError(
            "the public key is not 32 bytes in base64: use the file `negawatt audit export` wrote"
        ) from error


def export_line(item: AuditEntry | AuditHead) -> str:
    """One line of an export."""
    kind = "entry" if isinstance(item, AuditEntry) else "head"
    return canonical({kind: asdict(item)}).decode()


def verify(lines: Iterable[str], key: Ed25519PublicKey) -> Verified:
    """Check an export from its first entry to its last signed head.

    Raises AuditError naming the first line that does not hold: an altered entry, a missing or reordered one,
    a head that was not signed with ``key`` or names another hash, or entries after the last head.
    """
    last: AuditEntry | None = None
    heads = 0
    signed_seq = -1
    for number, line in enumerate(lines, start=1):
        item = _read(line, number)
        if isinstance(item, AuditEntry):
            _check_entry(item, last, number)
            last = item
        else:
            if last is None or (item.chain, item.seq, item.hash) != (last.chain, last.seq, last.hash):
                raise AuditError(f"line {number}: the head does not name the entry before it")
            check_head(item, key)
            heads += 1
            signed_seq = item.seq
    if last is None:
        raise AuditError("the export holds no entries")
    if signed_seq != last.seq:
        raise AuditError(f"entries after {signed_seq} are not covered by a signed head")
    return Verified(chain=last.chain, entries=last.seq + 1, heads=heads, last_hash=last.hash)


def _check_entry(entry: AuditEntry, last: AuditEntry | None, number: int) -> None:
    if entry.computed_hash() != entry.hash:
        raise AuditError(f"line {number}: entry {entry.seq} was altered: its hash does not match")
    expected_seq, expected_hash = (0, GENESIS) if last is None else (last.seq + 1, last.hash)
    if entry.seq != expected_seq or entry.previous != expected_hash:
        raise AuditError(f"line {number}: entry {entry.seq} does not follow entry {expected_seq - 1}")
    if last is not None and entry.chain != last.chain:
        raise AuditError(f"line {number}: entry {entry.seq} belongs to chain {entry.chain}, not {last.chain}")


def _read(line: str, number: int) -> AuditEntry | AuditHead:
    try:
        item = json.loads(line)
        if canonical(item).decode() != line.rstrip("\n"):
            raise ValueError("not canonical JSON")
        ((kind, body),) = item.items()
        return {"entry": AuditEntry, "head": AuditHead}[kind](**body)  # type: ignore[no-any-return]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AuditError(f"line {number} is not a line of an audit export: {error}") from error


def _head_bytes(chain: str, seq: int, digest: str) -> bytes:
    return canonical({"chain": chain, "seq": seq, "hash": digest})
