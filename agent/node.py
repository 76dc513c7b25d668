"""The node: the only one that writes GPU limits, under a lease, and gives back what it found.

A limit's prior value is journalled before its first change; what was asked is read back. Limits outlive a dead
process: whoever opens the node next finds the journal and restores what no lease covers. While it runs it watches
the lease itself, because the control loop beside it may be stuck, and looks again for GPUs that failed: one of them
never stands in the way of the others. A file lock per GPU keeps it to one writer. This node lives in the agent's
process; a node agent of its own speaks the same port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from agent.control.readings import ClassReading
from agent.errors import GpuDriverError, GpuError, GpuLostError, GpuTelemetryOnlyError, GpuTransientError, NodeError
from agent.gpu.device import Found, GpuDevice, Gpus
from agent.gpu.locks import Locks
from agent.journal import AgentJournal
from agent.workloads.jobs import Workloads
from grid.clock import Clock
from grid.errors import JournalError
from grid.units import W_PER_KW

READ_BACK_WITHIN_W = 0.5
SAME_LIMIT_W = 0.001
"""NVML counts in mW: closer than this two limits are one."""
CHECK_EVERY_S = 5.0
"""How often the limits in force are compared with what we wrote, and GPUs that failed are looked for again."""
LEASE_CHECK_EVERY_S = 1.0
POWER_STANDS_S = 10.0
"""How long the last power of a GPU that cannot be read is taken for its power now."""
READ_ONLY = " (read only)"
"""What the class of a job's GPUs that take no limit is called."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a cap table holds without being renewed; then the prior limits come back."""

    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """What came of a write to many GPUs."""

    complete: bool
    """Every GPU that answers reads back what was asked."""
    alarms: tuple[str, ...] = ()


class NodePort(Protocol):
    """What the control loop may ask of the GPUs of a site."""

    async def apply(self, table: Mapping[str, float], lease: Lease) -> ApplyResult:
        """Cap every GPU by its class: class to limit per GPU. Unit: W."""

    async def restore(self) -> ApplyResult:
        """Give every GPU the limit it had before."""

    async def readings(self) -> Mapping[str, ClassReading]:
        """Power now, by class."""

    def failing(self) -> str | None:
        """Which GPUs of ours are neither lost nor in our hands now, and why; None when there are none."""

    async def watch(self) -> None:
        """Until cancelled: give the limits back when the lease ends, whatever the control loop does."""


@dataclass(slots=True, kw_only=True)
class _Member:
    """One GPU that we cap, or whose limit we have yet to give back."""

    gpu: GpuDevice
    class_id: str | None
    """None for a GPU that no job runs on any more: its limit is given back, nothing else."""
    prior_w: float | None
    """None for a GPU that takes no limit: it is read, never capped."""
    bounds_w: tuple[float, float] | None
    written_w: float | None = None
    """What we last wrote and have not given back."""
    power_w: float | None = None
    """None until it was read, and again once it was not for a while."""
    instant_w: float = 0.0
    read_s: float = 0.0
    """Monotonic time of the last reading."""
    unread: str = ""
    """Why it is not read now."""

    def inside_w(self, limit_w: float) -> float:
        """``limit_w`` within what the GPU takes."""
        low_w, high_w = self.bounds_w or (limit_w, limit_w)
        return min(high_w, max(low_w, limit_w))


class LocalNode:
    """The GPUs of this machine."""

    def __init__(
        self, gpus: Gpus, class_of: Mapping[str, str], journal: AgentJournal, locks: Locks, clock: Clock
    ) -> None:
        self._gpus = gpus
        self._class_of = class_of
        self._members: list[_Member] = []
        self._journal = journal
        self._locks = locks
        self._clock = clock
        self._checked_s = self._looked_s = clock.monotonic()
        self._left_out: dict[str, str] = {}
        """By GPU: why it is not in our hands, though it may come back."""
        self._driver_gone = ""
        """Why NVML has to be opened anew."""
        self._lost: dict[str, str] = {}
        """By GPU, for good."""
        self._alarms: dict[str, str] = {}
        """By GPU, until the limits are given back."""
        self._lapsed: ApplyResult | None = None
        """Of the last restore because no lease covers a limit; None when there was nothing to restore."""

    @classmethod
    def open(
        cls, *, gpus: Gpus, workloads: Workloads, journal: AgentJournal, folder: Path, locks: Path, clock: Clock
    ) -> LocalNode:
        """Find the jobs' GPUs and take their locks. Raises NodeError when another process holds one.

        ``folder`` is the journal's; ``locks`` is one folder for all agents of this machine.
        """
        class_of = {uuid: job.job_id for job in workloads.jobs for uuid in job.gpu_uuids}
        node = cls(gpus, class_of, journal, Locks(locks), clock)
        try:
            node._locks.take(folder / "node.lock")
            found = gpus.devices()
            for gpu in node._ours(found):
                node._locks.take_gpu(gpu.uuid)
            node._take_in(found)
            node._lapse()
            if all(member.class_id is None for member in node._members):
                raise NodeError(node._why_none())
        except BaseException:
            node.close()
            raise
        return node

    def close(self) -> None:
        """Let go of the locks; limits stay as they are."""
        self._locks.let_go()

    def in_force_w(self) -> dict[str, float]:
        """What a process before this one left in force, read back: by class, the lowest limit per GPU. Unit: W."""
        found_w: dict[str, float] = {}
        priors_w = self._journal.prior_limits_w()
        for member in [m for m in self._members if m.gpu.uuid in priors_w]:
            try:
                limit_w = member.gpu.limit_w()
            except GpuError as error:
                _log.warning("limit not read", uuid=member.gpu.uuid, why=str(error))
                continue
            if member.class_id is not None:
                found_w[member.class_id] = min(limit_w, found_w.get(member.class_id, limit_w))
        return found_w

    async def apply(self, table: Mapping[str, float], lease: Lease) -> ApplyResult:
        asked = [m for m in self._members if m.prior_w is not None and m.class_id in table]
        failed: list[str] = []
        try:
            self._journal_first([m for m in asked if m.written_w is None], lease)
        except JournalError as error:
            failed.append(f"no further GPU is capped: {error}")
            priors_w = self._journal.prior_limits_w()
            asked = [m for m in asked if m.gpu.uuid in priors_w]
        self._look_for_foreign_writers()
        for member in asked:
            assert member.prior_w is not None
            assert member.class_id is not None
            cap_w = member.inside_w(min(table[member.class_id], member.prior_w))
            if member.written_w is None or abs(member.written_w - cap_w) > READ_BACK_WITHIN_W:
                try:
                    failed += self._write(member, cap_w)
                except GpuTelemetryOnlyError as error:
                    member.prior_w = None
                    self._alarms[member.gpu.uuid] = f"{member.gpu.uuid}: {error}"
        return self._result(failed)

    async def restore(self) -> ApplyResult:
        capped = self._left_out.keys() & self._journal.prior_limits_w().keys()
        result = self._restore(self._members)
        alarms = tuple(f"{uuid}: capped and not given back: {self._left_out[uuid]}" for uuid in sorted(capped))
        return ApplyResult(complete=result.complete and not capped, alarms=(*alarms, *result.alarms))

    async def readings(self) -> Mapping[str, ClassReading]:
        members: dict[str, list[_Member]] = {}
        for member in [m for m in self._members if m.class_id is not None]:
            try:
                member.power_w, member.instant_w = member.gpu.power_w(), member.gpu.instant_w()
                member.read_s, member.unread = self._clock.monotonic(), ""
            except GpuLostError as error:
                self._drop(member, error)
            except GpuError as error:
                self._unread(member, error)
                if isinstance(error, GpuDriverError):
                    self._driver_gone = str(error)
            if member.power_w is None:
                continue
            class_id = f"{member.class_id}" if member.prior_w is not None else f"{member.class_id}{READ_ONLY}"
            members.setdefault(class_id, []).append(member)
        return {
            class_id: ClassReading(
                power_kw=sum(m.power_w for m in group if m.power_w is not None) / W_PER_KW,
                instant_kw=sum(m.instant_w for m in group) / W_PER_KW,
                gpu_count=len(group),
                prior_w=max((m.prior_w for m in group if m.prior_w is not None), default=None),
            )
            for class_id, group in members.items()
        }

    def failing(self) -> str | None:
        out = {**self._left_out, **{m.gpu.uuid: m.unread for m in self._members if m.unread}}
        if not out:
            return None
        name, why = next(iter(out.items()))
        more = f" (and {len(out) - 1} more)" if len(out) > 1 else ""
        return f"{name}: {why}{more}"

    async def watch(self) -> None:
        while True:
            await self._clock.sleep(LEASE_CHECK_EVERY_S)
            self._look_again()
            self._lapse()

    def _look_again(self) -> None:
        """Every CHECK_EVERY_S while a GPU of ours is left out or the driver is gone."""
        needed = self._left_out or self._driver_gone
        if not needed or self._clock.monotonic() - self._looked_s < CHECK_EVERY_S:
            return
        self._looked_s = self._clock.monotonic()
        try:
            if self._driver_gone:
                self._gpus.reopen()
            found = self._gpus.devices()
        except GpuError as error:
            self._driver_gone = str(error)
            return
        if self._driver_gone:
            self._start_over()
        self._take_in(found)

    def _start_over(self) -> None:
        """The driver is back: GPUs must be found anew, and whatever was written is due again."""
        _log.warning("the driver was gone and is back", why=self._driver_gone)
        self._driver_gone = ""
        self._left_out |= {member.gpu.uuid: "not found since the driver is back" for member in self._members}
        self._members.clear()

    def _ours(self, found: Found) -> list[GpuDevice]:
        """A job runs on them, or a process before this one capped them; not those that we have, or lost."""
        ours = self._class_of.keys() | self._journal.prior_limits_w().keys()
        had = {member.gpu.uuid for member in self._members} | self._lost.keys()
        return [gpu for gpu in found.devices if gpu.uuid in ours - had]

    def _take_in(self, found: Found) -> None:
        """Every GPU of ours that answers; one that does not is left out, and keeps no other from its limit."""
        priors_w = self._journal.prior_limits_w()
        ours = self._class_of.keys() | priors_w.keys()
        self._left_out = {name: why for name, why in self._left_out.items() if name in ours}
        for name, error in found.left_out.items():
            self._leave_out(name, error)
        for gpu in self._ours(found):
            try:
                self._locks.take_gpu(gpu.uuid)
                self._members.append(_member(gpu, self._class_of.get(gpu.uuid), priors_w.get(gpu.uuid)))
                self._left_out.pop(gpu.uuid, None)
            except (GpuError, NodeError) as error:
                self._leave_out(gpu.uuid, error)

    def _leave_out(self, name: str, error: GpuError | NodeError) -> None:
        if not isinstance(error, GpuLostError):
            self._left_out[name] = str(error)
        elif name not in self._lost:
            self._lose(name, error)

    def _lose(self, name: str, error: GpuLostError) -> None:
        self._lost[name] = f"{name}: {error}"
        _log.warning("GPU lost", gpu=name, why=str(error))

    def _why_none(self) -> str:
        why = self.failing() or "; ".join(self._lost.values())
        if why:
            return f"none of the workloads' GPUs can be used: {why}"
        return "none of the workloads' GPUs is on this node: check the file in [workloads]"

    def _lapse(self) -> None:
        """Restore what no lease covers: it has ended, or no job is there any more for which it would be renewed."""
        until = self._journal.lease_until()
        over = until is None or until <= self._clock.now()
        priors_w = self._journal.prior_limits_w()
        due = [m for m in self._members if m.gpu.uuid in priors_w and (over or m.class_id is None)]
        result = self._restore(due) if due else None
        if result is not None and result != self._lapsed:
            _log.warning("no lease covers these limits", gpus=len(due), restored=result.complete, alarms=result.alarms)
        self._lapsed = result

    def _journal_first(self, untouched: list[_Member], lease: Lease) -> None:
        """Before anything of ours is in force: the limits these GPUs have now, which are whatever others set."""
        journalled_w = self._journal.prior_limits_w() if untouched else {}
        fresh = [m for m in untouched if m.gpu.uuid not in journalled_w]
        if not fresh:
            if lease.until != self._journal.lease_until():
                self._journal.extend_lease(lease.until)
            return
        for member in fresh:
            try:
                member.prior_w = member.gpu.limit_w()
            except GpuError as error:
                _log.warning("limit not read, the one seen before stands", uuid=member.gpu.uuid, why=str(error))
        priors_w = {m.gpu.uuid: m.prior_w for m in fresh if m.prior_w is not None}
        self._journal.keep_priors(priors_w, lease.until)

    def _look_for_foreign_writers(self) -> None:
        """Every CHECK_EVERY_S: a limit that is not what we wrote (another process, a driver reload) is due again."""
        if self._clock.monotonic() - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = self._clock.monotonic()
        for member in [m for m in self._members if m.written_w is not None]:
            try:
                found_w = member.gpu.limit_w()
            except GpuLostError as error:
                self._drop(member, error)
                continue
            except GpuError as error:
                _log.warning("limit not read, it is written again", uuid=member.gpu.uuid, why=str(error))
                member.written_w = None
                continue
            assert member.written_w is not None
            if abs(found_w - member.written_w) > READ_BACK_WITHIN_W:
                self._alarms[member.gpu.uuid] = (
                    f"{member.gpu.uuid}: {member.written_w:.0f} W were set, {found_w:.0f} W found and set again: "
                    "another process writes limits, or the driver was reloaded"
                )
                member.written_w = None

    def _restore(self, members: Sequence[_Member]) -> ApplyResult:
        """A GPU lost before it has its limit back keeps its prior in the journal, and so does one that refuses."""
        priors_w = self._journal.prior_limits_w()
        failed, done = [], []
        for member in [m for m in members if m.gpu.uuid in priors_w]:
            prior_w = member.inside_w(priors_w[member.gpu.uuid])
            try:
                why = [] if self._reads_back(member, prior_w) else self._write(member, prior_w)
            except GpuTelemetryOnlyError as error:
                why = [f"{member.gpu.uuid}: capped and not given back: {error}"]
            if why:
                failed += why
            elif member in self._members:
                member.written_w = None
                done.append(member.gpu.uuid)
        present = {m.gpu.uuid for m in self._members}
        if done:
            try:
                self._journal.forget_priors(done, complete=present.isdisjoint(priors_w.keys() - set(done)))
            except JournalError as error:
                failed.append(f"limits are given back, but that is not journalled: {error}")
        if not failed:
            self._alarms.clear()
        return self._result(failed)

    def _result(self, failed: Sequence[str]) -> ApplyResult:
        return ApplyResult(complete=not failed, alarms=(*failed, *self._lost.values(), *self._alarms.values()))

    def _reads_back(self, member: _Member, limit_w: float) -> bool:
        """Whether there is nothing to write; a GPU that cannot be read is written, which says why it fails.

        Exactly: the last cap of a release may be close to the prior limit, and is not it.
        """
        try:
            return abs(member.gpu.limit_w() - limit_w) < SAME_LIMIT_W
        except GpuError:
            return False

    def _write(self, member: _Member, limit_w: float) -> list[str]:
        """Write and read back, twice at most; returns an alarm when the limit is not in force.

        Raises GpuTelemetryOnlyError: what that means depends on whether anything of ours is in force.
        """
        read_w = limit_w
        for attempt in (1, 2):
            try:
                read_w = member.gpu.set_limit_w(limit_w)
            except GpuLostError as error:
                self._drop(member, error)
                return []
            except GpuTelemetryOnlyError:
                raise
            except GpuTransientError as error:
                if attempt == 2:
                    return [f"{member.gpu.uuid}: {error}"]
                continue
            except GpuError as error:
                return [f"{member.gpu.uuid}: {error}"]
            if abs(read_w - limit_w) <= READ_BACK_WITHIN_W:
                member.written_w = limit_w
                return []
        return [
            f"{member.gpu.uuid}: asked for {limit_w:.0f} W, reads back {read_w:.0f} W: another process writes limits"
        ]

    def _unread(self, member: _Member, error: GpuError) -> None:
        """Its last power stands for a while; then nobody knows what it draws, and it is left out."""
        if member.unread != str(error):
            member.unread = str(error)
            _log.warning("GPU not read", uuid=member.gpu.uuid, why=member.unread)
        if self._clock.monotonic() - member.read_s > POWER_STANDS_S:
            member.power_w = None

    def _drop(self, member: _Member, error: GpuLostError) -> None:
        """A lost GPU draws nothing we can move: its watts are spread over the others by the next allocation."""
        member.power_w = None
        if member in self._members:
            self._members.remove(member)
            self._alarms.pop(member.gpu.uuid, None)
            self._lose(member.gpu.uuid, error)


def _member(gpu: GpuDevice, class_id: str | None, journalled_w: float | None) -> _Member:
    """``journalled_w``: its limit before a process before this one touched it. Raises GpuError."""
    bounds_w = gpu.bounds_w()
    if bounds_w is None:
        return _Member(gpu=gpu, class_id=class_id, prior_w=None, bounds_w=None)
    try:
        prior_w = journalled_w if journalled_w is not None else gpu.limit_w()
    except GpuTelemetryOnlyError:
        prior_w = None
    return _Member(gpu=gpu, class_id=class_id, prior_w=prior_w, bounds_w=bounds_w)
