"""The utility of one round: our VTN behind a real endpoint, with everything it heard and said written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from certs.tls import Identity
from grid.clock import Clock
from grid.events import EventStatus
from tests.campaigns.ven_crash.child import ENROLMENT
from ven.endpoint import PREFIX, Answer, Call, Endpoint
from ven.simulation.bodies import EventCall
from ven.simulation.calling import explicit
from ven.simulation.config import VtnSettings
from ven.simulation.records import VenRecord
from ven.simulation.service import codec
from ven.simulation.vtn import UtilityVtn
from ven.wire.event import CreatedEvent, DistributeEvent, WireEvent
from ven.wire.payload import Message

_DISPATCH = {
    "name": "LOAD_DISPATCH",
    "type": "delta",
    "unit": {"name": "powerReal", "units": "W", "si_scale": "k"},
}


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One message of the VEN and what it was answered."""

    at: datetime
    message: Message
    answer: Message | None


class Utility:
    """One VTN for one VEN."""

    def __init__(self, identity: Identity, clock: Clock) -> None:
        settings = {
            "vtn_id": "utility",
            "tls": False,
            "certificate": identity.certificate,
            "key_file": identity.key,
            "roots": identity.roots,
            "poll_interval_s": 1,
            "report_interval_s": 1,
            "resend_s": 3.0,
        }
        self.clock = clock
        self.vtn = UtilityVtn(VtnSettings.model_validate(settings), clock)
        self.heard: list[Heard] = []
        self.early: set[str] = set()
        """Events that are called completed before their end."""
        self.stirred = asyncio.Event()
        """Set whenever the VEN said something."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; gives the URL that the VEN posts to."""
        endpoint = Endpoint(self._carry, codec(self.vtn.settings), self.clock, tls=None)
        try:
            async with endpoint.serving() as port:
                yield f"http://127.0.0.1:{port}{PREFIX}"
        finally:
            self.vtn.close()

    @property
    def ven(self) -> VenRecord | None:
        """The VEN, once it registered."""
        return next(iter(self.vtn.journal.vens()), None)

    def call(self, event_id: str, *, lead_s: float, duration_s: float = 600.0, **more: object) -> None:
        """Call an event of 30 kW less."""
        values: Mapping[str, Any] = {
            "ven_name": ENROLMENT,
            "event_id": event_id,
            "lead_s": lead_s,
            "duration_s": duration_s,
            "signals": [{**_DISPATCH, "intervals": [{"duration_s": duration_s, "value": -30.0}]}],
            "market_context": "urn:campaign",
            **more,
        }
        with self.vtn.journal.transaction():
            ven = self.vtn.registrations.named(ENROLMENT)
            called = explicit(EventCall.model_validate(values), ven, self.vtn.settings, self.clock.now())
            self.vtn.events.call(called)

    def of(self, *kinds: type[Any]) -> list[tuple[datetime, Any]]:
        """What the VEN said of these types, with when."""
        return [(one.at, one.message) for one in self.heard if isinstance(one.message, kinds)]

    async def _carry(self, call: Call) -> Answer:
        at = self.clock.now()
        answer = await self.vtn.handle(call.service, call.message, call.fingerprint)
        if isinstance(answer, DistributeEvent):
            answer = replace(answer, events=tuple(self._as_told(event) for event in answer.events))
        self.heard.append(Heard(at=at, message=call.message, answer=answer))
        if isinstance(call.message, CreatedEvent):
            self._forget_early(call.message)
        self.stirred.set()
        return answer

    def _as_told(self, event: Any) -> Any:
        if isinstance(event, WireEvent) and event.event_id in self.early:
            return replace(event, status=EventStatus.COMPLETED)
        return event

    def _forget_early(self, message: CreatedEvent) -> None:
        """An event called completed too early is left out of the list as soon as the VEN answered that."""
        told = {
            one.answer.request_id
            for one in self.heard
            if isinstance(one.answer, DistributeEvent)
            and any(
                isinstance(event, WireEvent) and event.event_id in self.early and event.status is EventStatus.COMPLETED
                for event in one.answer.events
            )
        }
        for answered in message.responses:
            if answered.event_id in self.early and answered.request_id in told:
                with self.vtn.journal.transaction():
                    if not self.vtn.events.named(answered.event_id).vanished:
                        self.vtn.events.vanish(answered.event_id)
