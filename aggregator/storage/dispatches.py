"""Events, our answers and the commitments behind them in the database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.portfolio.commitment import Award, Commitment, State, Timeline
from aggregator.portfolio.programme import Programme
from aggregator.storage.tables import commitments, events
from grid.events import DECISION, GRID_EVENT, Decision, EventStatus, GridEvent

_AWARDS: TypeAdapter[tuple[Award, ...]] = TypeAdapter(tuple[Award, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredEvent:
    """One modification of an event and what we answered."""

    event: GridEvent
    decision: Decision


async def answered(connection: AsyncConnection, enrolment_id: str, event_id: str) -> list[AnsweredEvent]:
    """Every modification of an event we answered, the newest last."""
    query = (
        select(events)
        .where(events.c.enrolment_id == enrolment_id, events.c.event_id == event_id)
        .order_by(events.c.modification_number, events.c.cancelled)
    )
    return [_answered(row) for row in await connection.execute(query)]


async def all_answered(connection: AsyncConnection) -> list[AnsweredEvent]:
    """Every event at its newest modification, by time of decision."""
    newest: dict[tuple[str, str], AnsweredEvent] = {}
    query = select(events).order_by(events.c.decided_at, events.c.modification_number, events.c.cancelled)
    for row in await connection.execute(query):
        item = _answered(row)
        newest[item.event.key] = item
    return list(newest.values())


async def keep_answer(connection: AsyncConnection, event: GridEvent, decision: Decision) -> None:
    """Store an event with its answer."""
    await connection.execute(
        insert(events).values(
            enrolment_id=event.enrolment_id,
            event_id=event.event_id,
            modification_number=event.modification_number,
            cancelled=event.status is EventStatus.CANCELLED,
            event=GRID_EVENT.dump_json(event).decode(),
            decision=DECISION.dump_json(decision).decode(),
            decided_at=decision.decided_at,
        )
    )


async def next_commitment_id(connection: AsyncConnection) -> int:
    """The id of the commitment this transaction makes."""
    newest = (await connection.execute(select(func.max(commitments.c.commitment_id)))).scalar_one()
    return 1 if newest is None else newest + 1


async def keep_commitment(connection: AsyncConnection, commitment: Commitment) -> None:
    """Store a new commitment."""
    await connection.execute(insert(commitments).values(commitment_id=commitment.commitment_id, **_values(commitment)))


async def change_commitment(connection: AsyncConnection, commitment: Commitment) -> None:
    """Replace what is stored under its id."""
    await connection.execute(
        update(commitments).where(commitments.c.commitment_id == commitment.commitment_id).values(**_values(commitment))
    )


async def commitment(connection: AsyncConnection, commitment_id: int) -> Commitment:
    """One commitment, which must exist."""
    query = select(commitments).where(commitments.c.commitment_id == commitment_id)
    return _commitment((await connection.execute(query)).one())


async def commitments_of(connection: AsyncConnection, enrolment_id: str, event_id: str) -> list[Commitment]:
    """Every commitment of an event, the newest last."""
    query = (
        select(commitments)
        .where(commitments.c.enrolment_id == enrolment_id, commitments.c.event_id == event_id)
        .order_by(commitments.c.commitment_id)
    )
    return [_commitment(row) for row in await connection.execute(query)]


async def awarded(connection: AsyncConnection, *, ending_after: datetime | None = None) -> list[Commitment]:
    """What is owed: commitments neither released nor settled, those whose release ends after an instant."""
    query = select(commitments).where(commitments.c.state == State.AWARDED.value).order_by(commitments.c.commitment_id)
    if ending_after is not None:
        query = query.where(commitments.c.release_end > ending_after)
    return [_commitment(row) for row in await connection.execute(query)]


async def set_state(connection: AsyncConnection, changed: Commitment, state: State) -> None:
    """Move a commitment on."""
    await change_commitment(connection, replace(changed, state=state))


def _answered(row: Row[Any]) -> AnsweredEvent:
    return AnsweredEvent(event=GRID_EVENT.validate_json(row.event), decision=DECISION.validate_json(row.decision))


def _values(commitment: Commitment) -> dict[str, Any]:
    timeline = commitment.timeline
    return {
        "enrolment_id": commitment.enrolment_id,
        "event_id": commitment.event_id,
        "modification_number": commitment.modification_number,
        "state": commitment.state.value,
        "committed_kw": commitment.committed_kw,
        "start": timeline.start,
        "ramp_start": timeline.ramp_start,
        "hold_start": timeline.hold_start,
        "hold_end": timeline.hold_end,
        "release_end": timeline.release_end,
        "awards": _AWARDS.dump_json(commitment.awards).decode(),
        "programme": commitment.programme.model_dump_json(),
        "created_at": commitment.created_at,
    }


def _commitment(row: Row[Any]) -> Commitment:
    return Commitment(
        commitment_id=row.commitment_id,
        enrolment_id=row.enrolment_id,
        event_id=row.event_id,
        modification_number=row.modification_number,
        state=State(row.state),
        committed_kw=row.committed_kw,
        timeline=Timeline(
            start=row.start,
            ramp_start=row.ramp_start,
            hold_start=row.hold_start,
            hold_end=row.hold_end,
            release_end=row.release_end,
        ),
        awards=_AWARDS.validate_json(row.awards),
        programme=Programme.model_validate_json(row.programme),
        created_at=row.created_at,
    )
