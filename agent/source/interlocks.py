"""What the plant forbids: while an interlock is active no cap is raised and nothing is charged, and some ask to shed.

An interlock that cannot be read counts as active after a moment. One that cleared still forbids a rise for ``clear_s``,
since a plant that has just recovered must not be loaded again at once. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.source.contacts import Contact

INTERLOCKS = (Contact.COOLANT, Contact.LEAK, Contact.TEMPERATURE, Contact.FIRE, Contact.EPO)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterlockTimes:
    """How long to wait for what."""

    clear_s: float = 60.0
    unread_s: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InterlockState:
    """The plant's interlocks now."""

    active: tuple[Contact, ...]
    unread: tuple[Contact, ...]
    """Active for all anybody knows."""
    may_raise: bool
    shed: bool
    """One of those that ask for it is known to be active."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """What a person should look at."""
        return tuple(f"interlock: {contact}" for contact in self.active) + tuple(
            f"interlock cannot be read: {contact}" for contact in self.unread
        )


class InterlockWatch:
    """Follows the contacts. ``step`` is called once a second or so, on any clock that does not go back."""

    def __init__(self, times: InterlockTimes, shed_on: frozenset[Contact] = frozenset()) -> None:
        self._times = times
        self._shed_on = shed_on
        self._read_at_s: dict[Contact, float] = {}
        self._forbidden_at_s: float | None = None

    def step(self, contacts: Mapping[Contact, bool | None], now_s: float) -> InterlockState:
        """Only interlocks that are wired count."""
        wired = [contact for contact in INTERLOCKS if contact in contacts]
        for contact in wired:
            if contacts[contact] is not None:
                self._read_at_s[contact] = now_s
        active = tuple(contact for contact in wired if contacts[contact])
        unread = tuple(contact for contact in wired if contacts[contact] is None and self._lost(contact, now_s))
        if active or unread:
            self._forbidden_at_s = now_s
        recovering = self._forbidden_at_s is not None and now_s - self._forbidden_at_s < self._times.clear_s
        return InterlockState(
            active=active,
            unread=unread,
            may_raise=not (active or unread or recovering),
            shed=not self._shed_on.isdisjoint(active),
        )

    def _lost(self, contact: Contact, now_s: float) -> bool:
        read_at_s = self._read_at_s.get(contact)
        return read_at_s is None or now_s - read_at_s >= self._times.unread_s
