"""The node: the only one that writes GPU limits, under a lease, and gives back what it found.

A limit's prior value is journalled before its first change; what was asked is read back. Limits outlive a dead
process: whoever opens the node next finds the journal and restores what no lease covers. A file lock keeps it to one
writer. This node lives in the agent's process; a node agent of its own speaks the same port.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from agent.control.readings import ClassReading
from agent.errors import GpuError, GpuLostError, GpuTransientError, NodeError
from agent.gpu.device import GpuDevice, Gpus
from agent.journal import AgentJournal
from agent.workloads.jobs import Workloads
from grid.clock import Clock
from grid.units import W_PER_KW

READ_BACK_WITHIN_W = 0.5

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


@dataclass(slots=True, kw_only=True)
class _Member:
    """One GPU of a class."""

    gpu: GpuDevice
    class_id: str
    prior_w: float
    written_w: float | None = None
    power_w: float = field(default=0.0)
    instant_w: float = field(default=0.0)


class LocalNode:
    """The GPUs of this machine."""

    def __init__(self, members: list[_Member], journal: AgentJournal, lock: int, clock: Clock) -> None:
        self._members = members
        self._journal = journal
        self._lock = lock
        self._clock = clock
        self._lost: list[str] = []

    @classmethod
    def open(cls, *, gpus: Gpus, workloads: Workloads, journal: AgentJournal, folder: Path, clock: Clock) -> LocalNode:
        """Find the jobs' GPUs and take the lock. Raises NodeError when another process holds it."""
        lock = _take_lock(folder / "node.lock")
        class_of = {uuid: job.job_id for job in workloads.jobs for uuid in job.gpu_uuids}
        priors_w = journal.prior_limits_w()
        members = [
            _Member(gpu=gpu, class_id=class_of[gpu.uuid], prior_w=priors_w.get(gpu.uuid) or gpu.limit_w())
            for gpu in gpus.devices()
            if gpu.uuid in class_of
        ]
        if not members:
            os.close(lock)
            raise NodeError("none of the workloads' GPUs is on this node: check the file in [workloads]")
        node = cls(members, journal, lock, clock)
        node.lapse()
        return node

    def close(self) -> None:
        """Let go of the lock; limits stay as they are."""
        os.close(self._lock)

    def lapse(self) -> None:
        """Restore what a process before this one left, unless its lease still runs."""
        until = self._journal.lease_until()
        if self._journal.prior_limits_w() and (until is None or until <= self._clock.now()):
            _log.info("restoring limits a process before this one left", gpus=len(self._journal.prior_limits_w()))
            self._restore()

    async def apply(self, table: Mapping[str, float], lease: Lease) -> ApplyResult:
        asked = [(m, table[m.class_id]) for m in self._members if m.class_id in table]
        fresh = {m.gpu.uuid: m.prior_w for m, _ in asked if m.written_w is None}
        if fresh:
            self._journal.keep_priors(fresh, lease.until)
        elif lease.until != self._journal.lease_until():
            self._journal.extend_lease(lease.until)
        due = [(m, cap_w) for m, cap_w in asked if m.written_w is None or abs(m.written_w - cap_w) > READ_BACK_WITHIN_W]
        alarms = [alarm for member, cap_w in due if (alarm := self._write(member, cap_w)) is not None]
        return ApplyResult(complete=not alarms, alarms=(*alarms, *self._lost))

    async def restore(self) -> ApplyResult:
        return self._restore()

    async def readings(self) -> Mapping[str, ClassReading]:
        members: dict[str, list[_Member]] = {}
        for member in list(self._members):
            try:
                member.power_w, member.instant_w = member.gpu.power_w(), member.gpu.instant_w()
            except GpuLostError as error:
                self._drop(member, error)
                continue
            except GpuError as error:
                _log.warning("GPU not read, its last power stands", uuid=member.gpu.uuid, why=str(error))
            members.setdefault(member.class_id, []).append(member)
        return {
            class_id: ClassReading(
                power_kw=sum(m.power_w for m in group) / W_PER_KW,
                instant_kw=sum(m.instant_w for m in group) / W_PER_KW,
                gpu_count=len(group),
                prior_w=min(m.prior_w for m in group),
            )
            for class_id, group in members.items()
        }

    def _restore(self) -> ApplyResult:
        priors_w = self._journal.prior_limits_w()
        touched = [m for m in self._members if m.gpu.uuid in priors_w]
        alarms, done = [], []
        for member in touched:
            alarm = self._write(member, priors_w[member.gpu.uuid])
            if alarm is None:
                member.written_w = None
                done.append(member.gpu.uuid)
            else:
                alarms.append(alarm)
        if priors_w:
            self._journal.forget_priors(done, complete=not alarms)
        return ApplyResult(complete=not alarms, alarms=(*alarms, *self._lost))

    def _write(self, member: _Member, limit_w: float) -> str | None:
        """Write and read back, twice at most; returns an alarm when the limit is not in force."""
        for attempt in (1, 2):
            try:
                read_w = member.gpu.set_limit_w(limit_w)
            except GpuLostError as error:
                self._drop(member, error)
                return None
            except GpuTransientError as error:
                if attempt == 2:
                    return f"{member.gpu.uuid}: {error}"
                continue
            except GpuError as error:
                return f"{member.gpu.uuid}: {error}"
            if abs(read_w - limit_w) <= READ_BACK_WITHIN_W:
                member.written_w = limit_w
                return None
        return f"{member.gpu.uuid}: asked for {limit_w:.0f} W, reads back {read_w:.0f} W: another process writes limits"

    def _drop(self, member: _Member, error: GpuLostError) -> None:
        """A lost GPU draws nothing we can move: its watts are spread over the others by the next allocation."""
        if member in self._members:
            self._members.remove(member)
            self._lost.append(f"{member.gpu.uuid}: {error}")
            _log.warning("GPU lost", uuid=member.gpu.uuid, why=str(error))


def _take_lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise NodeError(f"{path} is locked: another agent writes these GPUs; stop it first") from error
    return handle
