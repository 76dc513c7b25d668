"""Each signed message is taken once and only near the time it was signed, before or after (ReplayProtect)."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from ven.errors import SignatureError

WINDOW_S = 60.0
NONCE_LONGEST = 256


class ReplayGuard:
    """Remembers nonces for as long as their time is acceptable; every step takes constant time on average."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window = timedelta(seconds=window_s)
        self._seen: set[tuple[bytes, str]] = set()
        self._by_expiry: deque[tuple[datetime, tuple[bytes, str]]] = deque()

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, signer: bytes, nonce: str, signed_at: datetime, now: datetime) -> None:
        """Raises SignatureError for a message that is too old, from the future, or was here before."""
        off_s = (now - signed_at).total_seconds()
        if abs(off_s) > self._window.total_seconds():
            raise SignatureError(
                f"the message was signed {abs(off_s):.0f} s {'ago' if off_s > 0 else 'in the future'}: "
                f"more than {self._window.total_seconds():g} s; synchronise the clocks"
            )
        if not nonce or len(nonce) > NONCE_LONGEST:
            raise SignatureError(f"the message's nonce has {len(nonce)} characters: 1 to {NONCE_LONGEST} are taken")
        while self._by_expiry and self._by_expiry[0][0] < now:
            self._seen.discard(self._by_expiry.popleft()[1])
        key = (signer, nonce)
        if key in self._seen:
            raise SignatureError("the message was received before: its nonce is known")
        self._seen.add(key)
        # Its own time is at most a window ahead of now, and is acceptable a window longer.
        self._by_expiry.append((now + 2 * self._window, key))
