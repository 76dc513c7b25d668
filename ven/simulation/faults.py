"""Faults on purpose, to see what a VEN makes of them.

A fault applies to calls of a service and VEN (or of any), a number of times or with a probability, which is thrown by
dice with a seed. What changes only the answer's content happens in ``tamper``; the rest is raised as ``FaultError``,
and whoever carries the answer (``ven/simulation/service.py``, a test's transport) acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from ven.simulation.errors import UnknownError, UtilityError
from ven.simulation.mailbox import new_id
from ven.wire.common import EiResponse
from ven.wire.event import DistributeEvent, WireEvent
from ven.wire.payload import Message, Service


class FaultKind(StrEnum):
    """What goes wrong."""

    SERVER_ERROR = "server_error"
    """HTTP 503; the message is not taken."""
    REFUSE = "refuse"
    """HTTP 403; the message is not taken."""
    EMPTY = "empty"
    """An empty HTTP 200; the message is not taken."""
    LOSE_REPLY = "lose_reply"
    """The message is taken and the connection closed without an answer."""
    DELAY = "delay"
    """The answer comes late."""
    WRONG_VTN_ID = "wrong_vtn_id"
    """In oadrDistributeEvent."""
    STALE_MODIFICATION = "stale_modification"
    """oadrDistributeEvent with the modification numbers before the last ones."""
    UNSIGNED = "unsigned"
    """The answer is not signed."""
    WRONG_REQUEST_ID = "wrong_request_id"
    """The answer's eiResponse is about another message."""


NOT_TAKEN = (FaultKind.SERVER_ERROR, FaultKind.REFUSE, FaultKind.EMPTY)
_TAMPERING = (FaultKind.WRONG_VTN_ID, FaultKind.STALE_MODIFICATION, FaultKind.WRONG_REQUEST_ID)
CARRIED = (FaultKind.LOSE_REPLY, FaultKind.UNSIGNED)


class FaultError(UtilityError):
    """What must become of a message instead of an answer."""

    def __init__(self, kind: FaultKind, answer: Message | None = None) -> None:
        super().__init__(f"fault on purpose: {kind.value}")
        self.kind = kind
        self.answer = answer
        """What would have been answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault that is set."""

    fault_id: str
    kind: FaultKind
    left: int | None
    """How often still; None for ever."""
    probability: float = 1.0
    service: Service | None = None
    ven_id: str | None = None
    delay_s: float = 0.0
    hits: int = 0

    def concerns(self, service: Service, ven_id: str | None) -> bool:
        return self.left != 0 and self.service in (None, service) and self.ven_id in (None, ven_id)


class Faults:
    """Every fault that is set."""

    def __init__(self, seed: int) -> None:
        self._dice = Random(seed)  # noqa: S311 - nothing secret is drawn
        self._faults: dict[str, Fault] = {}

    def all(self) -> list[Fault]:
        """With how often each happened."""
        return list(self._faults.values())

    def set(self, fault: Fault) -> None:
        self._faults[fault.fault_id] = fault

    def clear(self, fault_id: str | None = None) -> None:
        """One, or all. Raises UnknownError."""
        if fault_id is None:
            self._faults.clear()
        elif self._faults.pop(fault_id, None) is None:
            raise UnknownError(f"there is no fault {fault_id}")

    def draw(self, kinds: Sequence[FaultKind], service: Service, ven_id: str | None) -> Fault | None:
        """The first fault of these kinds that happens now, which is counted."""
        for fault in self._faults.values():
            if fault.kind in kinds and fault.concerns(service, ven_id) and self._dice.random() < fault.probability:
                left = None if fault.left is None else fault.left - 1
                self._faults[fault.fault_id] = replace(fault, left=left, hits=fault.hits + 1)
                return fault
        return None

    def tamper(self, answer: Message, service: Service, ven_id: str | None) -> Message:
        """The answer, or what a fault makes of it."""
        kinds = [kind for kind in _TAMPERING if _can_tamper(kind, answer)]
        fault = self.draw(kinds, service, ven_id) if kinds else None
        return answer if fault is None else _tampered(fault.kind, answer)


def _can_tamper(kind: FaultKind, answer: Message) -> bool:
    if kind is FaultKind.WRONG_REQUEST_ID:
        return isinstance(getattr(answer, "response", None), EiResponse)
    if not isinstance(answer, DistributeEvent):
        return False
    return kind is FaultKind.WRONG_VTN_ID or any(event.modification_number for event in answer.events)


def _tampered(kind: FaultKind, answer: Message) -> Message:
    if kind is FaultKind.WRONG_REQUEST_ID:
        whole: Any = answer
        tampered: Message = replace(whole, response=replace(whole.response, request_id=new_id("wrong")))
        return tampered
    assert isinstance(answer, DistributeEvent)
    if kind is FaultKind.WRONG_VTN_ID:
        return replace(answer, vtn_id=f"{answer.vtn_id}-wrong")
    stale = tuple(
        replace(event, modification_number=max(0, event.modification_number - 1))
        for event in answer.events
        if isinstance(event, WireEvent)
    )
    return replace(answer, events=stale)
