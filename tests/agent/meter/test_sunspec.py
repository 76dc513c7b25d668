"""The SunSpec meter against the simulated site's own Modbus server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import MeterError
from agent.meter.sunspec import SunSpecMeter
from agent.simulation.battery import Battery
from agent.simulation.meter import Meter
from agent.simulation.modbus import ModbusDevice
from agent.simulation.registers import RegisterMap, common_model
from grid.clock import VirtualClock
from grid.intervals import Interval
from tests.agent.simulation.conftest import reference_site
from tests.agent.sockets import closed_port, silent_port

SECOND = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLOCK = VirtualClock(SECOND + timedelta(seconds=0.2))


@asynccontextmanager
async def client(port: int, unit: int = 1) -> AsyncIterator[SunSpecMeter]:
    meter = SunSpecMeter("127.0.0.1", port, unit, clock=CLOCK)
    try:
        yield meter
    finally:
        await meter.close()


@pytest.mark.parametrize("gpus", [32, 256, 2048])
async def test_power_is_scaled_and_import_is_positive(gpus: int) -> None:
    scenario = reference_site(gpus=gpus)
    plant = Meter(scenario)
    async with ModbusDevice(plant.registers) as server, client(server.port) as meter:
        for site_kw in (scenario.site_kw, 0.5 * scenario.site_kw, -0.1 * scenario.site_kw):
            plant.show(site_kw)
            reading = await meter.read()
            assert reading.site_kw == pytest.approx(site_kw, rel=0.003)
            assert reading.covers == Interval(start=SECOND - timedelta(seconds=1), end=SECOND)


@pytest.mark.parametrize("model", [201, 202, 203, 204])
async def test_any_of_the_meter_models_will_do(model: int) -> None:
    registers = RegisterMap({1: common_model("Meter", "a"), model: {"W": 1234, "W_SF": 1}})
    async with ModbusDevice(registers) as server, client(server.port) as meter:
        assert (await meter.read()).site_kw == pytest.approx(12.34)


async def test_a_meter_that_has_just_started_gives_no_number() -> None:
    async with ModbusDevice(Meter(reference_site()).registers) as server, client(server.port) as meter:
        with pytest.raises(MeterError, match="has just started"):
            await meter.read()


async def test_a_battery_is_no_meter() -> None:
    async with ModbusDevice(Battery(reference_site(), CLOCK).registers) as server, client(server.port) as meter:
        with pytest.raises(MeterError, match="none of the SunSpec models 201 to 204"):
            await meter.read()


async def test_another_unit_is_named_in_the_error() -> None:
    async with ModbusDevice(Meter(reference_site()).registers) as server, client(server.port, unit=7) as meter:
        with pytest.raises(MeterError, match=rf"{server.port} unit 7: .* check its address in \[meter\]"):
            await meter.read()


async def test_a_restarted_meter_is_read_again_after_one_error() -> None:
    plant = Meter(reference_site())
    plant.show(100.0)
    async with ModbusDevice(plant.registers) as first, client(first.port) as meter:
        await meter.read()
        await first.__aexit__()
        async with ModbusDevice(plant.registers, port=first.port):
            with pytest.raises(MeterError):
                await meter.read()
            plant.show(50.0)
            assert (await meter.read()).site_kw == pytest.approx(50.0, rel=0.003)


async def test_a_closed_port_is_one_clear_line() -> None:
    port = closed_port()
    async with client(port) as meter:
        with pytest.raises(MeterError, match=rf"^meter 127.0.0.1:{port} unit 1: .*[Rr]efused.*\[meter\] .*network$"):
            await meter.read()


async def test_a_device_that_never_answers_costs_one_time_out() -> None:
    with silent_port() as silent:
        async with client(silent.port) as meter:
            with pytest.raises(MeterError, match="timed out"):
                await meter.read()
        assert silent.requests() == 1
