"""EiOpt: an operator's opt-outs, and when resources are (not) to be had; in force for us from the moment they are made.

An opt is journalled, sent until the VTN takes or refuses it, and respected by every event that comes later, whether
or not the VTN has it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import uuid4

import structlog

from grid.clock import Clock
from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval
from ven.config import VenSettings
from ven.errors import UnknownError, VenError
from ven.journal import VenJournal
from ven.journal.opts import opt_subject
from ven.records import Lane, OptState, Registration, StoredOpt
from ven.wire.common import Period, Target
from ven.wire.opt import CancelOpt, CreateOpt, QualifiedEventId
from ven.wire.payload import decode, encode

SCHEDULE = "x-schedule"
"""optReason of an availability schedule."""
OVERRIDE = "overrideStatus"
"""optReason of an opt that changed after the event was answered."""


class OptDesk:
    """The opts of one VEN."""

    def __init__(self, settings: VenSettings, journal: VenJournal, clock: Clock, changed: Callable[[], None]) -> None:
        """``changed`` is called when something is owed."""
        self._settings = settings
        self._key = settings.enrolment_id
        self._journal = journal
        self._clock = clock
        self._changed = changed
        self._log = structlog.get_logger().bind(enrolment_id=self._key)

    def create(
        self, opt: OptType, periods: Sequence[Interval], *, resource_ids: Sequence[str] = (), reason: str = SCHEDULE
    ) -> StoredOpt:
        """Opt out (or in) for stretches of time. Raises VenError when not registered, or for unknown resources."""
        registration = self._journal.registrations.of(self._key)
        unknown = sorted(set(resource_ids) - set(self._settings.resource_ids))
        if registration is None or registration.cancelled_at is not None:
            raise VenError(f"enrolment {self._key} is not registered with its VTN: wait for that, or enrol again")
        if unknown:
            raise VenError(f"enrolment {self._key} has no resource {', '.join(unknown)}")
        if not periods:
            raise VenError("an opt over time needs at least one stretch of it")
        stored = StoredOpt(
            opt_id=str(uuid4()),
            opt=opt,
            reason=reason,
            periods=tuple(periods),
            resource_ids=tuple(resource_ids),
            event_id=None,
            state=OptState.OWED,
            created_at=self._clock.now(),
        )
        self._journal.opts.create(self._key, stored, self._message(stored, registration, None))
        self._changed()
        self._log.info("opt made", opt_id=stored.opt_id, opt=stored.opt, reason=stored.reason)
        return stored

    def cancel(self, opt_id: str) -> None:
        """End an opt. Raises UnknownError."""
        registration = self._journal.registrations.of(self._key)
        found = {one.opt_id: one for one in self._journal.opts.in_force(self._key)}
        if opt_id not in found or registration is None:
            raise UnknownError(f"enrolment {self._key} has no opt {opt_id} in force")
        cancelled = replace(found[opt_id], state=OptState.CANCELLED)
        self._journal.opts.cancel(self._key, cancelled, self._cancel(cancelled, registration))
        self._changed()

    def for_event(self, event: GridEvent, decision: Decision, registration: Registration) -> tuple[StoredOpt, bytes]:
        """A changed opt, and the oadrCreateOpt that tells the VTN; nothing is journalled yet."""
        stored = StoredOpt(
            opt_id=str(uuid4()),
            opt=decision.opt,
            reason=OVERRIDE,
            periods=(),
            resource_ids=event.resource_ids,
            event_id=event.event_id,
            state=OptState.OWED,
            created_at=self._clock.now(),
        )
        return stored, self._message(stored, registration, event.modification_number)

    def not_opted_out(self, resource_ids: Sequence[str], period: Interval, event_id: str) -> tuple[str, ...]:
        """Those of the resources that no opt-out of ours takes away from an event over ``period``."""
        outs = [one for one in self._journal.opts.in_force(self._key) if one.opt is OptType.OPT_OUT]
        return tuple(
            resource_id
            for resource_id in resource_ids
            if not any(out.covers(resource_id, period) for out in outs if out.event_id in (None, event_id))
        )

    def all(self) -> list[StoredOpt]:
        """Every opt, in the order they were made."""
        return self._journal.opts.all(self._key)

    def renew(self, registration: Registration) -> None:
        """Owe again what a VTN lacks that gave us a new registration, in the name that it gave us."""
        owed = {one.subject: one for one in self._journal.outbox.owed(self._key, Lane.ANSWERS)}
        now = self._clock.now()
        for opt in self._journal.opts.all(self._key):
            message = owed.get(opt_subject(opt.opt_id))
            ahead = any(now < stretch.end for stretch in opt.periods)
            if message is not None and _ven_id(message.payload) == registration.ven_id:
                continue
            if opt.state is OptState.CANCELLED and message is not None:
                self._journal.opts.cancel(self._key, opt, self._cancel(opt, registration))
            elif opt.state is OptState.OWED and ahead:
                self._journal.opts.create(self._key, opt, self._message(opt, registration, None))

    def taken(self, seq: int, opt_id: str) -> None:
        """The VTN acknowledged a message about the opt."""
        self._settle(seq, opt_id, OptState.HELD)

    def refused(self, seq: int, opt_id: str) -> None:
        """The VTN will not have it; it holds for us all the same, and an operator sees it as refused."""
        self._settle(seq, opt_id, OptState.REFUSED)

    def _settle(self, seq: int, opt_id: str, state: OptState) -> None:
        opt = next(one for one in self.all() if one.opt_id == opt_id)
        ended = opt.state is OptState.CANCELLED
        self._journal.opts.settle(seq, self._key, opt if ended else replace(opt, state=state))

    def _cancel(self, opt: StoredOpt, registration: Registration) -> bytes:
        return encode(CancelOpt(request_id=str(uuid4()), opt_id=opt.opt_id, ven_id=registration.ven_id))

    def _message(self, opt: StoredOpt, registration: Registration, modification_number: int | None) -> bytes:
        event = None
        if opt.event_id is not None and modification_number is not None:
            event = QualifiedEventId(event_id=opt.event_id, modification_number=modification_number)
        message = CreateOpt(
            request_id=str(uuid4()),
            opt_id=opt.opt_id,
            opt=opt.opt,
            reason=opt.reason,
            ven_id=registration.ven_id,
            created_at=opt.created_at,
            market_context=self._settings.market_contexts[0] if len(self._settings.market_contexts) == 1 else None,
            availability=tuple(Period(start=one.start, duration_s=one.duration_s) for one in opt.periods) or None,
            event=event,
            target=Target(resource_ids=opt.resource_ids)
            if opt.resource_ids
            else Target(ven_ids=(registration.ven_id,)),
        )
        return encode(message)


def _ven_id(payload: bytes) -> str | None:
    """In whose name a message about an opt is written."""
    message = decode(payload)
    assert isinstance(message, CreateOpt | CancelOpt)
    return message.ven_id
