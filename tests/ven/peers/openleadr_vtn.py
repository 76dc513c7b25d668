"""Stock openleadr's VTN in a process of its own, as an independent peer; it never runs inside pytest.

    python -m tests.ven.peers.openleadr_vtn [--event JSON] [--certificate PEM --key PEM --roots PEM [--sign] [--tls]]

Registers any VEN, hands each one the event, asks every VEN for its power and collects what it answers. It prints one
JSON object a line, each with ``what``:

    serving           url
    registered        ven_id, ven_name, fingerprint
    requested         ven_id, resource_id, measurement, unit, scale
    created_reports   ven_id, pending
    reading           ven_id, resource_id, start, value
    opt               ven_id, event_id, opt
    cancelled         event_id
    message           xml, of every message as it came

An event is what POST /events of our VTN takes, as far as openleadr can carry it. On stdin it takes
``{"do": "event", "event": {...}}`` for every VEN that is registered, and ``{"do": "cancel", "event_id": ...}``; both
for one VEN alone with ``ven_name``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from openleadr import OpenADRServer
from openleadr.objects import (
    ActivePeriod,
    Event,
    EventDescriptor,
    EventSignal,
    Interval,
    Measurement,
    PowerAttributes,
    Target,
)

from grid.clock import SystemClock
from grid.process.listen import listen

CLOCK = SystemClock()
PREFIX = "/OpenADR2/Simple/2.0b"
DESCRIPTIONS = {"powerReal": "RealPower", "energyReal": "RealEnergy", "currencyPerKWh": "currencyPerKWh"}


def tell(what: str, **facts: Any) -> None:
    """One line for whoever started us."""
    print(json.dumps({"what": what, **facts}, default=str), flush=True)  # noqa: T201


@web.middleware
async def _tell_message(request: web.Request, handler: Handler) -> web.StreamResponse:
    tell("message", xml=(await request.read()).decode())
    return await handler(request)


def event_of(body: dict[str, Any], ven_id: str, event_id: str) -> Event:
    """openleadr's event; its intervals need a start and a duration each."""
    duration = timedelta(seconds=body["duration_s"])
    start = datetime.fromisoformat(body["start"]) if "start" in body else _soon(body.get("lead_s", 15.0))
    descriptor = EventDescriptor(
        event_id=event_id,
        modification_number=0,
        market_context=body["market_context"],
        event_status="far",
        created_date_time=CLOCK.now(),
        priority=body.get("priority", 0),
        test_event=body.get("test_event") not in (None, "false"),
        vtn_comment=body.get("vtn_comment"),
    )
    period = ActivePeriod(
        dtstart=start,
        duration=duration,
        tolerance={"startafter": _seconds(body["startafter_s"])} if "startafter_s" in body else None,
        notification_period=_seconds(body.get("notification_s")),
        ramp_up_period=_seconds(body.get("ramp_up_s")),
        recovery_period=_seconds(body.get("recovery_s")),
    )
    return Event(
        event_descriptor=descriptor,
        active_period=period,
        event_signals=[_signal(signal, place, start, duration) for place, signal in enumerate(body["signals"])],
        targets=_targets(body.get("targets") or {"ven_ids": [ven_id]}),
        response_required="always" if body.get("response_required", True) else "never",
    )


def _soon(lead_s: float) -> datetime:
    return (CLOCK.now() + timedelta(seconds=lead_s)).replace(microsecond=0)


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _targets(body: dict[str, Any]) -> list[Target]:
    return [Target(**{kind.removesuffix("s"): value}) for kind, values in body.items() for value in values]


def _signal(body: dict[str, Any], place: int, start: datetime, duration: timedelta) -> EventSignal:
    intervals = []
    for point in body["intervals"]:
        lasts = timedelta(seconds=point.get("duration_s", 0)) or duration
        intervals.append(Interval(dtstart=start, duration=lasts, signal_payload=point["value"]))
        start += lasts
    unit = body.get("unit")
    measurement = None
    if unit is not None:
        attributes = PowerAttributes(hertz=60, voltage=480, ac=True) if unit["name"].startswith("power") else None
        measurement = Measurement(
            name=unit["name"],
            description=DESCRIPTIONS[unit["name"]],
            unit=unit["units"],
            scale=unit.get("si_scale", "none"),
            power_attributes=attributes,
        )
    return EventSignal(
        intervals=intervals,
        signal_name=body["name"],
        signal_type=body["type"],
        signal_id=body.get("signal_id", f"signal-{place}"),
        measurement=measurement,
    )


class OpenleadrVtn:
    """One openleadr server and what it was told."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._vens: dict[str, dict[str, Any]] = {}
        self._report_interval = timedelta(seconds=options.report_interval_s)
        identity = (options.certificate, options.key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", web.NotAppKeyWarning)
            self._server = OpenADRServer(
                vtn_id="openleadr",
                cert=identity[0] if options.sign else None,
                key=identity[1] if options.sign else None,
                http_cert=identity[0] if options.tls else None,
                http_key=identity[1] if options.tls else None,
                http_ca_file=options.roots if options.tls else None,
                verify_message_signatures=options.sign,
                show_fingerprint=False,
                requested_poll_freq=timedelta(seconds=options.poll_interval_s),
                ven_lookup=self._look_up,
            )
        self._server.app.middlewares.append(_tell_message)
        self._server.add_handler("on_create_party_registration", self._register)
        self._server.add_handler("on_register_report", self._request_report)
        self._server.add_handler("on_created_report", self._created_report)

    async def run(self) -> None:
        """Serve until stdin ends."""
        runner = web.AppRunner(self._server.app, access_log=None, shutdown_timeout=1.0)
        port = await listen(runner, "127.0.0.1", self._options.port, self._server.ssl_context)
        tell("serving", url=f"{'https' if self._options.tls else 'http'}://127.0.0.1:{port}{PREFIX}")
        try:
            await self._obey()
        finally:
            await runner.cleanup()

    async def _obey(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = json.loads(line)
            concerned = [
                ven_id for ven_id, ven in self._vens.items() if order.get("ven_name") in (None, ven["ven_name"])
            ]
            for ven_id in concerned:
                if order["do"] == "cancel":
                    self._server.cancel_event(ven_id, order["event_id"])
                else:
                    self._hand_out(ven_id, order["event"])
            if order["do"] == "cancel":
                tell("cancelled", event_id=order["event_id"])

    def _look_up(self, ven_id: str) -> dict[str, Any] | None:
        return self._vens.get(str(ven_id))

    def _register(self, payload: dict[str, Any]) -> tuple[str, str]:
        ven_name = str(payload["ven_name"])
        ven_id, registration_id = f"ven-{ven_name}", f"registration-{ven_name}"
        known = ven_id in self._vens
        self._vens[ven_id] = {
            "ven_id": ven_id,
            "ven_name": ven_name,
            "fingerprint": payload.get("fingerprint"),
            "registration_id": registration_id,
        }
        tell("registered", ven_id=ven_id, ven_name=ven_name, fingerprint=payload.get("fingerprint"))
        if self._options.event is not None and not known:
            self._hand_out(ven_id, self._options.event)
        return ven_id, registration_id

    def _hand_out(self, ven_id: str, body: dict[str, Any]) -> None:
        event_id = body.get("event_id", f"event-{len(self._server.events.get(ven_id, []))}")
        event = event_of(body, ven_id, event_id)
        period = event.active_period
        self._server.add_raw_event(ven_id, event, self._opted)
        # It makes a period of the intervals alone, without tolerance, ramp-up and recovery.
        event.active_period = period

    def _opted(self, ven_id: str, event_id: str, opt_type: str) -> None:
        # openleadr forgets its callback after one answer; a later one must reach us too.
        for event in self._server.events[ven_id]:
            if event.event_descriptor.event_id == event_id:
                self._server.event_callbacks[event_id] = (event, self._opted)
        tell("opt", ven_id=ven_id, event_id=event_id, opt=opt_type)

    def _request_report(
        self,
        ven_id: str,
        resource_id: str,
        measurement: str,
        unit: str,
        scale: str,
        min_sampling_interval: timedelta,
        max_sampling_interval: timedelta,
    ) -> tuple[Callable[[Sequence[tuple[datetime, float]]], None], timedelta, timedelta] | None:
        """openleadr matches these names."""
        if not min_sampling_interval <= self._report_interval <= max_sampling_interval:
            return None

        def received(readings: Sequence[tuple[datetime, float]]) -> None:
            for start, value in readings:
                moment = start.astimezone(UTC).isoformat()
                tell("reading", ven_id=ven_id, resource_id=resource_id, start=moment, value=value)

        tell("requested", ven_id=ven_id, resource_id=resource_id, measurement=measurement, unit=unit, scale=scale)
        return received, self._report_interval, self._report_interval

    def _created_report(self, payload: dict[str, Any]) -> None:
        pending = [str(one["report_request_id"]) for one in payload.get("pending_reports") or ()]
        tell("created_reports", ven_id=payload["ven_id"], pending=pending)


def main() -> None:
    parser = argparse.ArgumentParser(prog="openleadr_vtn", description="stock openleadr's VTN")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--event", type=json.loads, help="handed to every VEN that registers")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--roots")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--sign", action="store_true")
    parser.add_argument("--poll-interval-s", type=float, default=1.0)
    parser.add_argument("--report-interval-s", type=float, default=10.0)
    logging.basicConfig(level=logging.WARNING)
    options = parser.parse_args()

    async def serve() -> None:
        await OpenleadrVtn(options).run()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
