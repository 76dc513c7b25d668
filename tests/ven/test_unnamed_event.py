"""A list with an event that cannot even be named: nothing of it is taken as cancelled (rules 19 and 61)."""

from __future__ import annotations

from pathlib import Path

from grid.events import EventStatus
from tests.ven.world import world


async def test_an_event_that_cannot_be_named_leaves_nothing_out(tmp_path: Path) -> None:
    async with world(tmp_path) as scene:
        scene.call("event-1")
        await scene.until(lambda: len(scene.sink.accepted) == 1)
        name, tampered = b"<ei:eventID>event-1</ei:eventID>", []

        def unname(answer: bytes) -> bytes:
            tampered.append(name in answer)
            return answer.replace(name, b"")

        scene.transport.tamper = unname
        scene.call("event-2")
        await scene.until(lambda: len(scene.sink.accepted) == 2)
        assert any(tampered)
        assert [event.event_id for event in scene.sink.accepted] == ["event-1", "event-2"]
        await scene.clock.advance(30)
        assert all(event.status is not EventStatus.CANCELLED for event in scene.sink.accepted)
