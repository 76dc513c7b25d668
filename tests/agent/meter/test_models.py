"""Every meter model over real Modbus TCP: scale, sign, and values that no longer move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.errors import MeterError
from agent.meter.checked import CheckedMeter
from agent.meter.sunspec import STALE_AFTER_S, SunSpecMeter
from agent.simulation.meter import Meter
from agent.simulation.modbus import ModbusDevice
from agent.simulation.registers import BASE_ADDRESS
from grid.clock import VirtualClock
from tests.agent.simulation.conftest import reference_site

NOW = datetime(2026, 3, 1, 12, 0, 0, 200_000, tzinfo=UTC)
MODELS = [201, 202, 203, 204, 701]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@asynccontextmanager
async def served(plant: Meter, clock: VirtualClock, **options: Any) -> AsyncIterator[tuple[SunSpecMeter, ModbusDevice]]:
    async with ModbusDevice(plant.registers) as server:
        meter = SunSpecMeter("127.0.0.1", server.port, 1, clock=clock, **options)
        try:
            yield meter, server
        finally:
            await meter.close()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("site_kw", [130.0, -20.0])
async def test_every_model_is_scaled_and_import_is_positive(model: int, site_kw: float, clock: VirtualClock) -> None:
    plant = Meter(reference_site(), model)
    plant.show(site_kw)
    async with served(plant, clock) as (meter, _):
        assert (await meter.read()).site_kw == pytest.approx(site_kw, rel=0.003)


@pytest.mark.parametrize("model", MODELS)
async def test_a_meter_wired_the_other_way_round_is_read_the_other_way_round(model: int, clock: VirtualClock) -> None:
    plant = Meter(reference_site(), model)
    plant.show(-130.0)
    async with served(plant, clock, reversed_ct=True) as (meter, _):
        assert (await meter.read()).site_kw == pytest.approx(130.0, rel=0.003)


async def test_power_of_all_phases_adds_up(clock: VirtualClock) -> None:
    for model, phases in ((201, "A"), (202, "AB"), (203, "ABC"), (204, "ABC")):
        plant = Meter(reference_site(), model)
        plant.show(120.0)
        total = sum(plant.registers.get(model, f"Wph{phase}") for phase in phases)
        assert total == pytest.approx(plant.registers.get(model, "W"), abs=30)


@pytest.mark.parametrize("model", MODELS)
async def test_values_that_stand_still_are_no_reading(model: int, clock: VirtualClock) -> None:
    plant = Meter(reference_site(), model)
    plant.show(130.0)
    async with served(plant, clock) as (meter, server):
        for _ in range(2 * STALE_AFTER_S):
            await meter.read()
            await clock.advance(1)
            plant.show(130.0)
        server.freeze()
        for _ in range(STALE_AFTER_S):
            await meter.read()
            await clock.advance(1)
        with pytest.raises(MeterError, match="the same values for 5 s"):
            await meter.read()
        server.thaw()
        plant.show(90.0)
        assert (await meter.read()).site_kw == pytest.approx(90.0, rel=0.003)


async def test_a_steady_load_is_not_stale_while_the_energy_counts_on(clock: VirtualClock) -> None:
    plant = Meter(reference_site(meter_noise_sd=0.0))
    async with served(plant, clock) as (meter, _):
        for _ in range(2 * STALE_AFTER_S):
            plant.show(100.0)
            await meter.read()
            await clock.advance(1)


async def test_a_sequence_register_tells_staleness_that_the_values_hide(clock: VirtualClock) -> None:
    plant = Meter(reference_site())
    at = BASE_ADDRESS + 8  # somewhere in model 1: the last word of a name, for a counter that a vendor keeps there
    async with served(plant, clock, sequence_register=at) as (meter, _):
        for second in range(STALE_AFTER_S):
            plant.registers.words[8] = second
            plant.show(100.0)
            await meter.read()
            await clock.advance(1)
        for _ in range(STALE_AFTER_S - 1):
            plant.show(100.0)
            await meter.read()
            await clock.advance(1)
        with pytest.raises(MeterError, match="its sequence stands still"):
            await meter.read()


async def test_a_missing_sensor_is_no_reading(clock: VirtualClock) -> None:
    plant = Meter(reference_site())
    plant.show(100.0)
    async with served(plant, clock) as (meter, _):
        plant.registers.put(203, "Evt", 1 << 7)
        with pytest.raises(MeterError, match="sensor"):
            await meter.read()


async def test_a_dropped_connection_costs_one_reading(clock: VirtualClock) -> None:
    plant = Meter(reference_site())
    plant.show(100.0)
    async with served(plant, clock) as (meter, server):
        await meter.read()
        server.drop()
        with pytest.raises(MeterError, match="check its address"):
            await meter.read()
        assert (await meter.read()).site_kw == pytest.approx(100.0, rel=0.003)


# --- with a second meter ------------------------------------------------------------------------------------------


@asynccontextmanager
async def checked(
    main: Meter, check: Meter, clock: VirtualClock
) -> AsyncIterator[tuple[CheckedMeter, ModbusDevice, ModbusDevice]]:
    async with served(main, clock) as (first, main_server), served(check, clock) as (second, check_server):
        yield CheckedMeter(first, second), main_server, check_server


async def test_the_second_meter_is_read_beside_the_first(clock: VirtualClock) -> None:
    main, check = Meter(reference_site()), Meter(reference_site(seed=9), 204)
    main.show(100.0)
    check.show(96.0)
    async with checked(main, check, clock) as (meter, _, _):
        reading = await meter.read()
    assert reading.site_kw == pytest.approx(100.0, rel=0.003)
    assert reading.check_kw == pytest.approx(96.0, rel=0.003)
    assert not reading.from_check


async def test_the_second_meter_stands_in_for_a_first_that_is_silent(clock: VirtualClock) -> None:
    main, check = Meter(reference_site()), Meter(reference_site(seed=9), 204)
    main.show(100.0)
    check.show(96.0)
    async with checked(main, check, clock) as (meter, main_server, check_server):
        main_server.drop()
        await main_server.__aexit__()
        reading = await meter.read()
        assert reading.site_kw == pytest.approx(96.0, rel=0.003)
        assert reading.from_check
        assert reading.check_kw is None
        assert reading.alarms[0].startswith("the second meter stands in for the first: meter 127.0.0.1")
        assert reading.covers.end == NOW - timedelta(seconds=0.2)
        check_server.drop()
        await check_server.__aexit__()
        with pytest.raises(MeterError, match=r"and the second meter"):
            await meter.read()


async def test_a_silent_second_meter_costs_no_reading_and_is_an_alarm(clock: VirtualClock) -> None:
    main, check = Meter(reference_site()), Meter(reference_site())
    main.show(100.0)
    async with checked(main, check, clock) as (meter, _, _):
        reading = await meter.read()
    assert (reading.check_kw, reading.from_check) == (None, False)
    assert reading.alarms[0].startswith("the second meter gives nothing: the meter shows no power")
