"""One site's agent: reads its devices each second, steps the control law, and does what the law says.

The tick is aligned to whole seconds of grid time, a little after the boundary, so that the meter's mean of the last
second is there. A device that does not answer is a missing reading, never a made-up one. A clean stop gives every
device back; after a SIGKILL the journal says what to do: go on with a budget in force, restore what is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import structlog

from agent.battery.device import Battery
from agent.battery.events import BatteryWatch
from agent.control.loop import ControlLoop
from agent.control.readings import Actions, BatteryReading, MeterReading, Mode, Quality, Readings
from agent.control.tuning import Tuning
from agent.errors import BatteryError, BatteryUnsafeError, MeterError, NodeError
from agent.journal import AgentJournal
from agent.meter.device import Meter
from agent.node import ApplyResult, Lease, NodePort, Table
from agent.spool import Spool
from grid.clock import AnchoredClock
from grid.errors import JournalError
from grid.intervals import floor_to
from grid.messages import METER_STREAM, AuditHead, BudgetAck, Capability, Live, SiteBudget

TICK_S = 1.0
AFTER_BOUNDARY_S = 0.2
"""When in its second a tick comes: the meter has published its mean of the last one by then."""

SPOOL_OVERFLOWS = "the spool is full, and telemetry is dropped unsent: bring the uplink back"

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Devices:
    """What the agent holds in its hands."""

    meter: Meter
    battery: Battery | None
    node: NodePort


@dataclass(slots=True, kw_only=True)
class Seen:
    """The last tick, for people and for the uplink."""

    at: datetime | None = None
    row: Mapping[str, float | None] = field(default_factory=dict)
    """By METER_COLUMNS."""
    actions: Actions | None = None
    node_alarms: tuple[str, ...] = ()
    meter_alarms: tuple[str, ...] = ()
    battery_alarms: tuple[str, ...] = ()
    failing: dict[str, str] = field(default_factory=dict)
    """By device or durable file: why it does not work."""
    clock_alarms: tuple[str, ...] = ()
    """How far off the clock was when the aggregator last set it."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Everything a person should look at."""
        in_force = self.actions.alarms if self.actions else ()
        of_devices = (*self.node_alarms, *self.meter_alarms, *self.battery_alarms)
        return (*self.failing.values(), *self.clock_alarms, *of_devices, *in_force)


class SiteAgent:
    """Reads, decides, acts, once a second; also the uplink's host."""

    def __init__(
        self,
        *,
        site_id: str,
        devices: Devices,
        loop: ControlLoop,
        journal: AgentJournal,
        spool: Spool,
        clock: AnchoredClock,
        tuning: Tuning,
    ) -> None:
        self.site_id = site_id
        self._devices = devices
        self._loop = loop
        self._journal = journal
        self._spool = spool
        self._clock = clock
        self._tuning = tuning
        self._battery_armed = False
        self._battery_watch = BatteryWatch()
        self.capped = True
        """Until the first tick found otherwise: a process before this one may have left caps in force."""
        self._last_covered: datetime | None = None
        self._stamped_from: int | None = None
        """The first row stamped since the clock was last set."""
        self._clock_steps = 0
        self._release_lease: Lease | None = None
        self.seen = Seen()

    # --- the uplink's host ------------------------------------------------------------------------------------

    def take_budget(self, budget: SiteBudget) -> BudgetAck:
        """Journal a budget, or refuse it with a reason; the disk's refusal is one."""
        now = self._clock.now()
        try:
            ack = self._journal.take_budget(budget, now)
        except JournalError as error:
            self._failing("journal", str(error))
            return BudgetAck(site_id=self.site_id, revision=budget.revision, accepted=False, reason=str(error), at=now)
        self._failing("journal", None)
        return ack

    def budget_revision(self) -> int:
        budget = self._journal.budget()
        return budget.revision if budget else 0

    def capability(self) -> Capability | None:
        return self._loop.capability(self._clock.now())

    def live(self) -> Live | None:
        if self.seen.at is None:
            return None
        return Live(site_id=self.site_id, at=self.seen.at, values=dict(self.seen.row))

    def audit_head(self) -> AuditHead | None:
        return self._journal.newest_head()

    def clock_set(self, behind: timedelta) -> None:
        """What was stamped since the clock was last set moves with it, in whole seconds."""
        step = timedelta(seconds=round(behind.total_seconds() / TICK_S) * TICK_S)
        stamped_from, self._stamped_from = self._stamped_from, None
        self.seen.clock_alarms = ()
        if not step:
            return
        self._clock_steps += 1
        self._loop.clock_stepped(step)
        if self._last_covered is not None:
            self._last_covered += step
        if self._release_lease is not None:
            self._release_lease = Lease(until=self._release_lease.until + step)
        if stamped_from is not None:
            self._restamp(stamped_from, step)
        way = "behind" if step > timedelta() else "ahead of"
        alarm = f"this machine's clock was {abs(step.total_seconds()):.0f} s {way} the aggregator's: check its NTP"
        self.seen.clock_alarms = (alarm,)
        _log.warning("clock set, what it stamped is stamped anew", site_id=self.site_id, why=alarm)

    def _restamp(self, from_seq: int, by: timedelta) -> None:
        try:
            self._spool.restamp(METER_STREAM, from_seq=from_seq, by=by)
        except JournalError as error:
            self._failing("spool", f"rows keep the stamps of a wrong clock: {error}")

    # --- the tick ---------------------------------------------------------------------------------------------

    async def run(self, *, link_lost: Callable[[], bool], ticked: Callable[[], None]) -> None:
        """Tick until cancelled, then give every device back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._devices.node.watch())
                await self._tick_for_ever(link_lost, ticked)
        finally:
            await self._give_back()

    async def _tick_for_ever(self, link_lost: Callable[[], bool], ticked: Callable[[], None]) -> None:
        while True:
            boundary = floor_to(self._clock.now() - timedelta(seconds=AFTER_BOUNDARY_S), TICK_S)
            due = boundary + timedelta(seconds=TICK_S + AFTER_BOUNDARY_S)
            # More than a tick is left only where the clock was set back meanwhile, and control does not wait for that.
            while 0 < (left_s := (due - self._clock.now()).total_seconds()) <= TICK_S:
                await self._clock.sleep(left_s)
            await self.tick(link_lost=link_lost())
            ticked()

    async def tick(self, *, link_lost: bool) -> None:
        """One second: read everything, step the law, act, keep the row; one in which the clock is set is missing."""
        steps = self._clock_steps
        readings = await self._read()
        if self._clock_steps != steps:
            return
        now = self._clock.now()
        budget = self._journal.budget()
        actions = self._loop.step(readings, budget, now, link_lost=link_lost)
        await self._apply_caps(actions, budget, now)
        await self._apply_battery(actions)
        if self._clock_steps == steps:
            self._keep(readings, budget, now, actions)

    async def _read(self) -> Readings:
        node = self._devices.node
        classes = await node.readings()
        self._failing("gpus", node.failing())
        return Readings(meter=await self._read_meter(), battery=await self._read_battery(), classes=classes)

    async def _read_meter(self) -> MeterReading | None:
        try:
            reading = await self._devices.meter.read()
        except MeterError as error:
            self._failing("meter", str(error))
            return None
        self._failing("meter", None)
        self.seen.meter_alarms = reading.alarms
        return reading

    async def _read_battery(self) -> BatteryReading | None:
        battery = self._devices.battery
        if battery is None:
            return None
        try:
            await battery.beat()
            reading = await battery.read()
            if not self._battery_armed:
                await battery.arm()
                self._battery_armed = True
        except BatteryUnsafeError as error:
            self._battery_armed = False
            await self._drop(battery, error)
            return None
        except BatteryError as error:
            # Arm again once it answers: it may have restarted without its dead-man.
            self._battery_armed = False
            self._failing("battery", str(error))
            return None
        self._failing("battery", None)
        self._tell_of(reading)
        return reading

    def _tell_of(self, reading: BatteryReading) -> None:
        for event in self._battery_watch.seen(reading):
            _log.warning("battery", site_id=self.site_id, event_kind=type(event).__name__, **asdict(event))
        complaints = (*reading.out_of_service, *reading.alarms)
        self.seen.battery_alarms = tuple(f"battery: {complaint}" for complaint in complaints)

    async def _drop(self, battery: Battery, why: BatteryUnsafeError) -> None:
        """A set-point of ours may be in force with nothing to end it: let go of the battery only once it is not."""
        try:
            await battery.release()
        except BatteryError as error:
            self._failing("battery", f"{why}, and a set-point may be in force: {error}")
            return
        await battery.close()
        self._devices.battery = None
        self.seen.battery_alarms = ()
        self._failing("battery", str(why))

    async def _apply_caps(self, actions: Actions, budget: SiteBudget | None, now: datetime) -> None:
        node = self._devices.node
        if actions.caps_w is None:
            if self.capped:
                result = await node.restore()
                self.capped = not result.complete
                self.seen.node_alarms = result.alarms
            return
        assert budget is not None
        self.capped = True
        self.seen.node_alarms = (
            await node.apply(Table(caps_w=actions.caps_w), self._lease(actions.mode, budget, now))
        ).alarms

    def _lease(self, mode: Mode, budget: SiteBudget, now: datetime) -> Lease:
        """Until the release is over; fixed when it begins, so that a death in it holds no cap longer than it would."""
        grace = timedelta(seconds=budget.release_ramp_s + self._tuning.restore_grace_s)
        if mode is Mode.EVENT:
            self._release_lease = None
            return Lease(until=budget.not_after + grace)
        if self._release_lease is None:
            self._release_lease = Lease(until=now + grace)
        return self._release_lease

    async def _apply_battery(self, actions: Actions) -> None:
        battery = self._devices.battery
        if battery is None or not self._battery_armed:
            return
        try:
            if actions.battery_kw is None:
                await battery.release()
            else:
                await battery.set_power(actions.battery_kw)
        except BatteryError as error:
            self._battery_armed = False
            self._failing("battery", str(error))

    def _keep(self, readings: Readings, budget: SiteBudget | None, now: datetime, actions: Actions) -> None:
        """One durable row for each second the meter covered, once; a second it did not give is missing."""
        meter, battery = readings.meter, readings.battery
        at = meter.covers.start if meter else floor_to(now, TICK_S) - timedelta(seconds=TICK_S)
        interval = budget.at(at) if budget else None
        row: dict[str, float | None] = {
            "site_kw": meter.site_kw if meter else None,
            "gpu_kw": readings.gpu_kw,
            "battery_kw": battery.power_kw if battery else None,
            "soc_pct": battery.soc_pct if battery else None,
            "limit_kw": interval.limit_at(at) if interval else None,
        }
        if meter is not None and (self._last_covered is None or at > self._last_covered):
            quality = max(actions.quality, Quality.QUESTIONABLE) if meter.from_check else actions.quality
            self._spool_row(at, row, quality)
        self.seen.at, self.seen.row, self.seen.actions = at, row, actions

    def _spool_row(self, at: datetime, row: Mapping[str, float | None], quality: Quality) -> None:
        """A row that the disk does not take is missing: control goes on without it."""
        try:
            seq = self._spool.append(METER_STREAM, at, row, quality=quality)
        except JournalError as error:
            self._failing("spool", str(error))
            return
        self._failing("spool", SPOOL_OVERFLOWS if self._spool.overflowing else None)
        self._last_covered = at
        self._stamped_from = seq if self._stamped_from is None else self._stamped_from

    async def _give_back(self) -> None:
        """A clean stop leaves nothing of ours in force. Raises NodeError when a limit is."""
        battery = self._devices.battery
        try:
            result = await self._devices.node.restore() if self.capped else ApplyResult(complete=True)
        finally:
            if battery is not None:
                await self._release(battery)
                await battery.close()
            await self._devices.meter.close()
        if not result.complete:
            more = f" (and {len(result.alarms) - 1} more)" if len(result.alarms) > 1 else ""
            raise NodeError(
                f"stopped, but limits are still in force: {result.alarms[0]}{more}; then start the agent once more"
            )

    async def _release(self, battery: Battery) -> None:
        try:
            await battery.release()
        except BatteryError as error:
            _log.warning("battery not released, its dead-man has to", site_id=self.site_id, why=str(error))

    def _failing(self, part: str, why: str | None) -> None:
        if why == self.seen.failing.get(part):
            return
        if why is None:
            del self.seen.failing[part]
            _log.info("works again", site_id=self.site_id, part=part)
        else:
            self.seen.failing[part] = why
            _log.warning("does not work", site_id=self.site_id, part=part, why=why)
