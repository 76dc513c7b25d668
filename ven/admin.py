"""The operator's view of the VENs: plain HTTP on loopback, to see how they fare and to opt out, enrol, leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Self

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from grid.events import OptType
from grid.intervals import Interval
from ven.archive import Archive, ArchivedMessage
from ven.errors import UnknownError, VenError
from ven.records import StoredOpt
from ven.service import VenGateway
from ven.status import VenStatus

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Stretch(BaseModel):
    """A stretch of time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.end <= self.start:
            raise ValueError("a stretch ends after it starts")
        return self


class OptCall(BaseModel):
    """Body of POST /vens/ID/opts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opt: OptType = OptType.OPT_OUT
    periods: tuple[Stretch, ...] = Field(min_length=1)
    resource_ids: tuple[str, ...] = ()


class VenAdmin:
    """Routes over one gateway, and its archive if there is one."""

    def __init__(self, gateway: VenGateway, archive: Archive | None = None) -> None:
        self._gateway = gateway
        self._archive = archive

    def routes(self) -> list[web.RouteDef]:
        """For an AdminServer."""
        table: tuple[tuple[Callable[..., web.RouteDef], str, Handler], ...] = (
            (web.get, "/vens", self._status),
            (web.post, "/vens/{enrolment_id}/enrol", self._enrol),
            (web.post, "/vens/{enrolment_id}/cancel", self._cancel),
            (web.get, "/vens/{enrolment_id}/opts", self._opts),
            (web.post, "/vens/{enrolment_id}/opts", self._opt),
            (web.delete, "/vens/{enrolment_id}/opts/{opt_id}", self._cancel_opt),
            (web.get, "/messages", self._messages),
            (web.get, "/messages/{request_id}", self._messages),
        )
        return [add(path, _guarded(handler)) for add, path, handler in table]

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response([status_json(one) for one in self._gateway.status()])

    async def _enrol(self, request: web.Request) -> web.Response:
        self._gateway.enrol(request.match_info["enrolment_id"])
        return web.json_response({}, status=202)

    async def _cancel(self, request: web.Request) -> web.Response:
        await self._gateway.cancel_registration(request.match_info["enrolment_id"])
        return web.json_response({})

    async def _opts(self, request: web.Request) -> web.Response:
        return web.json_response([_opt_json(one) for one in self._gateway.opts(request.match_info["enrolment_id"])])

    async def _opt(self, request: web.Request) -> web.Response:
        call = OptCall.model_validate_json(await request.read())
        periods = [Interval(start=one.start, end=one.end) for one in call.periods]
        made = self._gateway.opt(request.match_info["enrolment_id"], call.opt, periods, resource_ids=call.resource_ids)
        return web.json_response(_opt_json(made), status=201)

    async def _cancel_opt(self, request: web.Request) -> web.Response:
        self._gateway.cancel_opt(request.match_info["enrolment_id"], request.match_info["opt_id"])
        return web.json_response({})

    async def _messages(self, request: web.Request) -> web.Response:
        if self._archive is None:
            raise UnknownError("there is no archive: set archive in the configuration")
        return web.json_response(_found(self._archive, request.match_info.get("request_id")))


def _guarded(handler: Handler) -> Handler:
    """What is wrong becomes a status and one line."""

    async def guarded(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            return _problem(400, f"{where}: {first['msg']}" if where else first["msg"])
        except UnknownError as error:
            return _problem(404, str(error))
        except VenError as error:
            return _problem(409, str(error))

    return guarded


def _found(archive: Archive, request_id: str | None) -> list[dict[str, Any]]:
    archive.flush()
    messages = archive.latest(100) if request_id is None else archive.find(request_id)
    return [message_json(one) for one in messages]


def status_json(status: VenStatus) -> dict[str, Any]:
    """One VEN, for people and programs."""
    return {**asdict(status), "last_poll": None if status.last_poll is None else status.last_poll.isoformat()}


def message_json(message: ArchivedMessage) -> dict[str, Any]:
    """One archived message."""
    return {
        **asdict(message),
        "at": message.at.isoformat(),
        "content": message.content.decode("utf-8", "replace"),
    }


def _opt_json(opt: StoredOpt) -> dict[str, Any]:
    def iso(moment: datetime) -> str:
        return moment.isoformat()

    return {
        "opt_id": opt.opt_id,
        "opt": opt.opt.value,
        "reason": opt.reason,
        "periods": [{"start": iso(one.start), "end": iso(one.end)} for one in opt.periods],
        "resource_ids": list(opt.resource_ids),
        "event_id": opt.event_id,
        "state": opt.state.value,
        "created_at": iso(opt.created_at),
    }


def _problem(status: int, what: str) -> web.Response:
    return web.json_response({"error": what}, status=status)
