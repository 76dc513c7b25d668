"""The node: the only one that writes GPU limits and clocks, under a lease, and gives back what it found.

What a GPU had is journalled before its first change; what was asked is read back. Limits outlive a dead process:
whoever opens the node next finds the journal and restores what no lease covers. While it runs it watches the lease
itself, because the control loop beside it may be stuck. A file lock per GPU keeps it to one writer. This node lives in
the agent's process; a node agent of its own speaks the same port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from agent.control.readings import ClassReading
from agent.errors import GpuError, GpuLostError, GpuTelemetryOnlyError, NodeError
from agent.gpu.device import Gpus
from agent.gpu.locks import Locks
from agent.journal import AgentJournal
from agent.node import summary
from agent.node.fleet import LOOK_EVERY_S, Fleet
from agent.node.member import Member
from agent.node.orders import Orders, extend_lease, journal_first, journal_if_it_can, orders
from agent.node.port import ApplyResult, ClassTelemetry, Lease, Table
from agent.workloads.jobs import Workloads
from grid.clock import Clock
from grid.errors import JournalError

CHECK_EVERY_S = LOOK_EVERY_S
"""How often what is in force is compared with what we wrote."""
LEASE_CHECK_EVERY_S = 1.0

_log = structlog.get_logger()


class LocalNode:
    """The GPUs of this machine."""

    def __init__(self, fleet: Fleet, journal: AgentJournal, clock: Clock) -> None:
        self._fleet = fleet
        self._journal = journal
        self._clock = clock
        self._checked_s = clock.monotonic()
        self._staged: dict[str, Table] = {}
        self._read: Mapping[str, list[summary.Read]] = {}
        self._alarms: dict[str, str] = {}
        """By GPU, until the limits are given back."""
        self._held_lower: list[str] = []
        """Limits set out of band, as they were found last."""
        self._lapsed: ApplyResult | None = None
        """Of the last restore because no lease covers a limit; None when there was nothing to restore."""

    @classmethod
    def open(
        cls, *, gpus: Gpus, workloads: Workloads, journal: AgentJournal, folder: Path, locks: Path, clock: Clock
    ) -> LocalNode:
        """Find the jobs' GPUs and take their locks. Raises NodeError when another process holds one.

        ``folder`` is the journal's; ``locks`` is one folder for all agents of this machine.
        """
        fleet = Fleet(gpus, workloads, journal, Locks(locks), clock)
        node = cls(fleet, journal, clock)
        try:
            fleet.open(folder)
            node._lapse()
            if all(member.class_id is None for member in fleet.members):
                raise NodeError(fleet.why_none())
        except BaseException:
            node.close()
            raise
        return node

    def close(self) -> None:
        """Let go of the locks; limits stay as they are."""
        self._fleet.close()

    def in_force_w(self) -> dict[str, float]:
        """What a process before this one left in force, read back: by class, the lowest limit per GPU. Unit: W."""
        found_w: dict[str, float] = {}
        priors_w = self._journal.prior_limits_w()
        for member in [m for m in self._fleet.members if m.uuid in priors_w]:
            try:
                limit_w = member.gpu.limit_w()
            except GpuError as error:
                _log.warning("limit not read", uuid=member.uuid, why=str(error))
                continue
            if member.class_id is not None:
                found_w[member.class_id] = min(limit_w, found_w.get(member.class_id, limit_w))
        return found_w

    # --- holding down -----------------------------------------------------------------------------------------

    async def apply(self, table: Table, lease: Lease) -> ApplyResult:
        asked, failed = journal_first(orders(self._fleet.members, table), lease, self._journal)
        self._look_for_foreign_writers()
        for member, limit_w in asked.caps:
            failed += self._cap(member, partial(member.hold, member.cap_w(limit_w)))
        failed += self._clocks(asked)
        return self._result(failed + extend_lease(lease, self._journal))

    async def stage(self, tables: Mapping[str, Table]) -> None:
        self._staged = dict(tables)

    async def apply_staged(self, level: str, lease: Lease) -> ApplyResult:
        if level not in self._staged:
            raise NodeError(f"no emergency table {level!r} is staged: stage it before it is called for")
        asked = orders(self._fleet.members, self._staged[level])
        failed = journal_if_it_can(asked, lease, self._journal)
        caps_w = [(member, member.cap_w(limit_w)) for member, limit_w in asked.caps]
        for member, cap_w in caps_w:
            # Whatever it refuses here it refuses once more below, and that is told.
            self._cap(member, partial(member.write_unread, cap_w))
        failed += self._clocks(asked)
        for member, cap_w in caps_w:
            if member in self._fleet.members and member.prior_w is not None:
                failed += self._cap(member, partial(member.read_back, cap_w))
        return self._result(failed + extend_lease(lease, self._journal))

    def _cap(self, member: Member, write: Callable[[], None]) -> list[str]:
        try:
            return self._attempt(member, write)
        except GpuTelemetryOnlyError as error:
            member.prior_w = None
            self._alarms[member.uuid] = f"{member.uuid}: {error}"
            return []

    def _clocks(self, asked: Orders) -> list[str]:
        failed: list[str] = []
        for member in asked.cannot:
            self._alarms[member.uuid] = f"{member.uuid}: it takes no clock lock, and is held by its power limit alone"
        for member, mhz in asked.locks:
            failed += self._lock(member, mhz)
        for member in asked.unlocks:
            failed += self._give_back(member, member.unlock)
        return failed

    def _lock(self, member: Member, mhz: float) -> list[str]:
        try:
            return self._attempt(member, partial(member.set_lock, member.clock_mhz(mhz)))
        except GpuTelemetryOnlyError as error:
            member.clock_bounds_mhz = None
            self._alarms[member.uuid] = f"{member.uuid}: no clock lock: {error}"
            return []

    def _attempt(self, member: Member, action: Callable[[], None]) -> list[str]:
        """An alarm when it failed. Raises GpuTelemetryOnlyError: its meaning depends on what is in force."""
        try:
            action()
        except GpuTelemetryOnlyError:
            raise
        except GpuError as error:
            self._failed(member, error)
            return [] if isinstance(error, GpuLostError) else [f"{member.uuid}: {error}"]
        return []

    def _failed(self, member: Member, error: GpuError) -> None:
        self._fleet.failed(member, error)
        if isinstance(error, GpuLostError):
            self._alarms.pop(member.uuid, None)

    def _look_for_foreign_writers(self) -> None:
        """Every CHECK_EVERY_S: what is not as we wrote it (another process, a driver reload) is due again."""
        if self._clock.monotonic() - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = self._clock.monotonic()
        self._held_lower = []
        for member in list(self._fleet.members):
            try:
                alarm, held_lower = member.overwritten(), member.held_lower()
            except GpuError as error:
                _log.warning("limit not read, it is written again", uuid=member.uuid, why=str(error))
                member.written_w = None
                self._failed(member, error)
                continue
            if alarm is not None:
                self._alarms[member.uuid] = alarm
            if held_lower is not None:
                self._held_lower.append(held_lower)

    # --- giving back ------------------------------------------------------------------------------------------

    async def restore(self) -> ApplyResult:
        left_out = self._fleet.left_out
        held = left_out.keys() & (self._journal.touched() | self._fleet.unjournalled.keys())
        result = self._restore(self._fleet.members)
        alarms = tuple(f"{uuid}: capped and not given back: {left_out[uuid]}" for uuid in sorted(held))
        return ApplyResult(complete=result.complete and not held, alarms=(*alarms, *result.alarms))

    def _restore(self, members: Sequence[Member]) -> ApplyResult:
        """A GPU lost before it has everything back keeps its journal entry, and so does one that refuses."""
        unjournalled = [m for m in self._fleet.members if m.unjournalled]
        priors_w = self._journal.prior_limits_w() | {m.uuid: m.prior_w for m in unjournalled if m.prior_w is not None}
        clock_locks = self._journal.clock_locks() | {m.uuid for m in unjournalled if m.locked}
        touched = priors_w.keys() | clock_locks
        failed: list[str] = []
        done: list[str] = []
        for member in [m for m in members if m.uuid in touched]:
            why: list[str] = []
            if member.uuid in priors_w:
                why += self._give_back(member, partial(member.give_back_limit, priors_w[member.uuid]))
            if member.uuid in clock_locks:
                why += self._give_back(member, member.unlock)
            failed += why
            if not why and member in self._fleet.members:
                member.written_w, member.unjournalled = None, False
                done.append(member.uuid)
        present = {m.uuid for m in self._fleet.members}
        if done:
            try:
                self._journal.forget_priors(done, complete=present.isdisjoint(touched - set(done)))
            except JournalError as error:
                failed.append(f"limits are given back, but that is not journalled: {error}")
        if not failed:
            self._alarms.clear()
            self._held_lower.clear()
        return self._result(failed)

    def _give_back(self, member: Member, action: Callable[[], None]) -> list[str]:
        try:
            return self._attempt(member, action)
        except GpuTelemetryOnlyError as error:
            return [f"{member.uuid}: capped and not given back: {error}"]

    def _lapse(self) -> None:
        """Restore what no lease covers: it has ended, or no job is there any more for which it would be renewed."""
        until = self._journal.lease_until()
        over = until is None or until <= self._clock.now()
        touched = self._journal.touched()
        due = [m for m in self._fleet.members if m.uuid in touched and (over or m.class_id is None)]
        result = self._restore(due) if due else None
        if result is not None and result != self._lapsed:
            _log.warning("no lease covers these limits", gpus=len(due), restored=result.complete, alarms=result.alarms)
        self._lapsed = result

    def _result(self, failed: Sequence[str]) -> ApplyResult:
        lost = self._fleet.lost.values()
        alarms = (*failed, *lost, *self._alarms.values(), *self._held_lower, *self._forgotten_at_death())
        return ApplyResult(complete=not failed, alarms=alarms)

    def _forgotten_at_death(self) -> list[str]:
        return [
            f"{m.uuid}: persistence mode is off, so its limits end with this process: run nvidia-smi -pm 1"
            for m in self._fleet.members
            if m.gpu.forgets and (m.written_w is not None or m.locked)
        ]

    # --- reading ----------------------------------------------------------------------------------------------

    async def readings(self) -> Mapping[str, ClassReading]:
        now_s = self._clock.monotonic()
        for member in [m for m in self._fleet.members if m.class_id is not None]:
            try:
                member.read(now_s)
            except GpuError as error:
                member.not_read(error, now_s)
                self._failed(member, error)
        self._read = summary.read_by_class(self._fleet.members)
        return {class_id: summary.reading(group) for class_id, group in self._read.items()}

    def telemetry(self) -> Mapping[str, ClassTelemetry]:
        return {class_id: summary.telemetry(group) for class_id, group in self._read.items()}

    def failing(self) -> str | None:
        return self._fleet.failing()

    async def watch(self) -> None:
        while True:
            await self._clock.sleep(LEASE_CHECK_EVERY_S)
            self._fleet.look_again()
            self._lapse()
