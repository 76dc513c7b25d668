"""A generator over real Modbus TCP: commanded, watched over, refused, and its hours written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import GeneratorError
from agent.generator.device import WATCHDOG_S, EngineState, GeneratorCommand
from agent.generator.journal import HoursLedger
from agent.generator.machine import Phase
from agent.generator.modbus import ModbusGenerator
from agent.generator.permits import EngineClass, Permit, Purpose
from agent.generator.unit import Demand, GeneratorStatus, GeneratorUnit
from agent.simulation.generator import Generator
from agent.simulation.modbus import ModbusDevice
from grid.clock import VirtualClock
from tests.agent.disks import read_only
from tests.agent.generator.engine import LIMITS, engine
from tests.agent.sockets import closed_port, silent_port

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PERMIT = Permit(number="VA-1", engine_class=EngineClass.NON_EMERGENCY, hours_per_year={Purpose.MARKET: 1.0})
EMERGENCY = Permit(number="VA-2", engine_class=EngineClass.EMERGENCY, hours_per_year={Purpose.TEST: 100.0})
MARKET = Demand(purpose=Purpose.MARKET, power_kw=500.0)


@asynccontextmanager
async def served(plant: Generator) -> AsyncIterator[tuple[ModbusGenerator, ModbusDevice]]:
    async with ModbusDevice(plant.registers, plant.written) as server:
        generator = ModbusGenerator("127.0.0.1", server.port, 1)
        try:
            yield generator, server
        finally:
            await generator.close()


class Bench:
    """A unit and its engine on one clock."""

    def __init__(self, folder: Path, plant: Generator, device: ModbusGenerator, permit: Permit = PERMIT) -> None:
        self.plant = plant
        self.clock = VirtualClock(NOW)
        self.ledger = HoursLedger.open(folder / "hours.sqlite", engine="g1", permit=permit.number)
        self.unit = GeneratorUnit(device=device, limits=LIMITS, permit=permit, ledger=self.ledger, clock=self.clock)

    async def seconds(self, count: int, demand: Demand | None, *, on_utility: bool = True) -> GeneratorStatus:
        for _ in range(count):
            await self.clock.advance(1)
            status = await self.unit.tick(demand, on_utility=on_utility)
            self.plant.step(1.0)
        return status


# --- the driver ---------------------------------------------------------------------------------------------------


async def test_it_is_read_and_commanded() -> None:
    plant = engine(run_s=7200)
    async with served(plant) as (generator, _):
        reading = await generator.read()
        assert (reading.state, reading.power_kw, reading.rating_kw) == (EngineState.OFF, 0.0, 1000.0)
        assert (reading.run_s, reading.remote_start, reading.alarms) == (7200, True, ())
        await generator.command(GeneratorCommand(run=True, power_kw=640.0))
        for _ in range(20):
            plant.step(1.0)
        reading = await generator.read()
        assert (reading.state, reading.power_kw) == (EngineState.LOADED, 640.0)
        plant.trip()
        assert (await generator.read()).alarms == ("low oil pressure",)


async def test_a_command_not_renewed_ends_by_the_watchdog() -> None:
    plant = engine()
    async with served(plant) as (generator, _):
        await generator.command(GeneratorCommand(run=True, power_kw=500.0))
        for _ in range(WATCHDOG_S):
            plant.step(1.0)
    assert plant.power_kw == 500.0
    for _ in range(60):
        plant.step(1.0)
    assert (plant.power_kw, plant.state) == (0.0, EngineState.OFF)


async def test_one_that_takes_no_watchdog_is_told_to_stop() -> None:
    plant = engine()

    def forget(_: set[tuple[int, str]]) -> None:
        plant.registers.put("Watchdog", 0)

    async with ModbusDevice(plant.registers, forget) as server:
        generator = ModbusGenerator("127.0.0.1", server.port, 1)
        with pytest.raises(GeneratorError, match="did not take its command"):
            await generator.command(GeneratorCommand(run=True, power_kw=500.0))
        await generator.close()
    assert plant.registers.get("Run") == 0


async def test_another_map_is_refused_and_named() -> None:
    plant = engine()
    plant.registers.put("MapVersion", 2)
    async with served(plant) as (generator, _):
        with pytest.raises(
            GeneratorError, match=r"no register map 0x4e47 version 1 but 0x4e47 version 2.*\[generator\]"
        ):
            await generator.read()


async def test_what_does_not_answer_is_one_clear_line() -> None:
    port = closed_port()
    refused = ModbusGenerator("127.0.0.1", port, 1)
    with pytest.raises(GeneratorError, match=rf"^generator 127.0.0.1:{port} unit 1: .*network$"):
        await refused.read()
    await refused.close()
    with silent_port() as silent:
        deaf = ModbusGenerator("127.0.0.1", silent.port, 1)
        with pytest.raises(GeneratorError, match="generator 127"):
            await deaf.read()
        await deaf.close()


async def test_a_dropped_connection_costs_one_reading() -> None:
    plant = engine()
    async with served(plant) as (generator, server):
        await generator.read()
        server.drop()
        with pytest.raises(GeneratorError, match="check its address"):
            await generator.read()
        assert (await generator.read()).rating_kw == 1000.0


# --- the unit -----------------------------------------------------------------------------------------------------


async def test_it_serves_the_market_and_its_hours_are_the_engine_s(tmp_path: Path) -> None:
    plant = engine(run_s=500)
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        status = await bench.seconds(60, MARKET)
        assert status.reading is not None
        assert (status.phase, status.reading.power_kw, status.refused) == (Phase.MIN_UP, 500.0, "")
        await bench.seconds(200, None)
        assert bench.ledger.running_for() is None
        turned_h = (plant.registers.get("RunTime") - 500) / 3600
        assert bench.ledger.used_h(bench.clock.now()) == {Purpose.MARKET: pytest.approx(turned_h)}
        bench.ledger.close()


async def test_an_emergency_engine_is_not_started_for_the_market(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device, EMERGENCY)
        status = await bench.seconds(20, MARKET)
        assert status.refused == "permit VA-2 is for an emergency engine: it may not serve market demand response"
        assert (status.phase, plant.state) == (Phase.OFF, EngineState.OFF)
        status = await bench.seconds(20, Demand(purpose=Purpose.OUTAGE, power_kw=500.0), on_utility=False)
        assert (status.refused, plant.power_kw) == ("", 500.0)
        bench.ledger.close()


async def test_it_is_stopped_when_the_hours_run_out(tmp_path: Path) -> None:
    plant = engine(run_s=3600)
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        bench.ledger.add(Purpose.MARKET, 150, 3600, NOW - timedelta(days=30))
        status = await bench.seconds(60, MARKET)
        assert status.refused == ""
        status = await bench.seconds(180, MARKET)
        assert "VA-1 has" in status.refused
        assert plant.power_kw == 0.0
        bench.ledger.close()


async def test_a_start_needs_hours_for_its_minimum_time(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        bench.ledger.add(Purpose.MARKET, 0, 3600 - 60, NOW - timedelta(days=30))
        status = await bench.seconds(20, MARKET)
        assert "are wanted" in status.refused
        assert plant.state is EngineState.OFF
        bench.ledger.close()


@pytest.mark.parametrize(("on_utility", "purpose"), [(True, Purpose.UNASKED), (False, Purpose.OUTAGE)])
async def test_what_a_transfer_switch_started_is_written_down_too(
    tmp_path: Path, on_utility: bool, purpose: Purpose
) -> None:
    plant = engine()
    plant.bus_kw = 700.0
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(120, None, on_utility=on_utility)
        assert plant.power_kw == 700.0, "withdrawing our request does not stop what the switch asked for"
        assert bench.ledger.running_for() is purpose
        bench.ledger.close()


async def test_hours_run_while_nobody_watched_are_nobody_s(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(80, MARKET)
        await bench.seconds(150, None)
        used_h = bench.ledger.used_h(bench.clock.now())[Purpose.MARKET]
        bench.ledger.close()
        plant.bus_kw = 300.0
        for _ in range(600):
            plant.step(1.0)
        plant.bus_kw = None
        for _ in range(60):
            plant.step(1.0)
        later = Bench(tmp_path, plant, device)
        await later.seconds(1, None)
        hours = later.ledger.used_h(later.clock.now() + timedelta(hours=1))
        assert hours[Purpose.MARKET] == pytest.approx(used_h)
        assert hours[Purpose.UNASKED] == pytest.approx(620 / 3600, abs=5 / 3600)
        later.ledger.close()


async def test_one_that_does_not_answer_is_an_alarm_and_not_an_end(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, server):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(40, MARKET)
        server.drop()
        status = await bench.seconds(1, MARKET)
        assert status.reading is None
        assert "check its address" in status.alarms[0]
        status = await bench.seconds(10, MARKET)
        assert (status.phase, plant.power_kw, status.alarms) == (Phase.MIN_UP, 500.0, ())
        bench.ledger.close()


async def test_one_whose_watchdog_struck_while_it_was_away_is_started_anew(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, server):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(40, MARKET)
        await server.__aexit__()
        server.drop()
        status = await bench.seconds(WATCHDOG_S + 40, MARKET)
        assert (status.reading, plant.state) == (None, EngineState.OFF)
        async with ModbusDevice(plant.registers, plant.written, port=server.port):
            status = await bench.seconds(40, MARKET)
            assert (status.phase, plant.power_kw) == (Phase.MIN_UP, 500.0)
    bench.ledger.close()


async def test_release_lets_it_cool_down_and_stop(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(40, MARKET)
        await bench.unit.release()
        for _ in range(60):
            plant.step(1.0)
        assert plant.state is EngineState.OFF
        bench.ledger.close()


async def test_no_start_whose_hours_cannot_be_written_down(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        with read_only(bench.ledger):
            status = await bench.seconds(5, MARKET)
        assert any("takes no change" in alarm for alarm in status.alarms)
        assert (status.phase, plant.state) == (Phase.OFF, EngineState.OFF)
        await bench.seconds(30, MARKET)
        assert plant.power_kw == 500.0
        bench.ledger.close()


async def test_a_disk_that_fills_up_does_not_stop_an_engine_on_load(tmp_path: Path) -> None:
    plant = engine()
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(40, MARKET)
        with read_only(bench.ledger):
            status = await bench.seconds(100, MARKET)
        assert any("takes no change" in alarm for alarm in status.alarms)
        assert plant.power_kw == 500.0
        await bench.seconds(1, MARKET)
        turned_h = plant.registers.get("RunTime") / 3600
        assert bench.ledger.used_h(bench.clock.now()) == {Purpose.MARKET: pytest.approx(turned_h, abs=2 / 3600)}
        bench.ledger.close()


async def test_a_run_whose_outage_shows_a_moment_later_is_the_outage_s(tmp_path: Path) -> None:
    plant = engine()
    plant.bus_kw = 700.0
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(3, None)
        assert bench.ledger.running_for() is Purpose.UNASKED
        await bench.seconds(60, None, on_utility=False)
        await bench.seconds(10, None)
        assert bench.ledger.running_for() is Purpose.OUTAGE
        bench.ledger.close()


async def test_tries_to_start_are_one_run_s_hours(tmp_path: Path) -> None:
    plant = engine(failing_starts=2)
    async with served(plant) as (device, _):
        bench = Bench(tmp_path, plant, device)
        await bench.seconds(90, MARKET)
        await bench.seconds(150, None)
        turned_h = plant.registers.get("RunTime") / 3600
        assert bench.ledger.used_h(bench.clock.now()) == {Purpose.MARKET: pytest.approx(turned_h, abs=1e-6)}
        bench.ledger.close()
