"""Which GPUs are ours, and which of those are in our hands: found, left out for now, or lost for good.

A GPU is ours when a job runs on it, or when a process before this one held it down and it has yet to get back what it
had. One that fails never stands in the way of the others; it is looked for again, as is a driver that went. A GPU that
is split (MIG) has one limit for all of its tenants: the one with the least to give rules it.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from agent.errors import GpuDriverError, GpuError, GpuLostError, NodeError
from agent.gpu.device import Found, GpuDevice, Gpus
from agent.gpu.locks import Locks
from agent.journal import AgentJournal
from agent.node import member as members
from agent.node.member import Member
from agent.workloads.jobs import Job, Workloads
from grid.clock import Clock

LOOK_EVERY_S = 5.0
"""How often GPUs that failed, or a driver that went, are looked for again."""

_log = structlog.get_logger()


class Fleet:
    """The GPUs of one node that are ours."""

    def __init__(self, gpus: Gpus, workloads: Workloads, journal: AgentJournal, locks: Locks, clock: Clock) -> None:
        self._gpus = gpus
        self._job_of = {uuid: job for job in workloads.jobs for uuid in job.gpu_uuids}
        self._journal = journal
        self._locks = locks
        self._clock = clock
        self._looked_s = clock.monotonic()
        self._driver_gone = ""
        """Why NVML has to be opened anew."""
        self._had: set[str] = set()
        """GPUs that were ever in our hands; others are left out only as long as they are found so."""
        self.unjournalled: dict[str, Member] = {}
        """By GPU that is left out: what only this process knows of it."""
        self.members: list[Member] = []
        self.left_out: dict[str, str] = {}
        """By GPU: why it is not in our hands, though it may come back."""
        self.lost: dict[str, str] = {}
        """By GPU, for good."""

    def open(self, folder: Path) -> None:
        """Find our GPUs and take their locks. Raises NodeError when another process holds one, and GpuError."""
        self._locks.take(folder / "node.lock")
        found = self._gpus.devices()
        for gpu in self._ours(found):
            self._locks.take_gpu(gpu.uuid)
        self._take_in(found)

    def close(self) -> None:
        self._locks.let_go()

    def failing(self) -> str | None:
        """Which are not in our hands or not read now, and why."""
        out = {**self.left_out, **{m.uuid: m.unread for m in self.members if m.unread}}
        if not out:
            return None
        name, why = next(iter(out.items()))
        more = f" (and {len(out) - 1} more)" if len(out) > 1 else ""
        return f"{name}: {why}{more}"

    def why_none(self) -> str:
        """Why not one GPU with a job is in our hands."""
        why = self.failing() or "; ".join(self.lost.values())
        if why:
            return f"none of the workloads' GPUs can be used: {why}"
        return "none of the workloads' GPUs is on this node: check the file in [workloads]"

    def failed(self, member: Member, error: GpuError) -> None:
        """What an error means for more than the call that raised it."""
        if isinstance(error, GpuLostError):
            self._drop(member, error)
        elif isinstance(error, GpuDriverError):
            self._driver_gone = str(error)

    def look_again(self) -> None:
        """Every LOOK_EVERY_S while a GPU of ours is left out or the driver is gone."""
        needed = self.left_out or self._driver_gone
        if not needed or self._clock.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self._clock.monotonic()
        try:
            if self._driver_gone:
                self._gpus.reopen()
                self._start_over()
            found = self._gpus.devices()
        except GpuError as error:
            self._driver_gone = str(error)
            self.left_out = dict.fromkeys(self.left_out, str(error))
            return
        self._take_in(found)

    def _start_over(self) -> None:
        """NVML was opened anew: handles are void, and whatever was written is due again."""
        _log.warning("the driver was gone and is back", why=self._driver_gone)
        self._driver_gone = ""
        self.left_out |= {member.uuid: "not found since the driver is back" for member in self.members}
        self.unjournalled |= {member.uuid: member for member in self.members if member.unjournalled}
        self.members.clear()

    def _class_of(self, gpu: GpuDevice) -> str | None:
        """The job that runs on it; of several tenants the one with the least to give, then the dearest."""
        tenants = [self._job_of[uuid] for uuid in (gpu.uuid, *gpu.instances) if uuid in self._job_of]
        return min(tenants, key=_strictest).job_id if tenants else None

    def _ours(self, found: Found) -> list[GpuDevice]:
        """Those that we do not have yet and that are not lost."""
        touched = self._journal.touched()
        had = {member.uuid for member in self.members} | self.lost.keys()
        return [
            gpu
            for gpu in found.devices
            if gpu.uuid not in had and (gpu.uuid in touched or self._class_of(gpu) is not None)
        ]

    def _take_in(self, found: Found) -> None:
        """Every GPU of ours that answers; one that does not is left out, and keeps no other from its limit."""
        priors_w, clock_locks = self._journal.prior_limits_w(), self._journal.clock_locks()
        found_now = {gpu.uuid for gpu in found.devices}
        self.left_out = {uuid: why for uuid, why in self.left_out.items() if uuid in self._had - found_now}
        for name, error in found.left_out.items():
            self._leave_out(name, error)
        for gpu in self._ours(found):
            try:
                self._locks.take_gpu(gpu.uuid)
                locked = gpu.uuid in clock_locks
                member = members.found(gpu, self._class_of(gpu), priors_w.get(gpu.uuid), locked=locked)
            except (GpuError, NodeError) as error:
                self._leave_out(gpu.uuid, error)
            else:
                if (known := self.unjournalled.pop(gpu.uuid, None)) is not None:
                    member.prior_w, member.locked, member.unjournalled = known.prior_w, known.locked, True
                self.members.append(member)
                self._had.add(gpu.uuid)

    def _leave_out(self, name: str, error: GpuError | NodeError) -> None:
        if not isinstance(error, GpuLostError):
            self.left_out[name] = str(error)
        elif name not in self.lost:
            self._lose(name, error)

    def _drop(self, member: Member, error: GpuLostError) -> None:
        """A lost GPU draws nothing we can move: its watts are spread over the others by the next allocation."""
        if member in self.members:
            self.members.remove(member)
            self._lose(member.uuid, error)

    def _lose(self, name: str, error: GpuLostError) -> None:
        self.lost[name] = f"{name}: {error}"
        _log.warning("GPU lost", gpu=name, why=str(error))


def _strictest(job: Job) -> tuple[int, float, str]:
    return job.tier, -job.price_usd_per_gpu_hour, job.job_id
