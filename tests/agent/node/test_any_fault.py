"""Whatever goes wrong in whatever order, once it is over every GPU that is left has what it had before."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.gpu.nvml import NvmlGpus
from agent.node import CHECK_EVERY_S, LocalNode, Table
from agent.simulation.nvml import library
from agent.simulation.nvml.state import SYMBOLS, GpuModel, NvmlState
from tests.agent.disks import read_only
from tests.agent.gpu.conftest import UUIDS
from tests.agent.node.conftest import Rig

CODES = (1, 2, 3, 4, 9, 10, 13, 16, 17, 18, 999)
PRIORS_MW = (400_000, 390_000, 400_000)
FOREIGN_MW = 333_000
TABLES = (
    Table(caps_w={"job": 250.0}),
    Table(caps_w={"job": 150.0}, clocks_mhz={"job": 900.0}),
    Table(caps_w={}, clocks_mhz={"job": 600.0}),
)

Event = tuple[str, int, int, int]
EVENTS = st.tuples(
    st.sampled_from(("inject", "heal", "reload", "restart", "foreign", "full disk", "emergency", "apply", "restore")),
    st.integers(0, len(SYMBOLS) - 1),
    st.integers(0, len(CODES) - 1),
    st.integers(0, 2),
)


class Story:
    """One node and its successors, through a list of events."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.disk = ExitStack()
        self.unjournalled = False

    async def live(self, events: Sequence[Event]) -> None:
        remaining = list(events)
        while remaining:
            try:
                async with self.rig.node() as node:
                    await node.stage({"deep": TABLES[1]})
                    remaining = await self._until_restart(node, remaining)
            except AgentError:
                # No node can be opened now: what keeps it from that ends.
                self._heal()
                self.rig.gpus.reopen()
        self._heal()
        await self._end()

    async def _until_restart(self, node: LocalNode, events: list[Event]) -> list[Event]:
        while events:
            what, symbol, code, which = events.pop(0)
            if what == "restart":
                break
            await self._happens(node, what, SYMBOLS[symbol], CODES[code], which)
            await node.readings()
            await self.rig.clock.advance(CHECK_EVERY_S / 2)
        if self.unjournalled:
            # Its alarm says not to end the process before the disk has it.
            self._heal()
            for _ in range(3):
                await self.rig.clock.advance(CHECK_EVERY_S)
                await node.apply(TABLES[1], self.rig.lease(20))
        self.unjournalled = False
        self.disk.close()
        return events

    async def _happens(self, node: LocalNode, what: str, symbol: str, code: int, which: int) -> None:
        state, lease = self.rig.state, self.rig.lease(20)
        if what == "inject":
            state.inject(symbol, code, gpu=which if which < 2 else None, calls=3 * which)
        elif what == "heal":
            self._heal()
        elif what == "reload":
            state.reload_driver()
            state.gpus["cap_mw"] = PRIORS_MW  # as whoever set the prior limits would at once
        elif what == "foreign":
            state.gpus["cap_mw"][which] = FOREIGN_MW
        elif what == "full disk":
            self.disk.enter_context(read_only(self.rig.journal))
        elif what == "emergency":
            result = await node.apply_staged("deep", lease)
            self.unjournalled |= any("is not journalled" in alarm for alarm in result.alarms)
        elif what == "apply":
            await node.apply(TABLES[which], lease)
        else:
            await node.restore()

    def _heal(self) -> None:
        self.disk.close()
        self.rig.state.header["inject"] = 0
        self.rig.state.gpus["inject"] = 0

    async def _end(self) -> None:
        """A last node on a machine where everything works: it takes over, and stops cleanly."""
        self.rig.gpus.reopen()
        async with self.rig.node() as node:
            result = await node.restore()
        assert result.complete, result.alarms
        state = self.rig.state
        assert self.rig.journal.touched() == frozenset()
        assert self.rig.locks_mhz() == [0, 0, 0]
        for limit_mw, prior_mw in zip(state.gpus["cap_mw"].tolist(), PRIORS_MW, strict=True):
            assert limit_mw in (prior_mw, FOREIGN_MW)  # the latter where it was there before us


@pytest.mark.usefixtures("loaded")
@settings(max_examples=60, deadline=None)
@given(events=st.lists(EVENTS, min_size=1, max_size=25))
@example(events=[("full disk", 0, 0, 0), ("emergency", 0, 0, 0), ("heal", 0, 0, 0), ("apply", 0, 0, 2)])
def test_everything_is_given_back(events: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        state = NvmlState.create(Path(folder) / "gpus.state", UUIDS, GpuModel())
        state.gpus["cap_mw"] = PRIORS_MW
        patch.setitem(os.environ, library.STATE_VARIABLE, str(state.path))
        with NvmlGpus.open(simulated=True) as gpus:
            rig = Rig(Path(folder), state, gpus)
            asyncio.run(Story(rig).live(events))
            rig.journal.close()
