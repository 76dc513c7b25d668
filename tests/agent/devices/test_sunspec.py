"""Meter and battery over real Modbus TCP, against a plant process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import tomli_w

from agent.battery.sunspec import CONTROL, SunSpecBattery
from agent.errors import BatteryError, MeterError
from agent.meter.sunspec import SunSpecMeter
from agent.modbus import SunSpecDevice
from aggregator.demo.children import Child, Children, free_port
from grid.clock import SystemClock

CLOCK = SystemClock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("plant")
    (folder / "config.toml").write_text(tomli_w.dumps({"site_id": "a", "seed": 1, "state_dir": "state", "gpus": 32}))
    async with Children(CLOCK) as children:
        yield await children.start(Child(name="plant", words=("plant", "run"), folder=folder))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_meter_gives_the_last_whole_second(plant: dict[str, Any]) -> None:
    meter = SunSpecMeter("127.0.0.1", plant["meter_port"], 1, clock=CLOCK)
    await until_it_shows_power(meter)
    reading = await meter.read()
    assert 8 < reading.site_kw < 30
    assert reading.covers.duration_s == 1
    assert reading.covers.end <= CLOCK.now()
    await meter.close()


async def until_it_shows_power(meter: SunSpecMeter) -> None:
    """A meter that has just started has no whole second to show."""
    async with CLOCK.timeout(5):
        while True:
            try:
                await meter.read()
            except MeterError:
                await CLOCK.sleep(0.05)
            else:
                return


@pytest.mark.asyncio(loop_scope="module")
async def test_the_battery_holds_a_set_point_behind_its_dead_man(plant: dict[str, Any]) -> None:
    battery = SunSpecBattery("127.0.0.1", plant["battery_port"], 1)
    watcher = SunSpecDevice("127.0.0.1", plant["battery_port"], 1)
    await battery.arm()
    await battery.set_power(1.0)
    async with CLOCK.timeout(5):
        while (await battery.read()).power_kw != pytest.approx(1.0):
            await CLOCK.sleep(0.05)
    armed = await watcher.call(lambda device: _control(device))
    assert armed == {"WSetEna": 1, "WSetEnaRvrt": 0, "WSetRvrtTms": 10, "running": True}
    await battery.release()
    assert (await watcher.call(lambda device: _control(device)))["WSetEna"] == 0
    await asyncio.gather(battery.close(), watcher.close())


def _control(device: Any) -> dict[str, Any]:
    control = device.models[CONTROL][0]
    control.read()
    values = {name: control.points[name].value for name in ("WSetEna", "WSetEnaRvrt", "WSetRvrtTms")}
    return {**values, "running": 0 < control.WSetRvrtRem.value <= 10}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_other_sign_convention_turns_power_around(plant: dict[str, Any]) -> None:
    battery = SunSpecBattery("127.0.0.1", plant["battery_port"], 1, discharge_positive=False)
    await battery.arm()
    await battery.set_power(1.0)
    straight = SunSpecBattery("127.0.0.1", plant["battery_port"], 1)
    async with CLOCK.timeout(5):
        while (await straight.read()).power_kw != pytest.approx(-1.0):
            await CLOCK.sleep(0.05)
    await battery.release()
    await asyncio.gather(battery.close(), straight.close())


async def test_a_device_that_does_not_answer_says_what_to_check() -> None:
    port = free_port()
    meter, battery = SunSpecMeter("127.0.0.1", port, 1, clock=CLOCK), SunSpecBattery("127.0.0.1", port, 1)
    with pytest.raises(MeterError, match=r"check its address in \[meter\]"):
        await meter.read()
    with pytest.raises(BatteryError, match=r"check its address in \[battery\]"):
        await battery.read()
    await asyncio.gather(meter.close(), battery.close())
