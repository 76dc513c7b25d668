"""Our VEN in a process of its own: a gateway whose sessions poll as fast as they can, or twice and then rest.

Nothing of the VEN is left out: session, journal on disk, exchange, transport. To poll without a pause, the
gateway is started again with a poll interval of nought once the VTN has registered it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from certs.tls import Identity
from grid.events import Decision, GridEvent, OptType
from grid.intervals import Interval
from grid.process.logging import configure
from tests.benchmarks.ven_polls.modes import CLOCK, Mode, identities_in, identity_of, parser_of
from tests.benchmarks.ven_polls.turns import rss_kb, take_turns, tell
from ven.config import ReportName, ResourceSettings, VenSettings
from ven.http.connection import ReadBuffer
from ven.journal import VenJournal
from ven.ports import Missing, Reading, ResourceState, Unobserved
from ven.service import VenGateway
from ven.transport import HttpsTransport, HttpsTransports, Transport, pool

HELD_BACK_S = 3600.0
"""Poll interval of VENs that are not to poll again."""


class Sink:
    """Opts out; no event comes."""

    async def accept(self, event: GridEvent) -> Decision:
        return Decision(opt=OptType.OPT_OUT, reason="benchmark", decided_at=CLOCK.now(), committed_kw=0.0)


class Source:
    """Nobody asks for reports."""

    async def read(self, resource_ids: Sequence[str], interval: Interval) -> Mapping[str, Reading | Missing | None]:
        return {}

    async def state(self, resource_ids: Sequence[str]) -> Mapping[str, ResourceState]:
        return {}


class Polls(Unobserved):
    """Counts polls; the session waits where a turn is over."""

    def __init__(self) -> None:
        self._left = 1
        self._over = asyncio.Event()
        self._go = asyncio.Event()

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        self._left -= 1
        if self._left == 0:
            self._over.set()
            await self._go.wait()

    async def over(self) -> None:
        await self._over.wait()

    async def turn(self, polls: int) -> None:
        self._left = polls
        self._over.clear()
        self._go.set()
        self._go.clear()
        await self._over.wait()


class PollsOfMany(Unobserved):
    """Counts polls of each VEN."""

    def __init__(self) -> None:
        self._polls: dict[str, int] = {}
        self._enough = asyncio.Condition()

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        self._polls[enrolment_id] = self._polls.get(enrolment_id, 0) + 1
        async with self._enough:
            self._enough.notify_all()

    async def twice(self, vens: Sequence[VenSettings]) -> None:
        """Return once each of these has polled twice."""

        def done() -> bool:
            return all(self._polls.get(one.enrolment_id, 0) >= 2 for one in vens)

        async with self._enough:
            await self._enough.wait_for(done)


def settings_of(name: str, mode: Mode, url: str, identity: Identity, reports: Sequence[ReportName]) -> VenSettings:
    return VenSettings(
        enrolment_id=name,
        ven_name=name,
        vtn_url=url.replace("http://", "https://"),
        certificate=identity.certificate,
        key_file=identity.key,
        vtn_roots=identity.roots,
        xml_signature=mode.signed,
        resources=(ResourceSettings(resource_id=f"{name}-load", rid=f"{name}-kw"),),
        reports=tuple(reports),
    )


async def poll_in_turns(mode: Mode, url: str, identity: Identity, folder: Path) -> None:
    """One VEN without reports, whose data would be counted as polls."""
    settings = settings_of("ours", mode, url, identity, ())
    transports, buffer = HttpsTransports(CLOCK), ReadBuffer()

    async def connect(one: VenSettings) -> Transport:
        if mode.tls:
            return await transports.open(one)
        return HttpsTransport(url, "none", pool(url, None, buffer, CLOCK), CLOCK)

    journal = VenJournal.open(folder / "ven.sqlite")

    @asynccontextmanager
    async def running(polls: Polls) -> AsyncIterator[None]:
        """Until it has polled once, and then in turns."""
        gateway = VenGateway([settings], journal, Sink(), Source(), polls, CLOCK, connect=connect)
        task = asyncio.create_task(gateway.run())
        await polls.over()
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with running(Polls()):
        held = journal.registrations.of("ours")
        assert held is not None
    journal.registrations.register(replace(held, poll_interval_s=0.0))
    polls = Polls()
    async with running(polls):
        await polls.turn(20)
        await take_turns(polls.turn)
    await transports.close()
    journal.close()


async def weigh(url: str, mode: Mode, identities: Sequence[Identity], folder: Path) -> None:
    """Memory of a gateway with a VEN for each identity, less that of one with a single VEN of another."""
    first, *others = (
        settings_of(f"ven-{number}", mode, url, identity, tuple(ReportName))
        for number, identity in enumerate(identities)
    )
    polls = PollsOfMany()

    async def running(vens: Sequence[VenSettings], name: str) -> asyncio.Task[None]:
        gateway = VenGateway(vens, folder / name, Sink(), Source(), polls, CLOCK)
        task = asyncio.create_task(gateway.run())
        waiting = asyncio.create_task(polls.twice(vens))
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done(), task.exception()
        return task

    tasks = [await running([first], "first.sqlite")]
    gc.collect()
    before_kb = rss_kb()
    tasks.append(await running(others, "others.sqlite"))
    gc.collect()
    tell(what="weighed", vens=len(others), kb=(rss_kb() - before_kb) / len(others))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if options.identities is None:
            await poll_in_turns(options.mode, options.url, identity_of(options), Path(folder))
            return
        await weigh(options.url, options.mode, identities_in(options.identities), Path(folder))


def main() -> None:
    configure("benchmark", level="WARNING")
    asyncio.run(run(parser_of("ours").parse_args()))


if __name__ == "__main__":
    main()
