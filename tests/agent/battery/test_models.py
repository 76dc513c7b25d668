"""Batteries that offer more than the four models, or only the legacy ones, over real Modbus TCP."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.battery.device import REVERT_AFTER_S
from agent.battery.heartbeat import STILL_AFTER, Heartbeat
from agent.battery.sunspec import SunSpecBattery
from agent.errors import BatteryError, BatteryUnsafeError
from agent.modbus import SunSpecDevice
from agent.simulation.basic_battery import MEASUREMENT as INVERTER
from agent.simulation.basic_battery import NAMEPLATE, STORAGE, BasicBattery
from agent.simulation.battery import BANK, CAPACITY, CONTROL, MASTER, MEASUREMENT, RATINGS, BankBattery, Battery
from agent.simulation.modbus import ModbusDevice
from agent.simulation.registers import RegisterMap, common_model
from grid.clock import VirtualClock
from tests.agent.simulation.conftest import reference_site

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def bank(**battery: Any) -> BankBattery:
    return BankBattery(reference_site(battery={"power_kw": 20.0, **battery}), VirtualClock(START))


def basic(**battery: Any) -> BasicBattery:
    return BasicBattery(reference_site(battery={"power_kw": 20.0, **battery}))


@asynccontextmanager
async def served(
    plant: Battery | BasicBattery, *, discharge_positive: bool = True
) -> AsyncIterator[tuple[SunSpecBattery, ModbusDevice]]:
    async with ModbusDevice(plant.registers, plant.written) as server:
        battery = SunSpecBattery("127.0.0.1", server.port, 1, discharge_positive=discharge_positive)
        try:
            yield battery, server
        finally:
            await battery.close()


def let(plant: Battery | BasicBattery, seconds: float) -> float:
    for _ in range(round(seconds * 10)):
        plant.step(0.1)
    return plant.storage.power_kw


# --- limits ---------------------------------------------------------------------------------------------------


async def test_the_tightest_limit_of_inverter_and_bank_counts() -> None:
    plant = bank(minutes=15.0)
    async with served(plant) as (battery, _):
        reading = await battery.read()
        assert (reading.max_discharge_kw, reading.max_charge_kw) == (20.0, 20.0)
        assert (reading.soc_min_pct, reading.soc_max_pct) == (5.0, 95.0)
        plant.registers.put(BANK, "WDisChaRteMax", 7_000)
        plant.registers.put(RATINGS, "WChaRteMax", 6_000)
        plant.registers.put(BANK, "SoCRsvMin", 20.0)
        reading = await battery.read()
        assert (reading.max_discharge_kw, reading.max_charge_kw, reading.soc_min_pct) == (7.0, 6.0, 20.0)


async def test_an_aged_battery_holds_less_when_full() -> None:
    plant = bank(minutes=15.0)
    async with served(plant) as (battery, _):
        assert (await battery.read()).energy_kwh == 5.0
        plant.registers.put(CAPACITY, "SoH", 80.0)
        reading = await battery.read()
        assert (reading.soh_pct, reading.energy_kwh) == (80.0, 4.0)


async def test_its_ramp_is_told_in_kilowatts() -> None:
    plant = bank()
    async with served(plant) as (battery, _):
        plant.registers.put(CONTROL, "WRmp", 10)
        assert (await battery.read()).slew_kw_per_s == pytest.approx(2.0)
        plant.registers.put(CONTROL, "WRmp", 0)
        assert (await battery.read()).slew_kw_per_s == math.inf


async def test_a_limit_that_somebody_set_on_its_output_binds_while_it_is_enabled() -> None:
    plant = bank()
    async with served(plant) as (battery, _):
        plant.registers.put(CONTROL, "WMaxLimPct", 40.0)
        assert (await battery.read()).max_discharge_kw == 20.0
        plant.registers.put(CONTROL, "WMaxLimPctEna", 1)
        reading = await battery.read()
        assert (reading.max_discharge_kw, reading.max_charge_kw) == (8.0, 20.0)


# --- alarms and trips -----------------------------------------------------------------------------------------


async def test_alarm_bits_are_named() -> None:
    plant = bank()
    async with served(plant) as (battery, _):
        assert (await battery.read()).alarms == ()
        plant.registers.put(MEASUREMENT, "Alrm", 1 << 7)
        plant.registers.put(BANK, "Evt1", (1 << 2) | (1 << 13))
        plant.registers.put(BANK, "EvtVnd1", 1 << 4)
        plant.registers.put(CAPACITY, "Sta", 1)
        assert (await battery.read()).alarms == (
            "OVER_TEMP (701 Alrm)",
            "warning (713 Sta)",
            "OVER_TEMP_WARNING (802 Evt1)",
            "UNDER_SOC_MIN_ALARM (802 Evt1)",
            "bit 4 (802 EvtVnd1)",
        )


async def test_a_tripped_battery_offers_nothing_until_it_is_back() -> None:
    plant = bank()
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
        assert let(plant, 2) == pytest.approx(5.0)
        plant.trip()
        assert let(plant, 1) == 0.0
        reading = await battery.read()
        assert (reading.power_kw, reading.max_discharge_kw, reading.max_charge_kw) == (0.0, 0.0, 0.0)
        assert reading.out_of_service == ("fault (701 InvSt)", "fault (802 State)")
        plant.reset()
        reading = await battery.read()
        assert (reading.max_discharge_kw, reading.out_of_service) == (20.0, ())


@pytest.mark.parametrize(
    ("model", "name", "value", "why"),
    [
        (MEASUREMENT, "ConnSt", 0, "disconnected (701 ConnSt)"),
        (CAPACITY, "Sta", 2, "error (713 Sta)"),
        (MASTER, "LocRemCtl", 1, "under local control (715 LocRemCtl)"),
        (BANK, "LocRemCtl", 1, "under local control (802 LocRemCtl)"),
        (BANK, "State", 1, "disconnected (802 State)"),
    ],
)
async def test_a_battery_out_of_service_says_why(model: int, name: str, value: int, why: str) -> None:
    plant = bank()
    plant.registers.put(model, name, value)
    async with served(plant) as (battery, _):
        reading = await battery.read()
        assert (reading.out_of_service, reading.max_charge_kw) == ((why,), 0.0)


# --- heartbeat ------------------------------------------------------------------------------------------------


async def test_each_beat_counts_up_where_there_is_a_heartbeat() -> None:
    plant = bank()
    async with served(plant) as (battery, _):
        for count in (1, 2, 3):
            await battery.beat()
            assert plant.registers.get(MASTER, "ControllerHb") == plant.registers.get(BANK, "CtrlHb") == count
    without = Battery(reference_site(), VirtualClock(START))
    async with served(without) as (battery, _):
        await battery.beat()
        assert (await battery.read()).alarms == ()


async def test_a_heartbeat_that_stands_still_is_an_alarm() -> None:
    plant = bank()

    async def looks(battery: SunSpecBattery, count: int) -> tuple[str, ...]:
        for _ in range(count):
            let(plant, 1)
            plant.registers.put(BANK, "Hb", plant.registers.get(BANK, "Hb") + 1)
            reading = await battery.read()
        return reading.alarms

    async with served(plant) as (battery, _):
        assert await looks(battery, 3 * STILL_AFTER) == ()
        plant.beats = False
        assert await looks(battery, STILL_AFTER - 1) == ()
        still = "its heartbeat stands still (715 DERHb): its controller may hang"
        assert await looks(battery, 1) == (still,)
        plant.beats = True
        assert await looks(battery, 1) == ()


async def test_a_heartbeat_that_is_refused_is_an_alarm_and_no_failure() -> None:
    registers = RegisterMap({1: common_model("Battery", "a"), MASTER: {"DERHb": 0, "ControllerHb": 0}})
    async with ModbusDevice(registers) as server:
        device, heartbeat = SunSpecDevice("127.0.0.1", server.port, 1), Heartbeat()
        await device.call(heartbeat.beat)
        await device.close()
    assert heartbeat.alarms() == ("it takes no heartbeat (715 ControllerHb): it may stop by itself",)


# --- faults of the line ---------------------------------------------------------------------------------------


async def test_a_dropped_connection_is_armed_anew() -> None:
    plant = bank()
    async with served(plant) as (battery, server):
        await battery.arm()
        await battery.set_power(5.0)
        server.drop()
        with pytest.raises(BatteryError):
            await battery.set_power(5.0)
        with pytest.raises(BatteryError, match="not armed"):
            await battery.set_power(5.0)
        await battery.arm()
        await battery.set_power(6.0)
        assert let(plant, 2) == pytest.approx(6.0)


async def test_a_controller_that_hangs_does_not_pass_for_one_that_obeys() -> None:
    plant = bank()
    async with served(plant) as (battery, server):
        await battery.arm()
        server.freeze()
        with pytest.raises(BatteryError, match=r"WSetEna 0.*taken back"):
            await battery.set_power(5.0)
        server.thaw()
        await battery.arm()
        await battery.set_power(5.0)
        assert let(plant, 2) == pytest.approx(5.0)


async def test_a_lost_dead_man_is_noticed_at_the_next_set_point() -> None:
    plant = bank()
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
        plant.forget_dead_man()
        with pytest.raises(BatteryError, match=r"WSetRvrtTms 0.*taken back"):
            await battery.set_power(5.0)
        assert let(plant, 1) == 0.0


async def test_an_inverted_sign_shows_in_what_it_does() -> None:
    plant = bank(discharge_positive=False)
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
        assert let(plant, 2) == pytest.approx(-5.0), "commissioning has to find it: the battery reads back as told"
        assert (await battery.read()).power_kw == pytest.approx(5.0)


# --- legacy ---------------------------------------------------------------------------------------------------


async def test_a_legacy_battery_says_what_it_is() -> None:
    plant = basic(minutes=15.0, initial_soc=0.75)
    async with served(plant) as (battery, _):
        reading = await battery.read()
        assert (reading.power_kw, reading.soc_pct, reading.energy_kwh) == (0.0, 75.0, 5.0)
        assert (reading.max_discharge_kw, reading.max_charge_kw, reading.slew_kw_per_s) == (20.0, 20.0, 10.0)
        plant.registers.put(STORAGE, "ChaGriSet", 0)
        assert (await battery.read()).max_charge_kw == 0.0, "it charges from its own PV only"
        plant.registers.put(INVERTER, "St", 7)
        assert (await battery.read()).out_of_service == ("fault (103 St)",)


@pytest.mark.parametrize("discharge_positive", [True, False])
async def test_a_legacy_battery_holds_a_set_point_of_either_sign(discharge_positive: bool) -> None:
    plant = basic(discharge_positive=discharge_positive)
    async with served(plant, discharge_positive=discharge_positive) as (battery, _):
        await battery.arm()
        for wanted_kw in (4.32, -6.0, 0.0):
            await battery.set_power(wanted_kw)
            assert let(plant, 2) == pytest.approx(wanted_kw, abs=0.002)
            assert (await battery.read()).power_kw == pytest.approx(wanted_kw, abs=0.002)


async def test_ratings_of_both_directions_are_kept_apart() -> None:
    plant = basic()
    plant.registers.put(NAMEPLATE, "MaxDisChaRte", 10_000)
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
    assert plant.registers.get(STORAGE, "OutWRte") == pytest.approx(50.0), "of 10 kW"
    assert plant.registers.get(STORAGE, "InWRte") == pytest.approx(-25.0), "of 20 kW"


async def test_a_legacy_set_point_not_renewed_ends_by_the_dead_man() -> None:
    plant = basic()
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
        for _ in range(3):
            assert let(plant, REVERT_AFTER_S - 1) == pytest.approx(5.0)
            await battery.set_power(5.0)
    assert let(plant, REVERT_AFTER_S - 0.5) == pytest.approx(5.0)
    assert let(plant, 1.5) == 0.0
    assert plant.registers.get(STORAGE, "StorCtl_Mod") == 0


async def test_a_legacy_dead_man_that_was_lost_is_set_again_by_the_next_set_point() -> None:
    plant = basic()
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
        plant.forget_dead_man()
        await battery.set_power(5.0)
    assert let(plant, REVERT_AFTER_S + 1) == 0.0


async def test_a_legacy_battery_that_takes_no_dead_man_is_never_used() -> None:
    plant = basic()

    def written(_: set[tuple[int, str]]) -> None:
        plant.forget_dead_man()

    async with ModbusDevice(plant.registers, written) as server:
        battery = SunSpecBattery("127.0.0.1", server.port, 1)
        with pytest.raises(BatteryUnsafeError, match="InOutWRte_RvrtTms 0 for 10: it is not used"):
            await battery.arm()
        await battery.close()


async def test_release_gives_a_legacy_battery_back() -> None:
    plant = basic()
    async with served(plant) as (battery, _):
        await battery.arm()
        await battery.set_power(5.0)
        assert let(plant, 2) == pytest.approx(5.0)
        await battery.release()
        assert let(plant, 1) == 0.0
