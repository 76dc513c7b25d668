"""Tells what is in force, at each change, whatever restarts lie between: the interval timers of one VEN.

The last thing told is journalled, so that after a restart a change that passed meanwhile is told, and none twice but
for a death between the telling and the journal.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter

from grid.clock import Clock
from grid.events import GridEvent, OptType
from grid.intervals import Interval
from ven.availability import OptDesk
from ven.config import VenSettings
from ven.journal import VenJournal
from ven.ports import VenObserver
from ven.timeline import InForce, end_of, in_force, next_change
from ven.waiting import Alarm

_TOLD = TypeAdapter(tuple[InForce, ...])
LONGEST_PAUSE_S = 60.0
"""So that a clock that was set is noticed."""


class EventTimer:
    """The clockwork of one VEN."""

    def __init__(
        self, settings: VenSettings, journal: VenJournal, opts: OptDesk, observer: VenObserver, clock: Clock
    ) -> None:
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._opts = opts
        self._observer = observer
        self._clock = clock
        self._alarm = Alarm(clock)

    def changed(self) -> None:
        """An event came, was decided on, or ended otherwise than expected."""
        self._alarm.ring()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            events, now = self._events(), self._clock.now()
            current = in_force(events, self._settings.resource_ids, now)
            told = _TOLD.dump_json(current).decode()
            if told != (self._journal.events.told(self._key) or "[]"):
                await self._observer.in_force(enrolment_id=self._key, events=current, at=now)
                self._journal.events.tell(self._key, told)
            following = next_change(events, now)
            pause_s = LONGEST_PAUSE_S if following is None else (following - now).total_seconds()
            await self._alarm.wait(min(LONGEST_PAUSE_S, pause_s))

    def _events(self) -> list[GridEvent]:
        """What we opted in to and have not seen the end of, each with the resources it really concerns."""
        now = self._clock.now()
        found = []
        for journalled in self._journal.events.in_effect(self._key):
            event, decision = journalled.event, journalled.decision
            runs = self._settings.run_test_events or not event.test_event
            if decision is None or decision.opt is not OptType.OPT_IN or not runs or end_of(event) <= now:
                continue
            period = Interval(start=event.start, end=max(event.start, end_of(event)))
            concerned = event.resource_ids or self._settings.resource_ids
            remaining = self._opts.not_opted_out(concerned, period, event.event_id)
            if remaining:
                found.append(replace(event, resource_ids=remaining))
        return found
