"""How often our VEN asks its VTN, in virtual time: rule 55, draining, and asking for every event again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.ven.world import World, world
from ven.simulation.faults import FaultKind
from ven.wire.event import CreatedEvent, RequestEvent
from ven.wire.party import Poll
from ven.wire.payload import Service
from ven.wire.report import CreatedReport

POLL_S = 10
K = 5


def at(one: World, kind: type[Any]) -> list[datetime]:
    return [when for when, message in one.transport.sent if isinstance(message, kind)]


def gaps(instants: Sequence[datetime]) -> list[float]:
    return [(after - before).total_seconds() for before, after in pairwise(instants)]


async def with_messages_queued(one: World) -> datetime:
    """An event, and then K - 1 report requests, wait at the VTN; gives when."""
    await one.until(lambda: one.status.state == "serving")
    one.transport.sent.clear()
    one.call("event-1")
    with one.operator():
        for _ in range(K - 1):
            one.vtn.reports.request(
                one.ven, specifier_id="telemetry-usage", rids=(), granularity_s=60, back_duration_s=60, period=None
            )
    return one.clock.now()


async def test_k_messages_take_k_polls_at_the_told_rate(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S}) as one:
        await with_messages_queued(one)
        await one.clock.advance(POLL_S * (K + 3))
        assert len(at(one, CreatedReport)) == K - 1
        assert gaps(at(one, Poll)) == [POLL_S] * (len(at(one, Poll)) - 1)
        assert at(one, CreatedEvent) == at(one, Poll)[:1]
        assert at(one, CreatedReport) == at(one, Poll)[1:K]


async def test_with_draining_one_round_takes_them_all(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S}, drain_polls=True) as one:
        await with_messages_queued(one)
        await one.clock.advance(POLL_S * (K + 3))
        polls = at(one, Poll)
        first = polls[0]
        assert polls[: K + 1] == [first] * (K + 1)
        assert gaps(polls[K:]) == [POLL_S] * (len(polls) - K - 1)
        assert set(at(one, CreatedReport) + at(one, CreatedEvent)) == {first}


@pytest.mark.parametrize("drain_polls", [False, True])
async def test_the_sink_is_asked_and_answered_for_in_the_instant_of_the_poll(tmp_path: Path, drain_polls: bool) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S}, drain_polls=drain_polls) as one:
        await with_messages_queued(one)
        await one.clock.advance(POLL_S)
        (asked,) = one.sink.accepted_at
        assert [asked] == at(one, CreatedEvent) == at(one, Poll)[:1]
        assert one.answers() == [(0, "optIn", 200)]


async def test_after_a_failed_poll_the_rate_is_kept_too(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S}) as one:
        await one.until(lambda: one.status.state == "serving")
        one.fault(FaultKind.SERVER_ERROR, Service.POLL, times=4)
        await one.clock.advance(200)
        assert one.status.state == "serving"
        assert min(gaps(at(one, Poll))) >= POLL_S


async def test_every_event_is_asked_for_at_the_start_after_an_outage_and_each_sync_interval(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S}, sync_interval_s=300.0) as one:
        await one.clock.advance(1000)
        assert gaps(at(one, RequestEvent)) == [300.0] * 3
        one.transport.down = True
        await one.clock.advance(200)
        one.transport.down = False
        before = len(at(one, RequestEvent))
        await one.clock.advance(100)
        asked = at(one, RequestEvent)
        assert len(asked) == before + 1
        await one.clock.advance(310)
        assert gaps(at(one, RequestEvent)[before:]) == [300.0]


async def test_an_event_whose_only_message_was_lost_comes_with_the_next_sync(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S, "resend_s": 1e6}, sync_interval_s=300.0) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call("event-1", lead_s=3600, response_required=False)
        with one.operator():
            one.vtn.mailbox.clear(one.ven_id)
        await one.clock.advance(310)
        assert [event.event_id for event in one.sink.accepted] == ["event-1"]


async def test_a_lost_reply_to_a_poll_loses_no_event(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S, "resend_s": 1e6}) as one:
        await one.until(lambda: one.status.state == "serving")
        one.call("event-1")
        one.fault(FaultKind.LOSE_REPLY, Service.POLL, times=1)
        await one.until(lambda: bool(one.answers()), 30)
        assert [event.event_id for event in one.sink.accepted] == ["event-1"]
        assert timedelta(seconds=POLL_S) > one.sink.accepted_at[0] - at(one, Poll)[-1]


async def test_an_empty_answer_to_a_poll_is_nothing_new(tmp_path: Path) -> None:
    async with world(tmp_path, vtn={"poll_interval_s": POLL_S}) as one:
        await one.until(lambda: one.status.state == "serving")
        one.fault(FaultKind.EMPTY, Service.POLL, times=3)
        await one.clock.advance(60)
        assert (one.status.state, one.watcher.failures) == ("serving", [])
