"""What the VENs tell us: to the audit what binds us, to the board how each stands with its VTN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from aggregator.board import NowBoard, VenView
from aggregator.storage.store import Store
from grid.clock import Clock
from grid.events import OptType
from grid.intervals import Interval
from ven.service import VenGateway
from ven.status import VenStatus
from ven.timeline import InForce

EVERY_S = 1.0


class VenAudit:
    """``ven.ports.VenObserver`` that keeps in the audit what passed between the VENs and their VTNs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def registered(self, *, enrolment_id: str, ven_id: str, vtn_id: str, at: datetime) -> None:
        await self._record(
            enrolment_id, "ven.registered", enrolment_id, {"ven_id": ven_id, "vtn_id": vtn_id, "vtn_at": at.isoformat()}
        )

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        """The board reads polls from the gateway's status; one a second is nothing for an audit."""

    async def failed(self, *, enrolment_id: str, why: str, at: datetime) -> None:
        await self._record(enrolment_id, "ven.failed", enrolment_id, {"why": why})

    async def alarmed(self, *, enrolment_id: str, what: str, at: datetime) -> None:
        await self._record(enrolment_id, "ven.alarmed", enrolment_id, {"what": what})

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        facts = {"at": at.isoformat(), "events": {one.event_id: list(one.resource_ids) for one in events}}
        await self._record(enrolment_id, "events.in_force", enrolment_id, facts)

    async def opt_sent(
        self, *, enrolment_id: str, event_id: str, modification_number: int, opt: OptType, at: datetime
    ) -> None:
        subject = f"{enrolment_id}/{event_id}/{modification_number}"
        await self._record(enrolment_id, "opt.sent", subject, {"opt": opt.value, "acknowledged_at": at.isoformat()})

    async def report_acknowledged(
        self, *, enrolment_id: str, interval: Interval, resource_ids: Sequence[str], at: datetime
    ) -> None:
        facts = {
            "start": interval.start.isoformat(),
            "end": interval.end.isoformat(),
            "resource_ids": list(resource_ids),
        }
        await self._record(enrolment_id, "report.acknowledged", enrolment_id, facts)

    async def _record(self, enrolment_id: str, action: str, subject: str, facts: Mapping[str, object]) -> None:
        async with self._store.transaction() as tx:
            await tx.record(actor=f"ven:{enrolment_id}", action=action, subject=subject, facts=facts)


async def watch_vens(gateway: VenGateway, board: NowBoard, clock: Clock) -> None:
    """Show every VEN's standing, for ever."""
    while True:
        for status in gateway.status():
            board.ven(_view(status))
        await clock.sleep(EVERY_S)


def vens_ailing(gateway: VenGateway) -> str | None:
    """What is wrong between our VENs and their VTNs, in one line; None when nothing is."""
    status = gateway.status()
    ailing = [f"{one.enrolment_id}: {one.why or 'no answer yet'}" for one in status if one.stale]
    return "; ".join(ailing) or (None if status else "starting")


def _view(status: VenStatus) -> VenView:
    return VenView(
        enrolment_id=status.enrolment_id,
        ven_name=status.ven_name,
        registered=status.registered,
        ven_id=status.ven_id,
        last_poll=status.last_poll,
        why=status.why,
    )
