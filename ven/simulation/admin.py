"""The utility operator's view: plain HTTP on loopback, to see the book, to call events, to ask for reports, and to
make things go wrong. docs/openadr.md lists the routes and their fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from grid.errors import NegawattError
from ven.errors import WireError
from ven.simulation import views
from ven.simulation.bodies import Body, EventCall, EventChange, FaultCall, ReportCall, SizedCall
from ven.simulation.calling import changed, explicit, sized
from ven.simulation.delivery import delivery
from ven.simulation.errors import CallError, NotReadyError, UnknownError
from ven.simulation.faults import Fault
from ven.simulation.mailbox import new_id
from ven.simulation.vtn import UtilityVtn
from ven.wire.common import Period

Handler = Callable[[web.Request], Awaitable[web.Response]]
B = TypeVar("B", bound=Body)

_BODY = TypeAdapter(dict[str, Any])
_STATUS: dict[type[NegawattError], int] = {UnknownError: 404, NotReadyError: 409, CallError: 400, WireError: 400}


class Admin:
    """Routes over one VTN."""

    def __init__(self, vtn: UtilityVtn) -> None:
        self._vtn = vtn

    def routes(self) -> list[web.RouteDef]:
        """For an AdminServer."""
        table: tuple[tuple[Callable[..., web.RouteDef], str, Handler], ...] = (
            (web.get, "/registrations", self._registrations),
            (web.delete, "/registrations/{ven}", self._put_out),
            (web.post, "/registrations/{ven}/reregister", self._reregister),
            (web.get, "/reports", self._reports),
            (web.get, "/offers", self._offers),
            (web.get, "/reports/requests", self._requests),
            (web.post, "/reports/requests", self._request),
            (web.delete, "/reports/requests/{request_id}", self._cancel_request),
            (web.get, "/intervals", self._intervals),
            (web.get, "/events", self._events),
            (web.post, "/events", self._call),
            (web.get, "/events/{event_id}", self._event),
            (web.patch, "/events/{event_id}", self._modify),
            (web.delete, "/events/{event_id}", self._cancel),
            (web.get, "/deliveries/{event_id}", self._delivery),
            (web.get, "/opts", self._opts),
            (web.get, "/messages", self._messages),
            (web.get, "/faults", self._faults),
            (web.post, "/faults", self._fault),
            (web.delete, "/faults", self._clear_faults),
            (web.delete, "/faults/{fault_id}", self._clear_faults),
        )
        return [add(path, self._guarded(handler)) for add, path, handler in table]

    def _guarded(self, handler: Handler) -> Handler:
        """One transaction a request; what is wrong becomes a status and one line."""

        async def guarded(request: web.Request) -> web.Response:
            await request.read()
            try:
                with self._vtn.journal.transaction():
                    return await handler(request)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(map(str, first["loc"]))
                return _problem(400, f"{where}: {first['msg']}" if where else first["msg"])
            except (UnknownError, NotReadyError, CallError, WireError) as error:
                return _problem(next(code for kind, code in _STATUS.items() if isinstance(error, kind)), str(error))

        return guarded

    # --- registrations

    async def _registrations(self, _: web.Request) -> web.Response:
        vtn = self._vtn
        rows = [
            views.registration(ven, vtn.reports.resources(ven.ven_id), vtn.journal.came_again(ven.ven_id))
            for ven in vtn.journal.vens()
            if ven.registration_id is not None
        ]
        return web.json_response(rows)

    async def _put_out(self, request: web.Request) -> web.Response:
        ven = self._vtn.registrations.named(request.match_info["ven"])
        self._vtn.registrations.put_out(ven)
        return web.json_response({"ven_id": ven.ven_id}, status=202)

    async def _reregister(self, request: web.Request) -> web.Response:
        ven = self._vtn.registrations.named(request.match_info["ven"])
        self._vtn.registrations.ask_again(ven)
        return web.json_response({"ven_id": ven.ven_id}, status=202)

    # --- reports

    async def _reports(self, _: web.Request) -> web.Response:
        vens = [ven for ven in self._vtn.journal.vens() if ven.registration_id is not None]
        return web.json_response({ven.ven_name: views.received(self._vtn.received(ven)) for ven in vens})

    async def _offers(self, _: web.Request) -> web.Response:
        vens = self._vtn.journal.vens()
        return web.json_response({ven.ven_name: views.offer(self._vtn.reports.offer(ven.ven_id)) for ven in vens})

    async def _requests(self, _: web.Request) -> web.Response:
        return web.json_response([views.request(record) for record in self._vtn.reports.all_requests()])

    async def _request(self, request: web.Request) -> web.Response:
        call = await _read(request, ReportCall)
        ven = self._vtn.registrations.named(call.ven_name)
        asked = self._vtn.reports.request(
            ven,
            specifier_id=call.specifier_id,
            rids=call.rids,
            granularity_s=call.granularity_s,
            back_duration_s=call.back_duration_s,
            period=None if call.start is None else Period(start=call.start, duration_s=call.duration_s),
        )
        return web.json_response({"report_request_id": asked.request_id, "ven_id": ven.ven_id}, status=201)

    async def _cancel_request(self, request: web.Request) -> web.Response:
        record = self._vtn.reports.cancel(
            request.match_info["request_id"],
            with_update=_flag(request, "with_update"),
            report_to_follow=_flag(request, "report_to_follow"),
        )
        return web.json_response(views.request(record), status=202)

    async def _intervals(self, request: web.Request) -> web.Response:
        name = request.query.get("ven")
        vens = [ven for ven in self._vtn.journal.vens() if name in (None, ven.ven_id, ven.ven_name)]
        held = [views.interval(one) for ven in vens for one in self._vtn.journal.intervals(ven.ven_id)]
        return web.json_response(
            {
                "intervals": held,
                "duplicates": sum(one["duplicates"] for one in held),
                "conflicts": sum(one["conflicts"] for one in held),
            }
        )

    # --- events

    async def _events(self, _: web.Request) -> web.Response:
        now = self._vtn.clock.now()
        return web.json_response([views.event(called, now) for called in self._vtn.events.all()])

    async def _call(self, request: web.Request) -> web.Response:
        vtn, now = self._vtn, self._vtn.clock.now()
        if "signals" in _BODY.validate_json(await request.read()):
            call = await _read(request, EventCall)
            called = explicit(call, vtn.registrations.named(call.ven_name), vtn.settings, now)
        else:
            wish = await _read(request, SizedCall)
            ven = vtn.registrations.named(wish.ven_name)
            called = sized(wish, ven, vtn.received(ven), vtn.settings, now)
        vtn.events.call(called)
        return web.json_response(views.event(called, now), status=201)

    async def _event(self, request: web.Request) -> web.Response:
        called = self._vtn.events.named(request.match_info["event_id"])
        answers = [views.answer(one) for one in self._vtn.events.answers(called.event.event_id)]
        return web.json_response({**views.event(called, self._vtn.clock.now()), "opts": answers})

    async def _modify(self, request: web.Request) -> web.Response:
        change = await _read(request, EventChange)
        called = self._vtn.events.modify(request.match_info["event_id"], lambda event: changed(event, change))
        return web.json_response(views.event(called, self._vtn.clock.now()))

    async def _cancel(self, request: web.Request) -> web.Response:
        event_id, events = request.match_info["event_id"], self._vtn.events
        called = events.vanish(event_id) if _flag(request, "vanish") else events.cancel(event_id)
        return web.json_response(views.event(called, self._vtn.clock.now()))

    async def _delivery(self, request: web.Request) -> web.Response:
        vtn = self._vtn
        called = vtn.events.named(request.match_info["event_id"])
        ven = vtn.journal.ven(called.ven_id)
        assert ven is not None, "events are called of VENs that registered"
        result = delivery(called, vtn.received(ven), vtn.settings.baseline_s, vtn.clock.now())
        return web.json_response(views.delivery(result))

    async def _opts(self, _: web.Request) -> web.Response:
        return web.json_response([views.opt(one) for one in self._vtn.opts.all()])

    # --- messages and faults

    async def _messages(self, request: web.Request) -> web.Response:
        query = request.query
        limit = _number(query.get("limit", "100"))
        rows = [
            views.passed(entry, xml=_flag(request, "xml"))
            for entry in self._vtn.messages.last()
            if query.get("ven") in (None, entry.ven_id) and query.get("request_id") in (None, entry.request_id)
        ]
        return web.json_response(rows[:limit])

    async def _faults(self, _: web.Request) -> web.Response:
        return web.json_response([views.fault(one) for one in self._vtn.faults.all()])

    async def _fault(self, request: web.Request) -> web.Response:
        call = await _read(request, FaultCall)
        ven = None if call.ven_name is None else self._vtn.registrations.named(call.ven_name)
        fault = Fault(
            fault_id=new_id("fault"),
            kind=call.kind,
            left=call.count if call.count is not None or call.probability is not None else 1,
            probability=1.0 if call.probability is None else call.probability,
            service=call.service,
            ven_id=None if ven is None else ven.ven_id,
            delay_s=call.delay_s,
        )
        self._vtn.faults.set(fault)
        return web.json_response(views.fault(fault), status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._vtn.faults.clear(request.match_info.get("fault_id"))
        return web.json_response([views.fault(one) for one in self._vtn.faults.all()])


async def _read(request: web.Request, kind: type[B]) -> B:
    return kind.model_validate_json(await request.read())


def _flag(request: web.Request, name: str) -> bool:
    word = request.query.get(name, "false")
    if word not in ("true", "false"):
        raise CallError(f"{name} is true or false, not {word!r}")
    return word == "true"


def _number(word: str) -> int:
    if not word.isdecimal():
        raise CallError(f"limit is a number, not {word!r}")
    return int(word)


def _problem(status: int, what: str) -> web.Response:
    return web.json_response({"error": what}, status=status)
