"""The read-only API beside the console: events with their budgets, settlements, the audit.

JSON; errors are problem+json (RFC 9457). Everything is read from the database, so what it says is what was
committed. Plain HTTP, for loopback.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from aggregator.audit.export import export_lines
from aggregator.portfolio.commitment import Commitment
from aggregator.storage import dispatches, settlements
from aggregator.storage.budgets import IssuedBudget, budgets_of
from aggregator.storage.dispatches import AnsweredEvent
from aggregator.storage.store import Store
from grid.audit import public_key_text

PROBLEM = "application/problem+json"


class Api:
    """Handlers of ``/api/v1``, but for the live view's, which are the console's."""

    def __init__(self, store: Store, public_key: Ed25519PublicKey) -> None:
        self._store = store
        self._public_key = public_key

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/api/v1/events", self._events),
            web.get("/api/v1/events/{enrolment_id}/{event_id}", self._event),
            web.get("/api/v1/settlements", self._settlements),
            web.get("/api/v1/audit/export", self._audit_export),
            web.get("/api/v1/audit/public-key", self._audit_key),
        ]

    async def _events(self, _: web.Request) -> web.Response:
        async with self._store.reading() as connection:
            answered = await dispatches.all_answered(connection)
        return web.json_response([_event_json(one) for one in answered])

    async def _event(self, request: web.Request) -> web.Response:
        enrolment_id, event_id = request.match_info["enrolment_id"], request.match_info["event_id"]
        async with self._store.reading() as connection:
            answered = await dispatches.answered(connection, enrolment_id, event_id)
            owed = await dispatches.commitments_of(connection, enrolment_id, event_id)
            budgets = await budgets_of(connection, owed)
        if not answered:
            raise web.HTTPNotFound(text=f"enrolment {enrolment_id} has no event {event_id}")
        return web.json_response(
            {
                **_event_json(answered[-1]),
                "modifications": [_event_json(one) for one in answered],
                "commitments": [_commitment_json(one) for one in owed],
                "budgets": [_budget_json(one) for one in budgets],
            }
        )

    async def _settlements(self, _: web.Request) -> web.Response:
        async with self._store.reading() as connection:
            runs = await settlements.runs(connection)
        return web.json_response([{**json.loads(run.statement), "made_at": run.made_at.isoformat()} for run in runs])

    async def _audit_export(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Disposition": 'attachment; filename="audit.jsonl"'})
        response.content_type = "application/jsonl"
        await response.prepare(request)
        async with aclosing(export_lines(self._store)) as lines:
            async for line in lines:
                await response.write(line.encode())
        await response.write_eof()
        return response

    async def _audit_key(self, _: web.Request) -> web.Response:
        return web.Response(text=public_key_text(self._public_key) + "\n")


@web.middleware
async def problems(request: web.Request, handler: Any) -> web.StreamResponse:
    """Errors of the API as problem+json; pages keep theirs."""
    try:
        answer: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or not request.path.startswith("/api/"):
            raise
        body = {"title": error.reason, "status": error.status, "detail": error.text}
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.json_response(body, status=error.status, content_type=PROBLEM, headers=headers)
    return answer


def _event_json(one: AnsweredEvent) -> dict[str, Any]:
    event, decision = one.event, one.decision
    return {
        "enrolment_id": event.enrolment_id,
        "event_id": event.event_id,
        "modification_number": event.modification_number,
        "status": event.status.value,
        "source": event.source,
        "received_at": event.received_at.isoformat(),
        "start": event.start.isoformat(),
        "duration_s": event.duration_s,
        "opt": decision.opt.value,
        "reason": decision.reason,
        "decided_at": decision.decided_at.isoformat(),
        "committed_kw": decision.committed_kw,
    }


def _commitment_json(one: Commitment) -> dict[str, Any]:
    times = one.timeline
    return {
        "commitment_id": one.commitment_id,
        "modification_number": one.modification_number,
        "state": one.state.value,
        "committed_kw": one.committed_kw,
        "programme_id": one.programme.programme_id,
        "verified": one.programme.verified,
        **{
            name: getattr(times, name).isoformat()
            for name in ("start", "ramp_start", "hold_start", "hold_end", "release_end")
        },
    }


def _budget_json(one: IssuedBudget) -> dict[str, Any]:
    return {
        "site_id": one.budget.site_id,
        "revision": one.budget.revision,
        "commitment_id": one.commitment_id,
        "purpose": one.purpose,
        "limit_kw": one.baseline_kw - one.owed_kw,
        "baseline_kw": one.baseline_kw,
        "owed_kw": one.owed_kw,
        "issued_at": one.budget.issued_at.isoformat(),
        "acked_at": None if one.acked_at is None else one.acked_at.isoformat(),
        "accepted": one.accepted,
        "refusal": one.refusal,
    }
