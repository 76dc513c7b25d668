"""From an event to what it asks of us: the rules of the programme, read against one event.

Pure. ``assess`` says either what the event asks of us, as kW of reduction over a timeline, or why we opt out;
whether the sites can give it is the split's question.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.portfolio.commitment import Timeline
from aggregator.portfolio.enrolment import Enrolment
from aggregator.portfolio.programme import DispatchRules, Programme
from grid.events import EventStatus, GridEvent, SignalUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an event asks of an enrolment."""

    reduction_kw: float
    timeline: Timeline
    site_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why we opt out, in one line for a person."""

    reason: str


def assess(event: GridEvent, enrolment: Enrolment, now: datetime, *, running: bool) -> Request | Refusal:
    """What ``event`` asks for, or why we refuse it.

    ``running``: an earlier modification of it is committed already, so notice is not asked for again.
    """
    programme = enrolment.programme
    rules = programme.dispatch
    if rules is None:
        return Refusal(reason=f"programme {programme.programme_id} has no dispatch")
    sites = enrolment.sites_named(event.resource_ids)
    for refused, reason in (
        (event.market_context != programme.market_context, f"unknown market context {event.market_context!r}"),
        (event.test_event, "a test event is answered, not dispatched"),
        (not programme.holds_on(event.start.date()), f"programme {programme.programme_id} does not hold on that day"),
        (sites is None, f"unknown resource among {', '.join(event.resource_ids)}"),
        (event.status is EventStatus.COMPLETED, "the event is over"),
    ):
        if refused:
            return Refusal(reason=reason)
    assert sites is not None
    timeline = _timeline(event, rules, now)
    if isinstance(timeline, Refusal):
        return timeline
    notice_s = (event.start - now).total_seconds()
    if not running and notice_s < rules.min_notice_s:
        return Refusal(reason=f"{notice_s:.0f} s of notice, the programme gives {rules.min_notice_s:g} s")
    reduction_kw = _reduction_kw(event, rules)
    if isinstance(reduction_kw, Refusal):
        return reduction_kw
    return Request(reduction_kw=reduction_kw, timeline=timeline, site_ids=tuple(sites))


def requested_kw(event: GridEvent, programme: Programme) -> float | None:
    """kW of reduction the utility asks for; None when the event cannot be read under the programme's rules."""
    asked = None if programme.dispatch is None else _reduction_kw(event, programme.dispatch)
    return asked if isinstance(asked, float) else None


def _timeline(event: GridEvent, rules: DispatchRules, now: datetime) -> Timeline | Refusal:
    duration_s = rules.max_duration_s if event.duration_s is None else event.duration_s
    if duration_s > rules.max_duration_s:
        return Refusal(reason=f"{duration_s:g} s is longer than the programme's {rules.max_duration_s:g} s")
    end = event.start + timedelta(seconds=duration_s)
    ramp_start = max(event.start, now)
    hold_start = ramp_start + timedelta(seconds=rules.ramp_s)
    if hold_start >= end:
        return Refusal(reason=f"nothing is left of the event to hold after a ramp of {rules.ramp_s:g} s")
    return Timeline(
        start=event.start,
        ramp_start=ramp_start,
        hold_start=hold_start,
        hold_end=end,
        release_end=end + timedelta(seconds=rules.release_s),
    )


def _reduction_kw(event: GridEvent, rules: DispatchRules) -> float | Refusal:
    """kW of reduction the event's one signal value asks for."""
    wanted = f"{rules.signal_name}/{rules.signal_type}"
    signals = [s for s in event.signals if (s.name, s.type) == (rules.signal_name, rules.signal_type)]
    if len(signals) != 1:
        sent = ", ".join(f"{s.name}/{s.type}" for s in event.signals) or "no signal"
        return Refusal(reason=f"expected one {wanted} signal, the event has {sent}")
    (signal,) = signals
    if signal.unit is not SignalUnit.KW:
        return Refusal(reason=f"{wanted} is in {signal.unit}, not in kW")
    if len(signal.intervals) != 1:
        return Refusal(reason=f"{wanted} has {len(signal.intervals)} intervals, one can be dispatched")
    reduction_kw = rules.delta_sign * signal.intervals[0].value
    if reduction_kw <= 0:
        return Refusal(reason=f"a delta of {signal.intervals[0].value:g} kW would raise load")
    return reduction_kw
