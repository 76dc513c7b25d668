"""Meter and battery, scanned and commanded by pysunspec2 over real Modbus TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP
from sunspec2.modbus.modbus import ModbusClientException

from agent.simulation.battery import CAPACITY, CONTROL, MEASUREMENT, RATINGS, Battery
from agent.simulation.meter import MODEL, Meter
from agent.simulation.modbus import ModbusDevice
from agent.simulation.registers import RegisterMap
from agent.simulation.storage import EFFICIENCY, Storage
from grid.clock import VirtualClock
from grid.errors import AddressInUseError
from tests.agent.simulation.conftest import reference_site

T = TypeVar("T")
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Client:
    """A SunSpec client whose blocking calls run beside the server's loop."""

    def __init__(self, port: int) -> None:
        self._device = SunSpecModbusClientDeviceTCP(1, ipaddr="127.0.0.1", ipport=port, timeout=5)

    async def scan(self) -> list[int]:
        await asyncio.to_thread(self._device.scan)
        await asyncio.to_thread(self._device.connect)
        return [model.model_id for model in self._device.model_list]

    async def read(self, model: int) -> dict[str, Any]:
        block = self._device.models[model][0]
        await asyncio.to_thread(block.read)
        values: dict[str, Any] = block.get_dict(computed=True)
        return values

    async def write(self, model: int, **values: float) -> None:
        block = self._device.models[model][0]
        for name, value in values.items():
            block.points[name].cvalue = value
        await asyncio.to_thread(block.write)

    def close(self) -> None:
        self._device.disconnect()


@asynccontextmanager
async def served(
    registers: RegisterMap, written: Callable[[set[tuple[int, str]]], None] | None = None
) -> AsyncIterator[Client]:
    async with ModbusDevice(registers, written) as server:
        client = Client(server.port)
        try:
            yield client
        finally:
            client.close()


def let(battery: Battery, seconds: float) -> float:
    for _ in range(round(seconds * 10)):
        battery.step(0.1)
    return battery.storage.power_kw


async def test_meter_shows_each_second_within_its_class() -> None:
    scenario = reference_site()
    meter = Meter(scenario)
    async with served(meter.registers) as client:
        assert await client.scan() == [1, MODEL]
        for site_kw in (130.0, 97.25, 181.0):
            meter.show(site_kw)
            shown = await client.read(MODEL)
            assert shown["W"] == pytest.approx(site_kw * 1000, rel=0.002)
            assert shown["WphA"] + shown["WphB"] + shown["WphC"] == pytest.approx(shown["W"], abs=30)
            assert shown["VA"] == pytest.approx(shown["W"] / 0.98, abs=20)
            assert shown["A"] * 277 * 3 == pytest.approx(shown["VA"], rel=0.01)
            assert (shown["PF"], shown["Hz"], shown["PhV"]) == (98.0, 60.0, 277.0)
        assert shown["TotWhImp"] == pytest.approx((130.0 + 97.25 + 181.0) / 3.6, rel=0.01)


async def test_meter_refuses_writes_and_shows_export_as_negative() -> None:
    meter = Meter(reference_site())
    meter.show(-20.0)
    async with served(meter.registers) as client:
        await client.scan()
        assert (await client.read(MODEL))["W"] == pytest.approx(-20_000, rel=0.002)
        with pytest.raises(ModbusClientException):
            await client.write(MODEL, W=0)
        assert (await client.read(MODEL))["W"] == pytest.approx(-20_000, rel=0.002)


async def test_battery_follows_a_set_point_and_says_what_it_is() -> None:
    scenario = reference_site()
    clock = VirtualClock(START)
    battery = Battery(scenario, clock)
    rating_w = scenario.battery_kw * 1000
    async with served(battery.registers, battery.written) as client:
        assert await client.scan() == [1, MEASUREMENT, RATINGS, CONTROL, CAPACITY]
        assert (await client.read(RATINGS))["WDisChaRteMaxRtg"] == pytest.approx(rating_w, abs=1)
        assert (await client.read(CAPACITY))["SoC"] == 50.0
        assert let(battery, 1) == 0.0
        await clock.advance(3)
        await client.write(CONTROL, WSetEna=1, WSet=4000)
        assert let(battery, 2) == pytest.approx(4.0)
        assert (await client.read(MEASUREMENT))["W"] == 4000
        await client.write(CONTROL, WSet=-6000)
        assert let(battery, 3) == pytest.approx(-6.0)
        await client.write(CONTROL, WSetMod=0, WSetPct=50)
        assert let(battery, 3) == pytest.approx(scenario.battery_kw / 2)
        with pytest.raises(ModbusClientException):
            await client.write(RATINGS, WMax=1)
    assert battery.first_write(START) == START + timedelta(seconds=3)
    assert battery.first_write(START + timedelta(seconds=4)) is None


async def test_dead_man_reverts_when_nobody_renews() -> None:
    battery = Battery(reference_site(), VirtualClock(START))
    async with served(battery.registers, battery.written) as client:
        await client.scan()
        await client.write(CONTROL, WSetRvrt=-1000, WSetEnaRvrt=1, WSetRvrtTms=6)
        await client.write(CONTROL, WSetEna=1, WSet=5000)
        assert (await client.read(CONTROL))["WSetRvrtRem"] == 6
        assert let(battery, 4) == pytest.approx(5.0)
        assert (await client.read(CONTROL))["WSetRvrtRem"] == 2
        await client.write(CONTROL, WSet=5000)
        assert let(battery, 5) == pytest.approx(5.0)
        assert let(battery, 3) == pytest.approx(-1.0)
        control = await client.read(CONTROL)
        assert (control["WSet"], control["WSetEna"], control["WSetRvrtRem"]) == (-1000, 1, 0)
        await client.write(CONTROL, WSetEnaRvrt=0, WSet=5000)
        assert let(battery, 5) == pytest.approx(5.0)
        assert let(battery, 3) == 0.0
        assert (await client.read(CONTROL))["WSetEna"] == 0


async def test_a_vendor_may_count_discharge_negative() -> None:
    battery = Battery(reference_site(battery={"discharge_positive": False}), VirtualClock(START))
    async with served(battery.registers, battery.written) as client:
        await client.scan()
        await client.write(CONTROL, WSetEna=1, WSet=-3000)
        assert let(battery, 2) == pytest.approx(3.0)
        assert (await client.read(MEASUREMENT))["W"] == -3000


async def test_a_taken_port_is_an_error_of_one_line() -> None:
    meter = Meter(reference_site())
    async with ModbusDevice(meter.registers) as first:
        with pytest.raises(AddressInUseError, match=f":{first.port}: stop what uses it") as refused:
            async with ModbusDevice(meter.registers, port=first.port):
                pass
    assert "\n" not in str(refused.value)


def test_storage_keeps_its_bounds_and_its_energy() -> None:
    storage = Storage(rating_kw=10.0, capacity_kwh=2.5, soc=0.5)
    storage.step(10.0, slew_kw_per_s=5.0, dt_s=1.0)
    assert storage.power_kw == 5.0
    delivered_kwh = 5.0 / 3600
    for _ in range(3600):
        storage.step(99.0, slew_kw_per_s=5.0, dt_s=1.0)
        assert storage.power_kw <= 10.0
        delivered_kwh += storage.power_kw / 3600
    assert delivered_kwh == pytest.approx(1.25 * EFFICIENCY)
    assert storage.energy_kwh == pytest.approx(0.0, abs=1e-9)
    absorbed_kwh = 0.0
    for _ in range(3600):
        storage.step(-99.0, slew_kw_per_s=100.0, dt_s=1.0)
        absorbed_kwh -= storage.power_kw / 3600
    assert absorbed_kwh * EFFICIENCY == pytest.approx(2.5)
    assert storage.soc == pytest.approx(1.0)
