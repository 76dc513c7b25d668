"""What an event asks for, and every reason to opt out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aggregator.dispatch.request import Refusal, Request, assess
from grid.events import EventStatus, SignalInterval, SignalUnit
from tests.aggregator.conftest import T0
from tests.aggregator.dispatch.factory import enrolment, event

START = T0 + timedelta(seconds=15)


def test_a_dispatch_becomes_kw_owed_over_ramp_hold_and_release() -> None:
    request = assess(event(START), enrolment(), T0, running=False)
    assert isinstance(request, Request)
    assert (request.reduction_kw, request.site_ids) == (30.0, ("a", "b"))
    times = request.timeline
    offsets = [(t - START).total_seconds() for t in (times.ramp_start, times.hold_start, times.hold_end)]
    assert offsets == [0, 20, 110]
    assert (times.release_end - times.hold_end).total_seconds() == 20


def test_targets_choose_the_sites_and_an_open_end_runs_the_programmes_longest() -> None:
    request = assess(event(START, resource_ids=("res-b",), duration_s=None), enrolment(), T0, running=False)
    assert isinstance(request, Request)
    assert request.site_ids == ("b",)
    assert (request.timeline.hold_end - START).total_seconds() == 3600


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"signal_name": "SIMPLE", "signal_type": "level", "unit": SignalUnit.LEVEL}, "expected one LOAD_DIS"),
        ({"signal_type": "setpoint"}, "the event has LOAD_DISPATCH/setpoint"),
        ({"signals": ()}, "the event has no signal"),
        ({"unit": SignalUnit.LEVEL}, "not in kW"),
        ({"delta_kw": 30.0}, "a delta of 30 kW would raise load"),
        ({"delta_kw": 0.0}, "would raise load"),
        ({"intervals": (SignalInterval(start=START, duration_s=55, value=-1),) * 2}, "has 2 intervals"),
        ({"resource_ids": ("res-a", "res-z")}, "unknown resource"),
        ({"market_context": "urn:other"}, "unknown market context 'urn:other'"),
        ({"test_event": True}, "test event"),
        ({"status": EventStatus.COMPLETED}, "the event is over"),
        ({"duration_s": 3601.0}, "longer than the programme's 3600 s"),
        ({"duration_s": 20.0}, "nothing is left of the event to hold"),
        ({"start": T0 + timedelta(seconds=4)}, "4 s of notice, the programme gives 5 s"),
        ({"start": START.replace(year=2025)}, "does not hold on that day"),
    ],
)  # fmt: skip
def test_an_event_we_cannot_serve_is_opted_out_of_with_the_reason(changed: dict[str, Any], says: str) -> None:
    start = changed.pop("start", START)
    refused = assess(event(start, **changed), enrolment(), T0, running=False)
    assert isinstance(refused, Refusal)
    assert says in refused.reason


def test_a_programme_without_dispatch_sells_nothing() -> None:
    refused = assess(event(START), enrolment(programme="demo-standby"), T0, running=False)
    assert refused == Refusal(reason="programme demo-standby has no dispatch")


def test_a_running_event_is_modified_without_notice_and_ramps_from_now() -> None:
    now = START + timedelta(seconds=40)
    request = assess(event(START, -20.0), enrolment(), now, running=True)
    assert isinstance(request, Request)
    assert request.timeline.start == START
    assert request.timeline.ramp_start == now
    assert request.timeline.hold_start == now + timedelta(seconds=20)
