"""OpenADR events to kW, and the code each impossible one is answered with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certs.tls import Identity
from grid.events import EventStatus, SignalUnit
from tests.ven.conftest import ven_settings
from ven.config import VenSettings
from ven.errors import EventError
from ven.signals import grid_event
from ven.wire.common import NOBODY_NAMED, Measure, Target
from ven.wire.event import SignalPoint, WireEvent, WireSignal

START = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
NOBODY = Identity(certificate=Path("c"), key=Path("k"), roots=Path("r"))
SETTINGS = ven_settings(NOBODY, "https://127.0.0.1/OpenADR2/Simple/2.0b", market_contexts=("urn:p",))

DISPATCH = WireSignal(
    signal_id="s",
    name="LOAD_DISPATCH",
    type="delta",
    measure=Measure(name="powerReal", units="W", si_scale="M"),
    intervals=(SignalPoint(duration_s=60, value=-1.5), SignalPoint(duration_s=50, value=-2.0)),
)
EVENT = WireEvent(
    event_id="e",
    modification_number=0,
    status=EventStatus.FAR,
    created_at=START - timedelta(hours=1),
    market_context="urn:p",
    priority=1,
    start=START,
    duration_s=110,
    signals=(DISPATCH,),
    target=Target(ven_ids=("v",)),
    response_required=True,
)


def refusal(event: WireEvent, settings: VenSettings = SETTINGS) -> int:
    with pytest.raises(EventError) as caught:
        grid_event(event, settings, "v", START, 0.0)
    return caught.value.code


def test_values_become_kw_with_their_sign_and_starts() -> None:
    event = grid_event(EVENT, SETTINGS, "v", START, 0.0)
    (signal,) = event.signals
    assert signal.unit is SignalUnit.KW
    assert [(interval.start, interval.duration_s, interval.value) for interval in signal.intervals] == [
        (START, 60, -1500.0),
        (START + timedelta(seconds=60), 50, -2000.0),
    ]
    assert (event.source, event.priority, event.duration_s, event.key) == ("openadr", 1, 110, ("ven-a", "e"))


def test_an_open_ended_event_has_no_duration() -> None:
    signal = replace(DISPATCH, intervals=(SignalPoint(duration_s=0, value=-1.0),))
    event = grid_event(replace(EVENT, duration_s=0, signals=(signal,)), SETTINGS, "v", START, 0.0)
    assert (event.duration_s, event.signals[0].intervals[0].duration_s) == (None, None)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (NOBODY_NAMED, ()),
        (Target(ven_ids=("v",), resource_ids=("site-1",)), ()),
        (Target(ven_ids=("w",), resource_ids=("site-2", "elsewhere")), ("site-2",)),
        (Target(resource_ids=("site-2", "site-1"), pnodes=("p",)), ("site-1", "site-2")),
        (Target(ven_ids=("w",), group_ids=("other", "group")), ()),
        (Target(party_ids=("party",), resource_ids=("elsewhere",)), ()),
    ],
)
def test_targets_are_alternatives(target: Target, expected: tuple[str, ...]) -> None:
    settings = SETTINGS.model_copy(update={"group_ids": ("group",), "party_ids": ("party",)})
    event = replace(EVENT, target=target)
    assert grid_event(event, settings, "v", START, 0.0).resource_ids == expected


def test_the_start_is_put_off_with_everything_in_it() -> None:
    event = grid_event(replace(EVENT, startafter_s=60.0), SETTINGS, "v", START, 7.0)
    later = START + timedelta(seconds=7)
    assert (event.start, event.start_offset_s, event.startafter_s) == (later, 7.0, 60.0)
    assert event.signals[0].intervals[0].start == later


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"market_context": "urn:other"}, 453),
        ({"target": Target(ven_ids=("w",))}, 462),
        ({"target": Target(pnodes=("p",))}, 462),
        ({"target": Target(group_ids=("g",), party_ids=("p",))}, 462),
        ({"signals": ()}, 460),
        ({"signals": (replace(DISPATCH, name="LOAD_DISPATCH", type="x-own"),)}, 460),
        ({"signals": (replace(DISPATCH, name="ELECTRICITY_PRICE", type="price"),)}, 454),
        ({"signals": (replace(DISPATCH, measure=None),)}, 454),
        ({"signals": (replace(DISPATCH, measure=Measure(name="powerReal", units="VA", si_scale="k")),)}, 454),
        ({"signals": (replace(DISPATCH, measure=Measure(name="powerReactive", units="W", si_scale="k")),)}, 454),
        ({"signals": (replace(DISPATCH, intervals=()),)}, 454),
        ({"duration_s": 120}, 454),
        ({"signals": (replace(DISPATCH, intervals=(SignalPoint(duration_s=110, value=1.0, uid="1"),)),)}, 454),
        ({"signals": (replace(DISPATCH, name="SIMPLE", type="level"),)}, 454),
    ],
)
def test_what_cannot_be_taken_has_its_code(change: dict[str, Any], code: int) -> None:
    assert refusal(replace(EVENT, **change)) == code


def test_without_market_contexts_any_is_taken() -> None:
    settings = SETTINGS.model_copy(update={"market_contexts": ()})
    event = grid_event(replace(EVENT, market_context="urn:other"), settings, "v", START, 0.0)
    assert event.market_context == "urn:other"


def test_an_unsupported_signal_beside_a_supported_one_is_left_out() -> None:
    other = replace(DISPATCH, name="x-own")
    event = grid_event(replace(EVENT, signals=(other, DISPATCH)), SETTINGS, "v", START, 0.0)
    assert [signal.name for signal in event.signals] == ["LOAD_DISPATCH"]


POWER, ENERGY = Measure(name="powerReal", units="W", si_scale="k"), Measure(name="energyReal", units="Wh", si_scale="k")


@pytest.mark.parametrize(
    ("name", "kind", "measure", "sent", "unit", "value"),
    [
        ("SIMPLE", "level", None, 3.0, SignalUnit.LEVEL, 3.0),
        ("LOAD_DISPATCH", "setpoint", replace(POWER, si_scale="none"), 5e5, SignalUnit.KW, 500.0),
        ("LOAD_DISPATCH", "delta", replace(POWER, si_scale="M"), -0.5, SignalUnit.KW, -500.0),
        ("LOAD_DISPATCH", "multiplier", None, 0.8, SignalUnit.MULTIPLIER, 0.8),
        ("LOAD_DISPATCH", "level", None, 2.0, SignalUnit.LEVEL, 2.0),
        ("LOAD_CONTROL", "x-loadControlCapacity", None, 0.5, SignalUnit.MULTIPLIER, 0.5),
        ("LOAD_CONTROL", "x-loadControlLevelOffset", None, -1.0, SignalUnit.LEVEL, -1.0),
        ("LOAD_CONTROL", "x-loadControlPercentOffset", None, 20.0, SignalUnit.PERCENT, 20.0),
        ("LOAD_CONTROL", "x-loadControlSetpoint", None, 21.5, SignalUnit.DEVICE, 21.5),
        ("ELECTRICITY_PRICE", "price", Measure(name="currencyPerKWh", units="USD"), 0.3, SignalUnit.PRICE_PER_KWH, 0.3),
        ("ELECTRICITY_PRICE", "price", Measure(name="currency", units="EUR"), 0.3, SignalUnit.PRICE_PER_KWH, 0.3),
        ("ENERGY_PRICE", "priceRelative", Measure(name="currency", units="USD"), -0.1, SignalUnit.PRICE_PER_KWH, -0.1),
        ("ENERGY_PRICE", "priceMultiplier", None, 2.0, SignalUnit.MULTIPLIER, 2.0),
        ("DEMAND_CHARGE", "price", Measure(name="currencyPerKW", units="USD"), 9.0, SignalUnit.PRICE_PER_KW, 9.0),
        ("BID_PRICE", "price", Measure(name="currencyPerKWh", units="USD"), 0.2, SignalUnit.PRICE_PER_KWH, 0.2),
        ("BID_LOAD", "setpoint", POWER, 40.0, SignalUnit.KW, 40.0),
        ("BID_ENERGY", "setpoint", ENERGY, 40.0, SignalUnit.KWH, 40.0),
        ("CHARGE_STATE", "setpoint", replace(ENERGY, si_scale="none"), 40.0, SignalUnit.KWH, 0.04),
        ("CHARGE_STATE", "delta", replace(ENERGY, si_scale="M"), -0.001, SignalUnit.KWH, -1.0),
        ("CHARGE_STATE", "multiplier", None, 0.9, SignalUnit.MULTIPLIER, 0.9),
    ],
)
def test_every_signal_in_our_units(
    name: str, kind: str, measure: Measure | None, sent: float, unit: SignalUnit, value: float
) -> None:
    point = SignalPoint(duration_s=110, value=sent)
    signal = replace(DISPATCH, name=name, type=kind, measure=measure, intervals=(point,))
    event = grid_event(replace(EVENT, signals=(signal,)), SETTINGS, "v", START, 0.0)
    (found,) = event.signals
    assert found.unit is unit
    assert found.intervals[0].value == pytest.approx(value)
    assert found.currency == (measure.units if measure is not None and measure.name.startswith("currency") else None)


@pytest.mark.parametrize("measure", [None, POWER, Measure(name="energyReal", units="J", si_scale="k")])
def test_energy_without_watt_hours_and_prices_without_a_currency_have_no_unit(measure: Measure | None) -> None:
    for name, kind in (("CHARGE_STATE", "delta"), ("DEMAND_CHARGE", "price")):
        assert refusal(replace(EVENT, signals=(replace(DISPATCH, name=name, type=kind, measure=measure),))) == 454


@pytest.mark.parametrize("level", [-1.0, 0.5, 4.0])
def test_simple_has_four_levels(level: float) -> None:
    point = SignalPoint(duration_s=110, value=level)
    signal = replace(DISPATCH, name="SIMPLE", type="level", measure=None, intervals=(point,))
    assert refusal(replace(EVENT, signals=(signal,))) == 454


def test_the_programme_says_what_simple_levels_mean() -> None:
    settings = SETTINGS.model_copy(update={"simple_levels": (1.0, 0.9, 0.7, 0.0)})
    points = tuple(SignalPoint(duration_s=27.5, value=float(level)) for level in range(4))
    signal = replace(DISPATCH, name="SIMPLE", type="level", measure=None, intervals=points)
    event = grid_event(replace(EVENT, signals=(signal,)), settings, "v", START, 0.0)
    assert event.signals[0].unit is SignalUnit.MULTIPLIER
    assert [interval.value for interval in event.signals[0].intervals] == [1.0, 0.9, 0.7, 0.0]


def test_a_signal_of_some_resources_names_ours() -> None:
    signal = replace(DISPATCH, target=Target(resource_ids=("site-2", "elsewhere")))
    event = grid_event(replace(EVENT, signals=(signal,)), SETTINGS, "v", START, 0.0)
    assert (event.resource_ids, event.signals[0].resource_ids) == ((), ("site-2",))
