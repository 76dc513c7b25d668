"""What a plant shows on its admin port: its state, the caps in force, and when caps and battery were first written.

    GET /state              latest true second, state of charge, lost GPUs
    GET /caps               [{uuid, cap_w, default_w, lost}]
    GET /writes?since=ISO   {gpus: {uuid: ISO or null}, battery: ISO or null, lost: [uuid]}

Write times come from the simulated NVML library and the battery's own server, not from whoever wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from aiohttp import web

from agent.simulation.errors import StateError
from agent.simulation.plant import Plant
from grid.intervals import utc

Latest = Callable[[], dict[str, Any] | None]
"""The newest row of the truth log, or None before the first."""


def routes(plant: Plant, latest: Latest) -> list[web.RouteDef]:
    """Routes for the process's AdminServer."""

    async def state(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "site_id": plant.scenario.settings.site_id,
                "nominal_site_kw": round(plant.scenario.site_kw, 3),
                **(latest() or {}),
                "soc_pct": round(100.0 * plant.battery.storage.soc, 3),
                "lost": _lost(plant),
            }
        )

    async def caps(_: web.Request) -> web.Response:
        gpus = plant.state.gpus
        columns = (gpus["cap_mw"].tolist(), gpus["default_limit_mw"].tolist(), gpus["lost"].tolist())
        return web.json_response(
            [
                {"uuid": uuid, "cap_w": cap_mw / 1000.0, "default_w": default_mw / 1000.0, "lost": bool(lost)}
                for uuid, cap_mw, default_mw, lost in zip(plant.state.uuids, *columns, strict=True)
            ]
        )

    async def writes(request: web.Request) -> web.Response:
        # An unescaped plus sign of the UTC offset arrives as a space.
        text = request.query.get("since", "").replace(" ", "+")
        try:
            since = utc(datetime.fromisoformat(text))
        except ValueError:
            return web.json_response({"error": "since must be an instant in ISO 8601 with its offset"}, status=400)
        try:
            first = plant.state.first_writes(since)
        except StateError as error:
            return web.json_response({"error": str(error)}, status=410)
        return web.json_response(
            {
                "gpus": {uuid: _iso(at) for uuid, at in zip(plant.state.uuids, first, strict=True)},
                "battery": _iso(plant.battery.first_write(since)),
                "lost": _lost(plant),
            }
        )

    return [web.get("/state", state), web.get("/caps", caps), web.get("/writes", writes)]


def _lost(plant: Plant) -> list[str]:
    return [uuid for uuid, lost in zip(plant.state.uuids, plant.state.gpus["lost"].tolist(), strict=True) if lost]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
