"""The control law: one step a second from readings and budget to caps and battery set-point. Pure, no I/O.

Battery first: it takes most of the metered error on at once. Caps are fed forward on the measured rest, so that
they and not the battery carry the reduction, and an integral of what the battery still carries drives it back to
its plan. The mean over the interval is controlled too: its accumulated error is spread over the seconds left. In
doubt about the meter nothing is raised. (docs/site-agent.md derives the law.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.battery.device import REVERT_AFTER_S
from agent.control.allocate import Allocation, Allocator, CapClass, Scale
from agent.control.baseline import BaselineForecast
from agent.control.capability import capability
from agent.control.failsafe import MeterTrust, MeterWatch
from agent.control.gains import LearnedGains
from agent.control.means import MeanControl
from agent.control.ramp import TargetSchedule
from agent.control.readings import Actions, BatteryReading, ClassReading, MeterReading, Mode, Readings
from agent.control.rest import RestEstimate
from agent.control.storage import bounds, recharge_kw
from agent.control.tuning import Tuning
from agent.workloads.curves import PUBLISHED, PowerCurve
from agent.workloads.jobs import Job
from grid.messages import Capability, SiteBudget

BATTERY_LAST_WEIGHT = 0.3
"""Weight of the battery reading one tick ago in its mean over the metered second; the tick comes early in a second."""
SETTLED_S = 10
"""Seconds without anything of ours in force before the meter counts as uncurtailed again."""
TRIM_MAX = 0.15
"""Bound of the caps' integral, as a share of the baseline."""
UNCAPPED_W = 0.1
"""Within this of a curve's top a class is uncapped."""
LEAST_CHANGE = 0.002
"""A due refresh is skipped when the cap moved less than this share."""


@dataclass(slots=True)
class _Written:
    cap_w: float
    at: datetime


class ControlLoop:
    """Holds one site's meter to its budget; ``step`` once a second."""

    def __init__(
        self,
        *,
        site_id: str,
        jobs: Sequence[Job],
        tuning: Tuning,
        curves: Mapping[str, PowerCurve] = PUBLISHED,
    ) -> None:
        self._site_id = site_id
        self._tuning = tuning
        self._classes = {c.class_id: c for job in jobs if (c := CapClass.of(job, curves)) is not None}
        self._allocator = Allocator(tuple(self._classes.values()))
        self._gains = LearnedGains(tuple(self._classes.values()), time_s=tuning.gain_time_s)
        self._schedule = TargetSchedule(rebound=tuning.rebound)
        self._watch = MeterWatch()
        self._baseline = BaselineForecast()
        self._written: dict[str, _Written] = {}
        self._rest = RestEstimate(time_s=tuning.rest_time_s)
        self._trim_kw = 0.0
        self._margin_kw = 0.0
        self._means = MeanControl(minute_max=tuning.minute_correction_max, interval_max=tuning.mean_correction_max)
        self._battery: BatteryReading | None = None
        self._battery_seen: tuple[datetime, float] | None = None
        """When it last answered, and its power then."""
        self._battery_set_kw = 0.0
        self._soc_before_pct: float | None = None
        self._free_s = SETTLED_S
        self._scales: Mapping[str, Scale] = {}

    @property
    def baseline_kw(self) -> float | None:
        """What the meter would read uncurtailed: the event's own reference while one runs."""
        return self._schedule.reference_kw if self._schedule.reference_kw is not None else self._baseline.kw

    def capability(self, now: datetime) -> Capability | None:
        """What the site could give; None before its baseline is known."""
        if self.baseline_kw is None:
            return None
        steps = self._allocator.steps(self._scales)
        return capability(
            steps,
            self._battery,
            site_id=self._site_id,
            at=now,
            baseline_kw=self.baseline_kw,
            tuning=self._tuning,
        )

    def resume(self, caps_w: Mapping[str, float], now: datetime) -> None:
        """A process before this one left these caps in force, by class: what is seen now is curtailed by them."""
        self._free_s = 0
        self._written = {class_id: _Written(cap_w, now) for class_id, cap_w in caps_w.items()}

    def clock_stepped(self, by: timedelta) -> None:
        """The clock that ``now`` is read from was set: what was seen stays as long ago as it was."""
        self._watch.clock_stepped(by)
        self._baseline.clock_stepped(by)
        self._schedule.clock_stepped(by)
        for written in self._written.values():
            written.at += by
        if self._battery_seen is not None:
            self._battery_seen = (self._battery_seen[0] + by, self._battery_seen[1])

    def step(self, readings: Readings, budget: SiteBudget | None, now: datetime, *, link_lost: bool) -> Actions:
        """One second. ``readings.meter`` is None when the meter gave no new value."""
        battery_kw = self._mean_battery_kw(readings.battery, now)
        self._gains.observe(
            readings.classes, {c: w.cap_w for c, w in self._written.items()}, uncapped=self._free_s >= SETTLED_S
        )
        self._scales = self._gains.scales(readings.classes)
        expected_kw = self._expected_load_kw(readings)
        trust = self._judge(readings, expected_kw, battery_kw, now)
        load_kw = None if readings.meter is None else readings.meter.site_kw + battery_kw
        if load_kw is not None and not self._battery_stands(now):
            uncontrolled_kw = readings.gpu_kw - self._controlled_kw(readings.classes)
            self._rest.observe(load_kw - self._at_meter_kw(readings.gpu_kw), self._at_meter_kw(uncontrolled_kw), trust)
        mode_before = self._schedule.mode
        mode = self._schedule.update(budget, now, link_lost=link_lost, baseline_kw=self._uncurtailed_kw(readings))
        if mode_before is Mode.IDLE and mode is not Mode.IDLE:
            self._begin(readings.battery)
        if mode is Mode.IDLE:
            return self._idle(readings, load_kw, trust)
        correction_kw = self._running_mean_correction(readings.meter if trust.may_raise else None, now)
        shortfall_kw = self._shortfall_kw(readings, load_kw, correction_kw, trust)
        allocation = self._allocate(now, correction_kw, shortfall_kw, trust)
        caps_w = self._caps(allocation, readings.classes, trust, now)
        loads_kw = [kw for kw in (load_kw, expected_kw) if kw is not None]
        set_kw = self._battery_set(readings, min(loads_kw, default=0.0), battery_kw, correction_kw, trust)
        return self._actions(mode, caps_w, set_kw, allocation, trust, now)

    # --- what is seen -----------------------------------------------------------------------------------------

    def _battery_stands(self, now: datetime) -> bool:
        """Whether a battery that does not answer may still be at its set-point, which its dead-man will end."""
        if self._battery is not None or self._battery_seen is None:
            return False
        return now - self._battery_seen[0] <= timedelta(seconds=REVERT_AFTER_S)

    def _mean_battery_kw(self, battery: BatteryReading | None, now: datetime) -> float:
        """The battery's mean over the metered second, from its readings now and a tick ago.

        Silent, it is taken to go on at its last power until its dead-man has ended that.
        """
        before, self._battery = self._battery, battery
        if battery is None:
            return self._battery_seen[1] if self._battery_seen is not None and self._battery_stands(now) else 0.0
        self._battery_seen = (now, battery.power_kw)
        if before is None:
            return battery.power_kw
        return BATTERY_LAST_WEIGHT * before.power_kw + (1 - BATTERY_LAST_WEIGHT) * battery.power_kw

    def _judge(self, readings: Readings, load_kw: float | None, battery_kw: float, now: datetime) -> MeterTrust:
        expected_kw = None if load_kw is None else load_kw - battery_kw
        return self._watch.judge(readings.meter.site_kw if readings.meter else None, expected_kw, now)

    def _expected_load_kw(self, readings: Readings) -> float | None:
        """What the parts make without the battery; None before a meter was seen."""
        rest_kw = self._rest.expected_kw
        return None if rest_kw is None else rest_kw + self._at_meter_kw(readings.gpu_kw)

    def _controlled_kw(self, classes: Mapping[str, ClassReading]) -> float:
        return sum(c.power_kw for class_id, c in classes.items() if class_id in self._classes)

    def _at_meter_kw(self, gpu_kw: float) -> float:
        return self._tuning.meter_gain * gpu_kw

    def _uncurtailed_kw(self, readings: Readings) -> float | None:
        """The forecast, or what rest and curves make where the agent has seen no uncurtailed minute."""
        if self._baseline.kw is not None or self._rest.acted_on_kw is None:
            return self._baseline.kw
        return self._rest.acted_on_kw + self._at_meter_kw(self._allocator.full_kw(self._scales))

    # --- without an event -------------------------------------------------------------------------------------

    def _begin(self, battery: BatteryReading | None) -> None:
        """An event begins, or is taken up in its release: fix the margin by the noise just seen."""
        tuning, reference_kw = self._tuning, self._schedule.reference_kw or 0.0
        wanted_kw = tuning.margin_of_noise * self._baseline.noise_kw
        self._margin_kw = min(tuning.margin_max * reference_kw, max(tuning.margin_min * reference_kw, wanted_kw))
        self._trim_kw, self._free_s = 0.0, 0
        self._battery_set_kw = battery.power_kw if battery is not None else 0.0
        if battery is not None and self._soc_before_pct is None:
            self._soc_before_pct = battery.soc_pct

    def _idle(self, readings: Readings, load_kw: float | None, trust: MeterTrust) -> Actions:
        self._free_s += 1
        self._written = {}
        if load_kw is not None and readings.meter is not None and trust.may_raise and self._free_s >= SETTLED_S:
            self._baseline.observe(readings.meter.covers.start, load_kw)
        return Actions(
            mode=Mode.IDLE,
            caps_w=None,
            battery_kw=self._recharge(readings, load_kw, trust),
            target_kw=None,
            baseline_kw=self._baseline.kw,
            marginal_usd_per_kwh=0.0,
            quality=trust.quality,
            alarms=_alarms(trust),
        )

    def _recharge(self, readings: Readings, load_kw: float | None, trust: MeterTrust) -> float | None:
        """After an event: refill the battery under the rebound limit."""
        battery, baseline_kw = readings.battery, self._baseline.kw
        if self._soc_before_pct is None or battery is None:
            return None
        if load_kw is None or baseline_kw is None or not trust.may_raise or self._free_s < SETTLED_S:
            return 0.0
        headroom_kw = baseline_kw * (1 + self._tuning.rebound) - load_kw
        set_kw = recharge_kw(battery, to_soc_pct=self._soc_before_pct, headroom_kw=headroom_kw)
        if set_kw is None:
            self._soc_before_pct = None
        return set_kw

    # --- during an event and its release ----------------------------------------------------------------------

    def _shortfall_kw(
        self, readings: Readings, load_kw: float | None, correction_kw: float, trust: MeterTrust
    ) -> float:
        """What caps left for the battery over the metered second; 0 when not known."""
        if readings.meter is None or load_kw is None or not trust.may_raise:
            return 0.0
        ceiling_kw = self._schedule.mean_over(readings.meter.covers)
        return 0.0 if ceiling_kw is None else load_kw - (ceiling_kw - self._margin_kw - correction_kw)

    def _running_mean_correction(self, meter: MeterReading | None, now: datetime) -> float:
        """How far below the target to aim so that means come out on it. Unit: kW."""
        interval = self._schedule.interval
        self._means.move_to(None if interval is None else interval.interval, now)
        if meter is not None and (ceiling_kw := self._schedule.mean_over(meter.covers)) is not None:
            self._means.observe(meter.covers, meter.site_kw - (ceiling_kw - self._margin_kw))
        return self._means.correction_kw(now, baseline_kw=self._schedule.reference_kw or 0.0, margin_kw=self._margin_kw)

    def _allocate(self, now: datetime, correction_kw: float, shortfall_kw: float, trust: MeterTrust) -> Allocation:
        """Feed-forward on the measured rest, trimmed by the integral of what the battery still carries."""
        ceiling_kw = self._schedule.lowest_until(now, self._tuning.cap_lead_s)
        assert ceiling_kw is not None
        rest_kw = self._rest.acted_on_kw if self._rest.acted_on_kw is not None else ceiling_kw
        if not trust.trusted:
            rest_kw += self._tuning.margin_in_doubt * (self._schedule.reference_kw or 0.0)
        wanted_kw = (ceiling_kw - self._margin_kw - correction_kw - rest_kw) / self._tuning.meter_gain
        allocation = self._allocator.allocate(wanted_kw - self._trim_kw, self._scales)
        at_floor = allocation.short_kw > 0
        at_top = allocation.marginal_usd_per_kwh == 0.0
        if self._battery is None:
            # Nothing is to be driven back: means hold the meter, and what a checkpoint left here would outlast it.
            self._trim_kw *= 1.0 - self._tuning.midrange_per_s
        elif not (at_floor and shortfall_kw > 0) and not (at_top and shortfall_kw < 0):
            most_kw = TRIM_MAX * (self._schedule.reference_kw or 0.0)
            trim_kw = self._trim_kw + self._tuning.midrange_per_s * shortfall_kw
            self._trim_kw = min(most_kw, max(-most_kw, trim_kw))
        return allocation

    def _caps(
        self, allocation: Allocation, classes: Mapping[str, ClassReading], trust: MeterTrust, now: datetime
    ) -> dict[str, float]:
        """The table for every class; a cap that hardly moved keeps its last value."""
        for class_id, reading in classes.items():
            cap_w = reading.prior_w
            if cap_w is None:
                continue
            cap_class = self._classes.get(class_id)
            if cap_class is not None:
                power_w = cap_class.floor_w if trust.staged else allocation.power_w[class_id]
                if power_w < cap_class.curve.max_power_w - UNCAPPED_W:
                    cap_w = min(cap_w, cap_class.curve.cap_at_power(power_w))
            last = self._written.get(class_id)
            if last is None or self._due(last, cap_w, trust, now):
                self._written[class_id] = _Written(cap_w, now)
        return {class_id: written.cap_w for class_id, written in self._written.items() if class_id in classes}

    def _due(self, last: _Written, cap_w: float, trust: MeterTrust, now: datetime) -> bool:
        if cap_w > last.cap_w and not trust.may_raise:
            return False
        moved = abs(cap_w - last.cap_w) / last.cap_w
        waited_s = (now - last.at).total_seconds()
        return moved > self._tuning.deadband or (moved > LEAST_CHANGE and waited_s >= self._tuning.refresh_s)

    def _battery_set(
        self,
        readings: Readings,
        least_load_kw: float,
        battery_kw: float,
        correction_kw: float,
        trust: MeterTrust,
    ) -> float | None:
        """Most of the error at once, from where the battery was when the error was metered.

        By a reading that may be too low it only ever takes on more; by one that may be too high it does not export:
        ``least_load_kw`` is the lesser of what is metered and what the parts make.
        """
        battery = readings.battery
        if battery is None:
            return None
        limits = bounds(
            battery,
            self._tuning,
            load_kw=least_load_kw,
            may_charge=trust.may_raise and self._schedule.mode is Mode.EVENT,
        )
        ceiling_kw = None if readings.meter is None else self._schedule.mean_over(readings.meter.covers)
        wanted_kw = self._battery_set_kw
        if readings.meter is not None and ceiling_kw is not None and trust.alive:
            error_kw = readings.meter.site_kw - (ceiling_kw - self._margin_kw) + correction_kw
            wanted_kw = battery_kw + self._tuning.battery_gain * error_kw
            if not trust.may_raise and not trust.shows_more:
                wanted_kw = max(wanted_kw, self._battery_set_kw)
        self._battery_set_kw = limits.clip(wanted_kw)
        return self._battery_set_kw

    def _actions(
        self,
        mode: Mode,
        caps_w: Mapping[str, float],
        set_kw: float | None,
        allocation: Allocation,
        trust: MeterTrust,
        now: datetime,
    ) -> Actions:
        ceiling_kw = self._schedule.limit_at(now)
        floors = ("caps at the floors: the budget is below what jobs may give up",) if allocation.short_kw > 0 else ()
        return Actions(
            mode=mode,
            caps_w=caps_w,
            battery_kw=set_kw,
            target_kw=None if ceiling_kw is None else ceiling_kw - self._margin_kw,
            baseline_kw=self.baseline_kw,
            marginal_usd_per_kwh=allocation.marginal_usd_per_kwh,
            quality=trust.quality,
            alarms=_alarms(trust) + floors,
        )


def _alarms(trust: MeterTrust) -> tuple[str, ...]:
    return () if trust.trusted else (trust.reason,)
