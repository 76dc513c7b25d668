"""OpenADR events to kW, and the code each impossible one is answered with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.tls import Identity
from grid.events import EventStatus, SignalUnit
from tests.ven.conftest import ven_settings
from ven.config import VenSettings
from ven.errors import EventError
from ven.signals import grid_event
from ven.wire.messages import Measure, WireEvent, WireInterval, WireSignal

START = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
NOBODY = Identity(certificate=Path("c"), key=Path("k"), roots=Path("r"))
SETTINGS = ven_settings(NOBODY, "https://127.0.0.1/OpenADR2/Simple/2.0b", market_contexts=("urn:p",))

DISPATCH = WireSignal(
    signal_id="s",
    name="LOAD_DISPATCH",
    type="delta",
    measure=Measure(name="powerReal", units="W", si_scale="M"),
    intervals=(WireInterval(duration_s=60, value=-1.5), WireInterval(duration_s=50, value=-2.0)),
)
EVENT = WireEvent(
    event_id="e",
    modification_number=0,
    status=EventStatus.FAR,
    created_at=START - timedelta(hours=1),
    market_context="urn:p",
    priority=1,
    test_event=False,
    start=START,
    duration_s=110,
    signals=(DISPATCH,),
    ven_ids=("v",),
    resource_ids=(),
    other_targets=False,
    response_required=True,
)


def refusal(event: WireEvent, settings: VenSettings = SETTINGS) -> int:
    with pytest.raises(EventError) as caught:
        grid_event(event, settings, "v", START)
    return caught.value.code


def test_values_become_kw_with_their_sign_and_starts() -> None:
    event = grid_event(EVENT, SETTINGS, "v", START)
    (signal,) = event.signals
    assert signal.unit is SignalUnit.KW
    assert [(interval.start, interval.duration_s, interval.value) for interval in signal.intervals] == [
        (START, 60, -1500.0),
        (START + timedelta(seconds=60), 50, -2000.0),
    ]
    assert (event.source, event.priority, event.duration_s, event.key) == ("openadr", 1, 110, ("ven-a", "e"))


def test_an_open_ended_event_has_no_duration() -> None:
    signal = replace(DISPATCH, intervals=(WireInterval(duration_s=0, value=-1.0),))
    event = grid_event(replace(EVENT, duration_s=0, signals=(signal,)), SETTINGS, "v", START)
    assert (event.duration_s, event.signals[0].intervals[0].duration_s) == (None, None)


@pytest.mark.parametrize(
    ("ven_ids", "resource_ids", "other", "expected"),
    [
        ((), (), False, ()),
        (("v",), ("site-1",), False, ()),
        (("w",), ("site-2", "elsewhere"), False, ("site-2",)),
        ((), ("site-2", "site-1"), True, ("site-1", "site-2")),
    ],
)
def test_targets_are_alternatives(
    ven_ids: tuple[str, ...], resource_ids: tuple[str, ...], other: bool, expected: tuple[str, ...]
) -> None:
    event = replace(EVENT, ven_ids=ven_ids, resource_ids=resource_ids, other_targets=other)
    assert grid_event(event, SETTINGS, "v", START).resource_ids == expected


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"market_context": "urn:other"}, 453),
        ({"ven_ids": ("w",)}, 462),
        ({"ven_ids": (), "other_targets": True}, 462),
        ({"signals": ()}, 460),
        ({"signals": (replace(DISPATCH, name="ELECTRICITY_PRICE", type="price"),)}, 460),
        ({"signals": (replace(DISPATCH, measure=None),)}, 454),
        ({"signals": (replace(DISPATCH, measure=Measure(name="powerReal", units="VA", si_scale="k")),)}, 454),
        ({"signals": (replace(DISPATCH, measure=Measure(name="powerReactive", units="W", si_scale="k")),)}, 454),
        ({"signals": (replace(DISPATCH, intervals=()),)}, 454),
        ({"duration_s": 120}, 454),
        ({"signals": (replace(DISPATCH, name="SIMPLE", type="level"),)}, 454),
    ],
)
def test_what_cannot_be_taken_has_its_code(change: dict[str, object], code: int) -> None:
    assert refusal(replace(EVENT, **change)) == code  # type: ignore[arg-type]


def test_without_market_contexts_any_is_taken() -> None:
    settings = SETTINGS.model_copy(update={"market_contexts": ()})
    event = grid_event(replace(EVENT, market_context="urn:other"), settings, "v", START)
    assert event.market_context == "urn:other"


def test_an_unsupported_signal_beside_a_supported_one_is_left_out() -> None:
    price = replace(DISPATCH, name="ELECTRICITY_PRICE", type="price")
    event = grid_event(replace(EVENT, signals=(price, DISPATCH)), SETTINGS, "v", START)
    assert [signal.name for signal in event.signals] == ["LOAD_DISPATCH"]
