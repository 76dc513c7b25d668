"""The utility's VTN on openleadr's server: mutual TLS, everything signed, reports asked of every VEN, events called.

openleadr keeps its keys and look-ups in class attributes, so a process holds one VTN. It gets handlers and events
from here; registrations, readings and answers are in our own book.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from aiohttp import web
from openleadr import OpenADRServer
from openleadr.objects import (
    Event,
    EventDescriptor,
    EventSignal,
    Interval,
    Measurement,
    PowerAttributes,
    Target,
)

from certs.tls import check_identity, server_context
from grid.clock import Clock
from grid.events import EventStatus, OptType
from grid.intervals import ceil_to
from grid.process.listen import listen
from grid.units import power_kw
from ven.simulation.book import Book, CalledEvent, OptRecord, VenRecord
from ven.simulation.config import VtnSettings

SIZING_S = 60.0
"""How much reported history sizes an event."""

Readings = list[tuple[datetime, float]]


class UtilityVtn:
    """One utility."""

    def __init__(self, settings: VtnSettings, clock: Clock) -> None:
        self.book = Book()
        self._settings = settings
        self._clock = clock
        self._server: OpenADRServer | None = None
        self._log = structlog.get_logger()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve VENs; gives the port. Raises CertificateError, AddressInUseError."""
        settings = self._settings
        check_identity(settings.identity, self._clock)
        self._server = self._openleadr()
        runner = web.AppRunner(self._server.app, access_log=None, shutdown_timeout=1.0)
        port = await listen(runner, settings.host, settings.port, server_context(settings.identity))
        try:
            yield port
        finally:
            await runner.cleanup()

    def call_event(
        self,
        *,
        ven_name: str,
        share: float,
        lead_s: float,
        active_s: float,
        ramp_s: float,
        granularity_s: int,
        market_context: str,
    ) -> CalledEvent:
        """Ask a VEN for ``share`` of what it reported lately, ``lead_s`` or a little more from now.

        Raises UnknownError, NotReadyError.
        """
        assert self._server is not None, "events are called while serving"
        ven = self.book.ven_named(ven_name)
        event = CalledEvent(
            event_id=f"event-{uuid4()}",
            ven_id=ven.ven_id,
            dtstart=ceil_to(self._clock.now() + timedelta(seconds=lead_s), granularity_s),
            active_s=active_s,
            ramp_s=ramp_s,
            release_s=self._settings.release_s,
            granularity_s=granularity_s,
            requested_kw=round(share * ven.portfolio_kw(math.ceil(SIZING_S / granularity_s)), 3),
        )
        self.book.events[event.event_id] = event
        self._server.add_raw_event(ven.ven_id, _load_dispatch(event, market_context, self._clock), self._opted)
        self._log.info("event called", event_id=event.event_id, ven_name=ven_name, requested_kw=event.requested_kw)
        return event

    def status(self, event: CalledEvent) -> EventStatus:
        """Where an event stands now."""
        now = self._clock.now()
        if now < event.dtstart:
            return EventStatus.FAR
        over = now >= event.dtstart + timedelta(seconds=event.active_s)
        return EventStatus.COMPLETED if over else EventStatus.ACTIVE

    # --- what openleadr asks

    def _openleadr(self) -> OpenADRServer:
        settings = self._settings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", web.NotAppKeyWarning)
            server = OpenADRServer(
                vtn_id=settings.vtn_id,
                cert=str(settings.certificate),
                key=str(settings.key_file),
                show_fingerprint=False,
                requested_poll_freq=timedelta(seconds=settings.poll_interval_s),
                ven_lookup=self._look_up,
            )
        server.add_handler("on_create_party_registration", self._register)
        server.add_handler("on_register_report", self._request_report)
        server.add_handler("on_created_report", self._report_created)
        return server

    def _look_up(self, ven_id: str) -> dict[str, str] | None:
        ven = self.book.vens.get(str(ven_id))
        if ven is None:
            return None
        return {
            "ven_id": ven.ven_id,
            "ven_name": ven.ven_name,
            "fingerprint": ven.fingerprint,
            "registration_id": ven.registration_id,
        }

    def _register(self, payload: dict[str, Any]) -> tuple[str, str] | bool:
        """The same certificate and name are the same VEN, also after a restart of ours."""
        fingerprint, ven_name = payload["fingerprint"], str(payload["ven_name"])
        allowed = self._settings.ven_fingerprints
        if allowed and fingerprint not in allowed:
            self._log.warning("registration refused", ven_name=ven_name, fingerprint=fingerprint)
            return False
        ven_id = "ven-" + hashlib.sha256(f"{fingerprint} {ven_name}".encode()).hexdigest()[:16]
        if ven_id not in self.book.vens:
            self.book.vens[ven_id] = VenRecord(
                ven_id=ven_id,
                ven_name=ven_name,
                fingerprint=fingerprint,
                registration_id=f"registration-{uuid4()}",
                registered_at=self._clock.now(),
            )
        self._log.info("registered", ven_name=ven_name, ven_id=ven_id, fingerprint=fingerprint)
        return ven_id, self.book.vens[ven_id].registration_id

    def _request_report(
        self,
        ven_id: str,
        resource_id: str,
        measurement: str,
        unit: str,
        scale: str,
        min_sampling_interval: timedelta,
        max_sampling_interval: timedelta,
    ) -> tuple[Callable[[Readings], None], timedelta, timedelta] | None:
        """Ask for real power at our interval where the VEN can give it. openleadr matches these names."""
        assert self._server is not None
        step = timedelta(seconds=self._settings.report_interval_s)
        if measurement != "RealPower" or not min_sampling_interval <= step <= max_sampling_interval:
            self._log.warning("report not asked for", ven_id=ven_id, resource_id=resource_id, measurement=measurement)
            return None
        ven = self.book.vens[str(ven_id)]
        rid = _rid(self._server.registered_reports[ven_id][-1]["report_descriptions"], resource_id)
        ven.resources[rid] = str(resource_id)

        def received(readings: Readings) -> None:
            ven.receive(rid, [(start, power_kw(value, units=unit, si_scale=scale)) for start, value in readings])

        return received, step, step

    def _report_created(self, payload: dict[str, Any]) -> None:
        ven = self.book.vens[str(payload["ven_id"])]
        if payload.get("pending_reports") and ven.reports_created_at is None:
            ven.reports_created_at = self._clock.now()

    def _opted(self, ven_id: str, event_id: str, opt_type: str) -> None:
        """openleadr forgets its callback after one answer; a later opt of the same event must reach us too."""
        assert self._server is not None
        now = self._clock.now()
        event = next(e for e in self._server.events[ven_id] if e.event_descriptor.event_id == event_id)
        self._server.event_callbacks[event_id] = (event, self._opted)
        self.book.event(event_id).answered(
            OptRecord(
                ven_id=ven_id,
                opt=OptType(opt_type),
                modification_number=event.event_descriptor.modification_number,
                at=now,
            )
        )
        self._log.info("opt", event_id=event_id, ven_id=ven_id, opt=opt_type)


def _load_dispatch(event: CalledEvent, market_context: str, clock: Clock) -> Event:
    """One LOAD_DISPATCH delta over the active period; a reduction is negative (change from the baseline)."""
    interval = Interval(
        dtstart=event.dtstart, duration=timedelta(seconds=event.active_s), signal_payload=-event.requested_kw
    )
    signal = EventSignal(
        intervals=[interval],
        signal_name="LOAD_DISPATCH",
        signal_type="delta",
        signal_id=f"signal-{event.event_id}",
        measurement=Measurement(
            name="powerReal",
            description="RealPower",
            unit="W",
            scale="k",
            power_attributes=PowerAttributes(hertz=60, voltage=480, ac=True),
        ),
    )
    descriptor = EventDescriptor(
        event_id=event.event_id,
        modification_number=0,
        market_context=market_context,
        event_status=EventStatus.FAR.value,
        created_date_time=clock.now(),
        modification_date_time=clock.now(),
    )
    return Event(event_descriptor=descriptor, event_signals=[signal], targets=[Target(ven_id=event.ven_id)])


def _rid(descriptions: Sequence[dict[str, Any]], resource_id: str) -> str:
    return next(
        str(description["r_id"])
        for description in descriptions
        if description.get("report_data_source", {}).get("resource_id") == resource_id
    )
