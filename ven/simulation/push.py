"""Push mode: messages POSTed to the VENs that asked for it, each VEN's in order, until they are taken.

The connection is mutual TLS as ours; what the VEN answers in the HTTP response counts as if it had sent it, and must
be signed by the certificate it registered with.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import aiohttp
import structlog

from ven.backoff import Backoff
from ven.endpoint import CONTENT_TYPE, PREFIX
from ven.errors import WireError
from ven.simulation.errors import PushError
from ven.simulation.records import VenRecord
from ven.simulation.vtn import UtilityVtn
from ven.wire.codec import Codec
from ven.wire.payload import Message, Service, service_of


class Push:
    """Every push VEN of one VTN."""

    def __init__(self, vtn: UtilityVtn, codec: Codec, tls: ssl.SSLContext | None) -> None:
        """``tls``: None allows plain HTTP only."""
        self._vtn = vtn
        self._codec = codec
        self._tls = tls
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._awake: dict[str, asyncio.Event] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Deliver, for ever."""
        self._vtn.mailbox.listen(self._told.put_nowait)
        for known in self._vtn.journal.vens():
            self._told.put_nowait(known.ven_id)
        connector = aiohttp.TCPConnector(ssl=self._tls) if self._tls is not None else aiohttp.TCPConnector()
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            while True:
                ven_id = await self._told.get()
                ven = self._vtn.journal.ven(ven_id)
                if ven is None or ven.pull:
                    continue
                if ven_id not in self._awake:
                    self._awake[ven_id] = asyncio.Event()
                    group.create_task(self._serve(ven_id, self._awake[ven_id], session))
                self._awake[ven_id].set()

    async def _serve(self, ven_id: str, awake: asyncio.Event, session: aiohttp.ClientSession) -> None:
        settings, clock = self._vtn.settings, self._vtn.clock
        backoff = Backoff(first_s=settings.push_retry_s)
        while True:
            # A message that was not answered goes again later, though nothing new waits.
            with suppress(TimeoutError):
                async with clock.timeout(settings.resend_s):
                    await awake.wait()
            awake.clear()
            while True:
                try:
                    if not await self._deliver_next(ven_id, session):
                        break
                    backoff.reset()
                except (aiohttp.ClientError, OSError, TimeoutError, WireError, PushError) as error:
                    self._log.warning("push failed", ven_id=ven_id, why=str(error) or type(error).__name__)
                    await clock.sleep(backoff.next_s())

    async def _deliver_next(self, ven_id: str, session: aiohttp.ClientSession) -> bool:
        """Whether there was something, which the VEN took."""
        vtn = self._vtn
        ven = vtn.journal.ven(ven_id)
        if ven is None or ven.pull or ven.registration_id is None:
            return False
        found = vtn.mailbox.peek(ven_id)
        if found is None:
            return False
        waiting, message = found
        service = service_of(message)
        sent = vtn.faults.tamper(message, service, ven_id)
        vtn.pushed(ven_id, service, sent)
        async with vtn.clock.timeout(vtn.settings.push_timeout_s):
            answer = await self._post(ven, service, sent, session)
        with vtn.journal.transaction():
            vtn.mailbox.sent(waiting, message)
        if answer is not None:
            vtn.answered(ven, service, answer)
        return True

    async def _post(
        self, ven: VenRecord, service: Service, message: Message, session: aiohttp.ClientSession
    ) -> Message | None:
        clock = self._vtn.clock
        body = self._codec.write(message, clock.now())
        headers = {"Content-Type": CONTENT_TYPE}
        async with session.post(f"{_base(ven, self._tls)}/{service.value}", data=body, headers=headers) as response:
            content = await response.read()
            if response.status != 200:
                raise PushError(f"{ven.ven_id} answered {response.status}: {content[:200].decode(errors='replace')}")
        if not content:
            return None
        answer, signer = self._codec.open(content, clock.now())
        if signer is not None and signer != ven.fingerprint:
            raise PushError(f"{ven.ven_id} answered with the signature of {signer}, not of {ven.fingerprint}")
        return answer


def _base(ven: VenRecord, tls: ssl.SSLContext | None) -> str:
    """The VEN's address as a URL with the path before the services."""
    address = (ven.transport_address or "").rstrip("/")
    if "://" not in address:
        address = f"{'http' if tls is None else 'https'}://{address}"
    return address if "/" in address.partition("://")[2] else f"{address}{PREFIX}"
