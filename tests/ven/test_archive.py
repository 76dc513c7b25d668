"""The archive: found by requestID, both directions, kept for a while, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from grid.clock import VirtualClock
from grid.events import OptType
from tests.ven.world import MemoryTransport, world
from ven.archive import Archive
from ven.service import VenGateway
from ven.wire.common import EiResponse
from ven.wire.event import CreatedEvent, EventResponse, RequestEvent
from ven.wire.party import Poll, Response
from ven.wire.payload import encode
from ven.wire.report import UpdateReport
from ven.wire.signature import unsigned

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ANSWER = EventResponse(request_id="distribute-1", event_id="e", modification_number=0, opt=OptType.OPT_IN)
CREATED = unsigned(encode(CreatedEvent(ven_id="v", response=EiResponse(request_id="created-1"), responses=(ANSWER,))))
ACCEPTED = unsigned(encode(Response(response=EiResponse(request_id="created-1"))))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def archive(tmp_path: Path, clock: VirtualClock) -> Iterator[Archive]:
    opened = Archive.open(tmp_path / "archive.sqlite", clock, retention_days=2 / 24)
    yield opened
    opened.close()


def keep(archive: Archive, content: bytes, *, sent: bool = True, service: str = "EiEvent") -> None:
    archive.record("ven-a", sent=sent, service=service, content=content)


def test_a_message_is_found_by_every_request_id_it_names(archive: Archive) -> None:
    keep(archive, CREATED)
    keep(archive, ACCEPTED, sent=False)
    keep(archive, unsigned(encode(Poll(ven_id="v"))), service="OadrPoll")
    archive.flush()
    assert [(one.name, one.sent, one.content) for one in archive.find("created-1")] == [
        ("oadrCreatedEvent", True, CREATED),
        ("oadrResponse", False, ACCEPTED),
    ]
    (answered,) = archive.find("distribute-1")
    assert (answered.enrolment_id, answered.service, answered.at) == ("ven-a", "EiEvent", NOW)
    assert list(archive.find("created")) == []
    assert [one.name for one in archive.latest(2)] == ["oadrResponse", "oadrPoll"]


def test_what_is_no_message_is_kept_as_it_came(archive: Archive) -> None:
    keep(archive, b"<html>\xff 502", sent=False)
    archive.flush()
    (kept,) = archive.latest(10)
    assert (kept.name, kept.content) == ("", b"<html>\xff 502")


async def test_it_writes_every_second_and_forgets_after_its_retention(archive: Archive, clock: VirtualClock) -> None:
    running = asyncio.create_task(archive.run())
    try:
        keep(archive, CREATED)
        await clock.advance(1)
        assert len(list(archive.latest(10))) == 1
        await clock.advance(3600)
        keep(archive, unsigned(encode(UpdateReport(request_id="update-1"))), service="EiReport")
        await clock.advance(3000)
        assert len(list(archive.latest(10))) == 2
        await clock.advance(4800)
        assert [one.name for one in archive.latest(10)] == ["oadrUpdateReport"]
        assert list(archive.find("created-1")) == []
        await clock.advance(3600)
        assert list(archive.latest(10)) == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_what_waited_is_written_when_it_closes(tmp_path: Path, clock: VirtualClock) -> None:
    first = Archive.open(tmp_path / "a.sqlite", clock)
    keep(first, CREATED)
    first.close()
    again = Archive.open(tmp_path / "a.sqlite", clock)
    assert len(list(again.find("created-1"))) == 1
    again.close()


async def test_a_gateway_archives_both_directions_as_they_were_on_the_wire(tmp_path: Path, archive: Archive) -> None:
    async with world(tmp_path) as one:
        await one.until(lambda: one.status.state == "serving")
        await one.stop()

        async def connect(_: object) -> MemoryTransport:
            return one.transport

        one.gateway = VenGateway(
            [one.settings], one.journal_path, one.sink, one.meters, one.watcher, one.clock, connect, archive
        )
        await one.start()
        one.call()
        await one.until(lambda: bool(one.answers()))
        archive.flush()
        names = [(message.name, message.sent) for message in archive.latest(100)]
        assert names[:4] == [
            ("oadrRequestEvent", True),
            ("oadrDistributeEvent", False),
            ("oadrPoll", True),
            ("oadrResponse", False),
        ]
        assert ("oadrCreatedEvent", True) in names
        (sent, answered) = archive.find(one.transport.named(RequestEvent)[-1].request_id)
        assert (sent.sent, answered.sent) == (True, False)
        assert sent.content == unsigned(encode(one.transport.named(RequestEvent)[-1]))
