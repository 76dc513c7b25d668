"""The utility operator's view: plain HTTP on loopback, to see the book and to call events."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ven.simulation.book import CalledEvent, NotReadyError, UnknownError, VenRecord
from ven.simulation.config import VtnSettings
from ven.simulation.delivery import delivery
from ven.simulation.vtn import UtilityVtn


class EventCall(BaseModel):
    """Body of POST /events. Durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ven_name: str
    share: float = Field(default=0.2, gt=0, le=1)
    """Of the power the VEN reported lately."""
    lead_s: float = Field(default=15.0, ge=0)
    active_s: float = Field(default=110.0, gt=0)
    ramp_s: float = Field(default=20.0, ge=0)
    granularity_s: int = Field(default=10, ge=1)
    market_context: str


class Admin:
    """Routes over one VTN."""

    def __init__(self, vtn: UtilityVtn, settings: VtnSettings) -> None:
        self._vtn = vtn
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        """For an AdminServer."""
        return [
            web.get("/registrations", self._registrations),
            web.get("/reports", self._reports),
            web.post("/events", self._call),
            web.get("/events/{event_id}", self._event),
            web.get("/deliveries/{event_id}", self._delivery),
        ]

    async def _registrations(self, _: web.Request) -> web.Response:
        return web.json_response([_registration(ven) for ven in self._vtn.book.vens.values()])

    async def _reports(self, _: web.Request) -> web.Response:
        return web.json_response({ven.ven_name: _received(ven) for ven in self._vtn.book.vens.values()})

    async def _call(self, request: web.Request) -> web.Response:
        try:
            call = EventCall.model_validate_json(await request.read())
            event = self._vtn.call_event(**call.model_dump())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            return _problem(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        except UnknownError as error:
            return _problem(404, str(error))
        except NotReadyError as error:
            return _problem(409, str(error))
        return web.json_response(self._summary(event), status=201)

    async def _event(self, request: web.Request) -> web.Response:
        try:
            event = self._vtn.book.event(request.match_info["event_id"])
        except UnknownError as error:
            return _problem(404, str(error))
        opts = [{**asdict(answer), "at": answer.at.isoformat()} for answer in event.opts]
        return web.json_response({**self._summary(event), "opts": opts})

    async def _delivery(self, request: web.Request) -> web.Response:
        try:
            event = self._vtn.book.event(request.match_info["event_id"])
        except UnknownError as error:
            return _problem(404, str(error))
        result = delivery(event, self._vtn.book.vens[event.ven_id], self._settings.baseline_s)
        by_resource = {
            resource_id: {**asdict(part), "missing": [start.isoformat() for start in part.missing]}
            for resource_id, part in result.by_resource.items()
        }
        complete_until = _iso(result.complete_until)
        return web.json_response({**asdict(result), "complete_until": complete_until, "by_resource": by_resource})

    def _summary(self, event: CalledEvent) -> dict[str, Any]:
        return {
            "event_id": event.event_id,
            "ven_id": event.ven_id,
            "status": self._vtn.status(event),
            "dtstart": event.dtstart.isoformat(),
            "requested_kw": event.requested_kw,
        }


def _registration(ven: VenRecord) -> dict[str, Any]:
    return {
        "ven_id": ven.ven_id,
        "ven_name": ven.ven_name,
        "registered_at": ven.registered_at.isoformat(),
        "resources": list(ven.resources.values()),
        "reports_registered": ven.reports_created_at is not None,
        "reports_created_at": _iso(ven.reports_created_at),
        "duplicates": ven.duplicates,
    }


def _received(ven: VenRecord) -> dict[str, Any]:
    rows = {}
    for rid in ven.resources:
        starts = [start for found, start in ven.readings_kw if found == rid]
        rows[rid] = {"intervals": len(starts), "latest": _iso(max(starts, default=None))}
    return rows


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _problem(status: int, what: str) -> web.Response:
    return web.json_response({"error": what}, status=status)
