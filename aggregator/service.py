"""The aggregator's process: database, uplink gateway, VENs, dispatch, settlement, console, put together.

Everything it knows is in the database and the VENs' journal; memory holds only the live board, which is filled
again at the start. Sites can connect before the first event can arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from aggregator.api import Api, problems
from aggregator.board import NowBoard
from aggregator.console.routes import add_console
from aggregator.dispatch.baselines import StartBaselines
from aggregator.dispatch.service import DispatchService
from aggregator.dispatch.views import budget_view, event_view
from aggregator.gateway.server import Gateway
from aggregator.metrics import BoardMetrics
from aggregator.portfolio.config import AggregatorSettings
from aggregator.portfolio.enrolment import Enrolment
from aggregator.settlement.service import SettlementService, summary_of
from aggregator.storage import dispatches, settlements
from aggregator.storage.budgets import newest_budget
from aggregator.storage.sites import sync_sites
from aggregator.storage.store import Store, open_store
from aggregator.telemetry import StoredReadings
from aggregator.watch import VenAudit, vens_ailing, watch_vens
from certs.signing import open_signing_key, signing_key
from grid.clock import Clock
from grid.process.health import AdminServer
from grid.process.listen import listen
from grid.process.running import write_ready_file
from ven.service import VenGateway

_log = structlog.get_logger()


class Aggregator:
    """One aggregator. ``run`` serves until cancelled."""

    def __init__(self, settings: AggregatorSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._registry = CollectorRegistry()

    async def run(self, ready_file: Path | None) -> None:
        """Raises ConfigError, StoreError, CertificateError, AddressInUseError, and what ends the VENs."""
        settings, clock = self._settings, self._clock
        enrolments = settings.open_enrolments()
        # Going on under a new key would make a chain that no one key verifies.
        open_key = open_signing_key if settings.database.exists() else signing_key
        key = open_key(settings.aggregator.audit_key_file)
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(settings.database, key, clock))
            board = NowBoard(clock, settings.site_names)
            await self._begin(store)
            await fill_board(board, store, settings.site_names, enrolments)
            self._registry.register(BoardMetrics(board))
            gateway = await stack.enter_async_context(
                Gateway(settings.gateway, settings.site_names, store, board, clock, self._registry)
            )
            baselines = StartBaselines(store, board, clock, send=gateway.wake)
            settling = SettlementService(store, board, clock)

            def committed() -> None:
                baselines.wake()
                settling.wake()

            dispatch = DispatchService(enrolments, store, board, clock, send=gateway.wake, committed=committed)
            vens = self._vens(enrolments, store, dispatch)
            console_port = await self._console(stack, store, board, key)
            admin = await stack.enter_async_context(
                AdminServer({"vtn": lambda: vens_ailing(vens)}, self._registry, port=settings.aggregator.admin_port)
            )
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for service in (vens.run(), baselines.run(), settling.run(), watch_vens(vens, board, clock)):
                group.create_task(service)
            write_ready_file(ready_file, console_port=console_port, gateway_port=gateway.port, admin_port=admin.port)
            _log.info("aggregator serves", console_port=console_port, gateway_port=gateway.port)

    async def _begin(self, store: Store) -> None:
        """Agree with the configuration on the sites, and say in the audit that we run, as which version."""
        async with store.transaction() as tx:
            await sync_sites(tx.connection, self._settings.site_names)
            await tx.record(
                actor="aggregator",
                action="process.started",
                subject="aggregator",
                facts={"version": version("negawatt"), "sites": list(self._settings.site_names)},
            )

    def _vens(self, enrolments: Mapping[str, Enrolment], store: Store, dispatch: DispatchService) -> VenGateway:
        site_of = {resource_id: site_id for one in enrolments.values() for resource_id, site_id in one.site_of.items()}
        return VenGateway(
            [one.ven for one in enrolments.values()],
            self._settings.aggregator.state_dir / "ven.sqlite",
            dispatch,
            StoredReadings(store, site_of, self._clock),
            VenAudit(store),
            self._clock,
        )

    async def _console(self, stack: AsyncExitStack, store: Store, board: NowBoard, key: Ed25519PrivateKey) -> int:
        """Serve console and API; returns the port."""
        app = web.Application(middlewares=[problems])
        app.add_routes(Api(store, key.public_key()).routes())
        add_console(app, board)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        stack.push_async_callback(runner.cleanup)
        return await listen(runner, self._settings.console.host, self._settings.console.port)


async def fill_board(
    board: NowBoard, store: Store, sites: Mapping[str, str], enrolments: Mapping[str, Enrolment]
) -> None:
    """Show again what the database knows: budgets, events, statements."""
    async with store.reading() as connection:
        for site_id in sites:
            if (issued := await newest_budget(connection, site_id)) is not None:
                board.budget(budget_view(issued))
        for one in await dispatches.all_answered(connection):
            owed = await dispatches.commitments_of(connection, *one.event.key)
            enrolment = enrolments.get(one.event.enrolment_id)
            programme = None if enrolment is None else enrolment.programme
            board.event(event_view(one.event, one.decision, owed[-1] if owed else None, programme))
        for run in await settlements.runs(connection):
            board.settlement(summary_of(run.statement))
