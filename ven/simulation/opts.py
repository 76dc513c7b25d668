"""EiOpt at the VTN: opts about an event or about time, stored as they came."""

from __future__ import annotations

from dataclasses import replace

import structlog

from grid.clock import Clock
from ven.simulation.config import VtnSettings
from ven.simulation.errors import ProtocolError
from ven.simulation.journal import Journal
from ven.simulation.records import OptSchedule, VenRecord
from ven.wire.common import INVALID_DATA, INVALID_ID, NOT_RECOGNIZED, EiResponse
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt


class Opts:
    """The opts of every VEN."""

    def __init__(self, settings: VtnSettings, journal: Journal, clock: Clock) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._log = structlog.get_logger()

    def all(self) -> list[OptSchedule]:
        return self._journal.opts()

    def create(self, message: CreateOpt, ven: VenRecord) -> CreatedOpt:
        """Store it; the same optID again replaces the former. Raises ProtocolError."""
        self._check(message, ven)
        self._journal.put_opt(OptSchedule(message=message, received_at=self._clock.now()))
        self._log.info("opt created", opt_id=message.opt_id, ven_id=ven.ven_id, opt=message.opt.value)
        return CreatedOpt(response=EiResponse(request_id=message.request_id), opt_id=message.opt_id)

    def cancel(self, message: CancelOpt, ven: VenRecord) -> CanceledOpt:
        """Raises ProtocolError."""
        for opt in self._journal.opts():
            if (opt.message.ven_id, opt.message.opt_id) == (ven.ven_id, message.opt_id):
                if opt.cancelled_at is None:
                    self._journal.put_opt(replace(opt, cancelled_at=self._clock.now()))
                return CanceledOpt(response=EiResponse(request_id=message.request_id), opt_id=message.opt_id)
        raise ProtocolError(INVALID_ID, f"{ven.ven_id} has no opt {message.opt_id}")

    def _check(self, message: CreateOpt, ven: VenRecord) -> None:
        if (message.event is None) == (message.availability is None):
            raise ProtocolError(INVALID_DATA, "an opt is about one event or about availability")
        if message.event is not None:
            called = self._journal.event(message.event.event_id)
            if called is None or called.ven_id != ven.ven_id:
                raise ProtocolError(INVALID_ID, f"no event {message.event.event_id} was sent to {ven.ven_id}")
        contexts = self._settings.market_contexts
        if contexts and message.market_context is not None and message.market_context not in contexts:
            raise ProtocolError(NOT_RECOGNIZED, f"the market context {message.market_context} is not ours")
