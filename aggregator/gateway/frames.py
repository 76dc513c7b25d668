"""What each frame of a site does: stored, anchored, shown.

Everything a site may rely on is committed before it is acknowledged. The rules a frame can break raise
SiteRefusedError: the session tells the site why and ends.

A telemetry stream is contiguous. Rows at or below the mark are duplicates and ignored; a frame that begins beyond
the row after the mark is a gap. The first frame of a stream on a connection may leave one: the site was told the
mark, so what is missing is gone from its spool, and the audit says which rows. A later gap is frames out of order
and refused, since rows sent afterwards would be taken for duplicates and lost.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from aggregator.board import NowBoard
from aggregator.dispatch.views import budget_view
from aggregator.errors import SiteRefusedError
from aggregator.storage.budgets import acknowledge, newest_budget
from aggregator.storage.sites import anchored_head, keep_capability, keep_head
from aggregator.storage.store import Store, Transaction
from aggregator.storage.telemetry import mark_of, store_rows
from grid import audit
from grid.clock import Clock
from grid.errors import AuditError
from grid.messages import METER_STREAM, AuditHead, BudgetAck, Capability, TelemetryAck, TelemetryFrame


class FrameKeeper:
    """Commits what sites send. One for all of them."""

    def __init__(self, store: Store, board: NowBoard, clock: Clock, registry: CollectorRegistry) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._rows = Counter("negawatt_telemetry_rows", "Telemetry rows sites had acknowledged", registry=registry)

    async def telemetry(self, frame: TelemetryFrame, *, first_of_stream: bool) -> TelemetryAck:
        """Store the rows that are new. Raises SiteRefusedError for an unknown stream or a gap."""
        if frame.stream != METER_STREAM:
            raise SiteRefusedError(f"unknown stream {frame.stream!r}: upgrade the aggregator")
        async with self._store.transaction() as tx:
            before = await mark_of(tx.connection, frame.site_id, frame.spool_id, frame.stream)
            if before is not None and frame.seq > before + 1:
                await _gap(tx, frame, before, allowed=first_of_stream)
            mark = await store_rows(tx.connection, frame, after=before)
        self._rows.inc(max(0, mark - (frame.seq - 1 if before is None else before)))
        return TelemetryAck(spool_id=frame.spool_id, stream=frame.stream, seq=mark)

    async def capability(self, capability: Capability) -> None:
        """Keep what the site could give now."""
        async with self._store.transaction() as tx:
            await keep_capability(tx.connection, capability, self._clock.now())
        self._board.capability(capability)

    async def budget_ack(self, ack: BudgetAck) -> None:
        """Note that a site has journalled, or refuses, a budget revision."""
        async with self._store.transaction() as tx:
            if await acknowledge(tx.connection, ack, self._clock.now()):
                await tx.record(
                    actor=f"site:{ack.site_id}",
                    action="budget.acknowledged" if ack.accepted else "budget.refused",
                    subject=f"{ack.site_id}/{ack.revision}",
                    facts={"site_time": ack.at.isoformat(), "reason": ack.reason},
                )
            newest = await newest_budget(tx.connection, ack.site_id)
        if newest is not None:
            self._board.budget(budget_view(newest))

    async def audit_head(self, head: AuditHead) -> None:
        """Anchor the head of the site's own chain in ours. Raises SiteRefusedError when it does not hold."""
        signed = audit.AuditHead(chain=head.chain, seq=head.seq, hash=head.hash, signature=head.signature)
        try:
            audit.check_head(signed, audit.public_key_from_text(head.public_key))
        except AuditError as error:
            raise SiteRefusedError(f"your audit head is not accepted: {error}") from error
        async with self._store.transaction() as tx:
            known = await anchored_head(tx.connection, head)
            if known == (head.seq, head.hash):
                return
            if known is not None and head.seq <= known[0]:
                raise SiteRefusedError(f"your audit chain {head.chain} was rewritten: entry {known[0]} is anchored")
            await keep_head(tx.connection, head)
            await tx.record(
                actor=f"site:{head.site_id}",
                action="head.anchored",
                subject=head.chain,
                facts={"seq": head.seq, "hash": head.hash, "signature": head.signature, "public_key": head.public_key},
            )

    async def refused(self, site_id: str, reason: str) -> None:
        """Keep in the audit that a site was refused, and why."""
        async with self._store.transaction() as tx:
            await tx.record(actor=f"site:{site_id}", action="uplink.refused", subject=site_id, facts={"reason": reason})


async def _gap(tx: Transaction, frame: TelemetryFrame, mark: int, *, allowed: bool) -> None:
    if not allowed:
        raise SiteRefusedError(f"telemetry of {frame.stream} out of order: expected seq {mark + 1}, got {frame.seq}")
    await tx.record(
        actor=f"site:{frame.site_id}",
        action="telemetry.gap",
        subject=f"{frame.site_id}/{frame.spool_id}/{frame.stream}",
        facts={"first_missing": mark + 1, "last_missing": frame.seq - 1},
    )
