"""The last messages, both ways, for a person or a test to look at. Not kept across restarts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ven.endpoint import request_id_of
from ven.wire.payload import Message, Service


class Direction(StrEnum):
    """Seen from the VTN."""

    RECEIVED = "received"
    SENT = "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One message that passed."""

    at: datetime
    direction: Direction
    service: Service
    ven_id: str | None
    message: Message

    @property
    def request_id(self) -> str:
        return request_id_of(self.message)


class MessageLog:
    """The last so many."""

    def __init__(self, kept: int) -> None:
        self._passed: deque[Passed] = deque(maxlen=kept)

    def enter(self, passed: Passed) -> None:
        self._passed.append(passed)

    def last(self) -> Iterator[Passed]:
        """Newest first."""
        return reversed(self._passed)
