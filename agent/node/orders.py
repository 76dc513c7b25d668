"""A table turned into what has to be done to each GPU, and what of that must be journalled before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from agent.errors import GpuError
from agent.journal import AgentJournal
from agent.node.member import Member
from agent.node.port import Lease, Table
from grid.errors import JournalError

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a table asks of GPUs that can do it."""

    caps: Sequence[tuple[Member, float]]
    """Limits asked for. Unit: W."""
    locks: Sequence[tuple[Member, float]]
    """Highest clocks asked for. Unit: MHz."""
    unlocks: Sequence[Member]
    cannot: Sequence[Member]
    """Those asked for a clock that take no lock."""


def orders(members: Sequence[Member], table: Table) -> Orders:
    named = [(m, m.class_id) for m in members if m.class_id is not None]
    clocked = [(m, table.clocks_mhz[class_id]) for m, class_id in named if class_id in table.clocks_mhz]
    return Orders(
        caps=[
            (m, table.caps_w[class_id]) for m, class_id in named if m.prior_w is not None and class_id in table.caps_w
        ],
        locks=[(m, mhz) for m, mhz in clocked if m.clock_bounds_mhz is not None],
        unlocks=[m for m, class_id in named if m.locked and class_id not in table.clocks_mhz],
        cannot=[m for m, _ in clocked if m.clock_bounds_mhz is None],
    )


def journal_first(asked: Orders, lease: Lease, journal: AgentJournal) -> tuple[Orders, list[str]]:
    """Journal what is changed for the first time; returns what may be done, and alarms.

    What GPUs have now is whatever others set. No GPU is changed whose prior state is not on the disk.
    """
    try:
        _keep_fresh(asked, lease, journal)
    except JournalError as error:
        priors_w, clock_locks = journal.prior_limits_w(), journal.clock_locks()
        kept = replace(
            asked,
            caps=[(m, w) for m, w in asked.caps if m.uuid in priors_w],
            locks=[(m, mhz) for m, mhz in asked.locks if m.uuid in clock_locks],
        )
        return kept, [f"no further GPU is held down: {error}"]
    return asked, []


def journal_if_it_can(asked: Orders, lease: Lease, journal: AgentJournal) -> list[str]:
    """The same in an emergency, which no disk stands in the way of: only this process knows then what to give back."""
    try:
        _keep_fresh(asked, lease, journal)
    except JournalError as error:
        priors_w, clock_locks = journal.prior_limits_w(), journal.clock_locks()
        capped = [m for m, _ in asked.caps if m.uuid not in priors_w]
        for member in (*capped, *(m for m, _ in asked.locks if m.uuid not in clock_locks)):
            member.unjournalled = True
        return [f"what these GPUs had is not journalled, do not end this process: {error}"]
    return []


def extend_lease(lease: Lease, journal: AgentJournal) -> list[str]:
    """What is in force already is covered for longer; returns an alarm when it is not."""
    until = journal.lease_until()
    if until is None or until == lease.until:
        return []
    try:
        journal.extend_lease(lease.until)
    except JournalError as error:
        return [f"limits are given back at {until:%H:%M:%S} UTC whatever the budget says: {error}"]
    return []


def _keep_fresh(asked: Orders, lease: Lease, journal: AgentJournal) -> None:
    capped = {m.uuid: m for m, _ in asked.caps if m.written_w is None}
    locked = {m.uuid: m for m, _ in asked.locks if not m.locked}
    for member in [m for m, _ in (*asked.caps, *asked.locks) if m.unjournalled]:
        # All that an emergency did to it, whatever of that is asked for now.
        if member.written_w is not None:
            capped[member.uuid] = member
        if member.locked:
            locked[member.uuid] = member
    journalled = journal.prior_limits_w() if capped else {}
    clock_locks = journal.clock_locks() if locked else frozenset()
    fresh = [m for uuid, m in capped.items() if uuid not in journalled]
    locks = [m for uuid, m in locked.items() if uuid not in clock_locks]
    if not fresh and not locks:
        return
    for member in [m for m in fresh if not m.unjournalled]:
        try:
            member.prior_w = member.gpu.limit_w()
        except GpuError as error:
            _log.warning("limit not read, the one seen before stands", uuid=member.uuid, why=str(error))
    priors_w = {m.uuid: m.prior_w for m in fresh if m.prior_w is not None}
    journal.keep_priors(priors_w, lease.until, clock_locks=frozenset(m.uuid for m in locks))
    for member in (*fresh, *locks):
        member.unjournalled = False
