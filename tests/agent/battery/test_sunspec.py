"""The SunSpec battery against the simulated site's own Modbus server: what it may do, and what stops it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.battery.device import REVERT_AFTER_S
from agent.battery.sunspec import SunSpecBattery
from agent.errors import BatteryError, BatteryUnsafeError
from agent.simulation.battery import CONTROL, Battery
from agent.simulation.modbus import ModbusDevice
from agent.simulation.registers import RegisterMap, common_model
from grid.clock import VirtualClock
from tests.agent.simulation.conftest import reference_site
from tests.agent.sockets import closed_port

REVERSION = ("WSetRvrt", "WSetEnaRvrt", "WSetRvrtTms")
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def simulated(**battery: Any) -> Battery:
    return Battery(reference_site(battery=battery), VirtualClock(START))


@asynccontextmanager
async def client(port: int, *, discharge_positive: bool = True) -> AsyncIterator[SunSpecBattery]:
    battery = SunSpecBattery("127.0.0.1", port, 1, discharge_positive=discharge_positive)
    try:
        yield battery
    finally:
        await battery.close()


@asynccontextmanager
async def served(plant: Battery, *, discharge_positive: bool = True) -> AsyncIterator[SunSpecBattery]:
    async with (
        ModbusDevice(plant.registers, plant.written) as server,
        client(server.port, discharge_positive=discharge_positive) as battery,
    ):
        yield battery


def let(plant: Battery, seconds: float) -> float:
    """Let time go by at the plant; returns its true power in kW."""
    for _ in range(round(seconds * 10)):
        plant.step(0.1)
    return plant.storage.power_kw


def control(plant: Battery, *names: str) -> dict[str, float]:
    return {name: plant.registers.get(CONTROL, name) for name in names}


async def test_it_says_what_it_is_and_what_it_holds() -> None:
    plant = simulated(power_kw=20.0, minutes=15.0, initial_soc=0.75)
    async with served(plant) as battery:
        reading = await battery.read()
        assert (reading.power_kw, reading.soc_pct, reading.energy_kwh) == (0.0, 75.0, 5.0)
        assert (reading.max_discharge_kw, reading.max_charge_kw) == (20.0, 20.0)
        plant.registers.put(702, "WDisChaRteMax", 8_000)
        assert (await battery.read()).max_discharge_kw == 8.0


@pytest.mark.parametrize("discharge_positive", [True, False])
async def test_it_holds_a_set_point_of_either_sign(discharge_positive: bool) -> None:
    plant = simulated(power_kw=20.0, discharge_positive=discharge_positive)
    async with served(plant, discharge_positive=discharge_positive) as battery:
        await battery.arm()
        for wanted_kw in (4.321, -6.0, 0.0):
            await battery.set_power(wanted_kw)
            assert let(plant, 2) == pytest.approx(wanted_kw)
            assert (await battery.read()).power_kw == pytest.approx(wanted_kw)


async def test_a_set_point_not_renewed_ends_by_the_dead_man() -> None:
    plant = simulated(power_kw=20.0)
    async with served(plant) as battery:
        await battery.arm()
        assert control(plant, *REVERSION) == {"WSetRvrt": 0, "WSetEnaRvrt": 0, "WSetRvrtTms": REVERT_AFTER_S}
        await battery.set_power(5.0)
        for _ in range(3):
            assert let(plant, REVERT_AFTER_S - 1) == pytest.approx(5.0)
            await battery.set_power(5.0)
    assert let(plant, REVERT_AFTER_S - 0.5) == pytest.approx(5.0)
    assert let(plant, 1.5) == 0.0
    assert control(plant, "WSetEna") == {"WSetEna": 0}


async def test_a_set_point_after_the_dead_man_struck_takes_hold_at_once() -> None:
    plant = simulated(power_kw=20.0)
    async with served(plant) as battery:
        await battery.arm()
        await battery.set_power(5.0)
        assert let(plant, REVERT_AFTER_S + 2) == 0.0
        await battery.set_power(5.0)
        assert let(plant, 2) == pytest.approx(5.0)


async def test_a_set_point_in_percent_that_somebody_left_is_overruled() -> None:
    plant = simulated(power_kw=20.0)
    for name, value in (("WSetEna", 1), ("WSetMod", 0), ("WSetPct", 100)):
        plant.registers.put(CONTROL, name, value)
    async with served(plant) as battery:
        await battery.arm()
        await battery.set_power(3.0)
        assert let(plant, 2) == pytest.approx(3.0)


async def test_release_gives_it_back_once() -> None:
    plant = simulated(power_kw=20.0)
    async with served(plant) as battery:
        await battery.arm()
        await battery.set_power(5.0)
        await battery.release()
        assert let(plant, 2) == 0.0
        plant.registers.put(CONTROL, "WSet", 2_000)
        plant.registers.put(CONTROL, "WSetEna", 1)
        await battery.release()
        assert let(plant, 2) == pytest.approx(2.0), "its own controller has it now"


async def test_a_set_point_that_a_process_before_this_one_left_is_released() -> None:
    plant = simulated(power_kw=20.0)
    plant.registers.put(CONTROL, "WSet", 5_000)
    plant.registers.put(CONTROL, "WSetEna", 1)
    async with served(plant) as battery:
        await battery.release()
        assert let(plant, 2) == 0.0


async def test_no_set_point_without_a_dead_man() -> None:
    plant = simulated()
    async with served(plant) as battery:
        with pytest.raises(BatteryError, match="not armed"):
            await battery.set_power(5.0)
    assert plant.first_write(START) is None


def control_only(absent: str | None = None, read_only: str | None = None) -> RegisterMap:
    values: Mapping[str, int] = {"WSetEna": 0, "WSetMod": 1, "WSet": 0, "WSet_SF": 0, **dict.fromkeys(REVERSION, 60)}
    return RegisterMap(
        {1: common_model("Battery", "a"), CONTROL: {name: v for name, v in values.items() if name != absent}},
        [(CONTROL, name) for name in (*REVERSION, "WSetEna", "WSetMod", "WSet") if name != read_only],
    )


def nothing(_: set[tuple[int, str]]) -> None:
    """A device that does as it is told."""


@pytest.mark.parametrize("name", REVERSION)
@pytest.mark.parametrize("fault", ["absent", "read_only", "forgotten"])
async def test_a_battery_that_takes_no_dead_man_is_never_used(name: str, fault: str) -> None:
    registers = control_only(**({} if fault == "forgotten" else {fault: name}))

    def forget(_: set[tuple[int, str]]) -> None:
        registers.put(CONTROL, name, 60)

    written: Callable[[set[tuple[int, str]]], None] = forget if fault == "forgotten" else nothing
    async with ModbusDevice(registers, written) as server, client(server.port) as battery:
        with pytest.raises(BatteryUnsafeError, match=f"{name}.* is not used"):
            await battery.arm()
        with pytest.raises(BatteryError, match="not armed"):
            await battery.set_power(1.0)
    assert registers.get(CONTROL, "WSetEna") == 0


async def test_a_battery_without_controls_is_unsafe_and_without_measurement_unreadable() -> None:
    async with (
        ModbusDevice(RegisterMap({1: common_model("Something", "a")})) as server,
        client(server.port) as battery,
    ):
        with pytest.raises(BatteryUnsafeError, match="model 704"):
            await battery.arm()
        with pytest.raises(BatteryError, match="model 701"):
            await battery.read()


async def test_a_battery_without_a_state_of_charge_is_unreadable() -> None:
    ratings = {"WDisChaRteMaxRtg": 20, "WChaRteMaxRtg": 20, "W_SF": 3}
    capacity = {"WHRtg": 5, "WH_SF": 3, "Pct_SF": 0}
    registers = RegisterMap({1: common_model("Battery", "a"), 701: {"W": 0, "W_SF": 0}, 702: ratings, 713: capacity})
    async with ModbusDevice(registers) as server, client(server.port) as battery:
        with pytest.raises(BatteryError, match="shows no SoC"):
            await battery.read()
        registers.put(713, "SoC", 40)
        reading = await battery.read()
        assert (reading.soc_pct, reading.energy_kwh, reading.max_charge_kw) == (40.0, 5.0, 20.0), "ratings will do"


async def test_a_restarted_battery_is_noticed_and_armed_again() -> None:
    plant, restarted = simulated(power_kw=20.0), simulated(power_kw=20.0)
    async with ModbusDevice(plant.registers, plant.written) as first, client(first.port) as battery:
        await battery.arm()
        await battery.set_power(5.0)
        await first.__aexit__()
        async with ModbusDevice(restarted.registers, restarted.written, port=first.port):
            with pytest.raises(BatteryError, match=r"check its address in \[battery\]"):
                await battery.set_power(5.0)
            with pytest.raises(BatteryError, match="not armed"):
                await battery.set_power(5.0)
            assert let(restarted, 2) == 0.0
            assert (await battery.read()).power_kw == 0.0
            await battery.arm()
            await battery.set_power(5.0)
            assert let(restarted, 2) == pytest.approx(5.0)
            assert let(restarted, REVERT_AFTER_S) == 0.0


async def test_a_battery_restarted_behind_a_gateway_that_kept_the_connection_is_armed_again() -> None:
    plant = simulated(power_kw=20.0)
    async with served(plant) as battery:
        await battery.arm()
        await battery.set_power(5.0)
        for name in (*REVERSION, "WSetEna", "WSet"):
            plant.registers.put(CONTROL, name, 0)
        with pytest.raises(BatteryError, match=r"WSetRvrtTms 0.*taken back"):
            await battery.set_power(5.0)
        assert control(plant, "WSetEna") == {"WSetEna": 0}
        with pytest.raises(BatteryError, match="not armed"):
            await battery.set_power(5.0)
        await battery.arm()
        await battery.set_power(5.0)
        assert let(plant, REVERT_AFTER_S + 1) == 0.0


@pytest.mark.parametrize(("name", "value"), [("WSetEna", 0), ("WSetRvrtRem", 0), ("WSetRvrtTms", 600)])
async def test_a_set_point_without_its_dead_man_running_is_taken_back(name: str, value: int) -> None:
    registers = control_only()
    registers.put(CONTROL, "WSetRvrtRem", REVERT_AFTER_S)

    def spoil(points: set[tuple[int, str]]) -> None:
        if (CONTROL, "WSet") in points:
            registers.put(CONTROL, name, value)

    async with ModbusDevice(registers, spoil) as server, client(server.port) as battery:
        await battery.arm()
        with pytest.raises(BatteryError, match=f"{name} {value}.*taken back"):
            await battery.set_power(1.0)
    assert registers.get(CONTROL, "WSetEna") == 0


async def test_a_battery_that_does_not_show_the_time_left_is_used() -> None:
    async with ModbusDevice(control_only(), nothing) as server, client(server.port) as battery:
        await battery.arm()
        await battery.set_power(1.0)


async def test_a_closed_port_is_one_clear_line() -> None:
    port = closed_port()
    async with client(port) as battery:
        for call in (battery.read, battery.arm, battery.release):
            with pytest.raises(BatteryError, match=rf"^battery 127.0.0.1:{port} unit 1: .*[Rr]efused.*network$"):
                await call()
