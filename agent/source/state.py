"""Whether the site is on the utility: only while two agreeing signals say so, and not for a while after a transfer.

The loop acts on UTILITY alone. An opened breaker reads as a meter at zero, by which the law would lift every cap and
charge the battery; so position and power monitor must agree, and what contradicts them, a UPS on battery or bypass, a
generator test or a meter that fell with no reason, ends it at once. It is back only after they have agreed for
``hold_s`` without a break. Contacts that cannot be read end it too, after a moment, and a short agreement brings it
back: nothing says that there was a transfer. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.source.contacts import Contact


class Source(StrEnum):
    """What feeds the site."""

    UTILITY = "utility"
    HOLD = "hold"
    """On the utility again, and not yet for long enough."""
    ISLAND = "island"
    """Position and power monitor both say that it is not the utility."""
    TRANSFER = "transfer"
    """The two do not agree, or the switch is between its positions."""
    UPS = "ups"
    """On battery or bypass."""
    TEST = "test"
    """A generator test."""
    UNKNOWN = "unknown"
    """Contacts cannot be read, or are not wired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The source now."""

    source: Source
    why: str
    """One line for a person; empty on the utility."""

    @property
    def may_act(self) -> bool:
        """Whether caps may be raised, the battery commanded and integrators run."""
        return self.source is Source.UTILITY


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTimes:
    """How long to wait for what."""

    hold_s: float = 300.0
    """Of agreement, after anything but the utility was seen."""
    settle_s: float = 5.0
    """Of agreement, at the start and after contacts could not be read."""
    unread_s: float = 3.0
    """Of contacts that cannot be read, before it counts."""


class SourceWatch:
    """Follows the contacts. ``step`` is called once a second or so, on any clock that does not go back."""

    def __init__(self, times: SourceTimes) -> None:
        self._times = times
        self._state = SourceState(source=Source.UNKNOWN, why="not read yet")
        self._wait_s = times.settle_s
        self._agreed_at_s: float | None = None
        self._read_at_s: float | None = None

    def step(self, contacts: Mapping[Contact, bool | None], now_s: float, *, meter_fell: bool = False) -> SourceState:
        """``meter_fell``: the meter fell further than our actuators explain (agent.source.fall)."""
        seen = judge(contacts)
        if meter_fell:
            seen = SourceState(source=Source.TRANSFER, why="the meter fell further than anything of ours explains")
        if seen.source is Source.UNKNOWN and self._read_at_s is not None:
            if now_s - self._read_at_s < self._times.unread_s:
                return self._state
        elif seen.source is not Source.UNKNOWN:
            self._read_at_s = now_s
        self._state = self._agreeing(now_s) if seen.source is Source.UTILITY else self._left(seen)
        return self._state

    def _agreeing(self, now_s: float) -> SourceState:
        if self._agreed_at_s is None:
            self._agreed_at_s = now_s
        left_s = self._wait_s - (now_s - self._agreed_at_s)
        if left_s > 0:
            return SourceState(source=Source.HOLD, why=f"on the utility, for {left_s:.0f} s more only watched")
        self._wait_s = self._times.settle_s
        return SourceState(source=Source.UTILITY, why="")

    def _left(self, seen: SourceState) -> SourceState:
        self._agreed_at_s = None
        if seen.source is not Source.UNKNOWN:
            self._wait_s = self._times.hold_s
        return seen


def judge(contacts: Mapping[Contact, bool | None]) -> SourceState:
    """What the contacts say at this moment. What one says against the utility counts whatever else cannot be read."""
    for contact, source, why in _EXCLUDING:
        if contacts.get(contact):
            return SourceState(source=source, why=why)
    on_utility, present = contacts.get(Contact.ON_UTILITY), contacts.get(Contact.UTILITY_PRESENT)
    on_emergency = contacts.get(Contact.ON_EMERGENCY, False)
    if on_utility and on_emergency:
        return SourceState(source=Source.TRANSFER, why="the switch shows both positions")
    if on_utility is False or on_emergency:
        if present is False:
            return SourceState(
                source=Source.ISLAND, why="the switch is not on the utility, the power monitor sees none"
            )
        return SourceState(source=Source.TRANSFER, why="the switch is not on the utility")
    if present is False:
        return SourceState(source=Source.TRANSFER, why="the power monitor does not see the utility")
    unread = [contact for contact in _NEEDED if contacts.get(contact) is None]
    unread += [contact for contact in _OPTIONAL if contacts.get(contact, False) is None]
    if unread:
        return SourceState(source=Source.UNKNOWN, why=f"not read or not wired: {', '.join(unread)}")
    return SourceState(source=Source.UTILITY, why="")


_NEEDED = (Contact.ON_UTILITY, Contact.UTILITY_PRESENT)
_OPTIONAL = (Contact.ON_EMERGENCY, Contact.UPS_ON_BATTERY, Contact.UPS_BYPASS, Contact.GENERATOR_TEST)
_EXCLUDING = (
    (Contact.GENERATOR_TEST, Source.TEST, "a generator test"),
    (Contact.UPS_ON_BATTERY, Source.UPS, "the UPS is on battery"),
    (Contact.UPS_BYPASS, Source.UPS, "the UPS is on bypass"),
)
