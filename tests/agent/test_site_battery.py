"""A battery that changes in the middle of an event, behind a real Modbus server."""

from __future__ import annotations

from pathlib import Path

from agent.battery.sunspec import SunSpecBattery
from agent.simulation.battery import BANK, CONTROL, MASTER, BankBattery, Battery
from agent.simulation.modbus import ModbusDevice
from agent.site import SiteAgent
from grid.clock import VirtualClock
from tests.agent.simulation.conftest import reference_site
from tests.agent.site_bench import SITE_KW, START, Bench


async def test_a_battery_that_comes_back_without_a_dead_man_is_released_before_it_is_dropped(tmp_path: Path) -> None:
    plant = Battery(reference_site(battery={"power_kw": 2.0}), VirtualClock(START))

    def forget_the_dead_man(_: set[tuple[int, str]]) -> None:
        plant.registers.put(CONTROL, "WSetRvrtTms", 0)

    bench = Bench(tmp_path)
    async with ModbusDevice(plant.registers, plant.written) as first:
        agent = bench.agent_of(bench.node, SunSpecBattery("127.0.0.1", first.port, 1))
        agent.take_budget(bench.budget(SITE_KW * 0.9))
        await tick(bench, agent, 3)
        assert plant.registers.get(CONTROL, "WSetEna") == 1
        await first.__aexit__()
        await tick(bench, agent, 1)
        async with ModbusDevice(plant.registers, forget_the_dead_man, port=first.port):
            await tick(bench, agent, 2)
    assert plant.registers.get(CONTROL, "WSetEna") == 0
    assert any("it is not used" in alarm for alarm in agent.seen.alarms)
    bench.close()


async def test_each_tick_beats_and_tells_of_alarms_and_trips(tmp_path: Path) -> None:
    plant = BankBattery(reference_site(battery={"power_kw": 2.0}), VirtualClock(START))
    bench = Bench(tmp_path)
    async with ModbusDevice(plant.registers, plant.written) as server:
        battery = SunSpecBattery("127.0.0.1", server.port, 1)
        agent = bench.agent_of(bench.node, battery)
        await tick(bench, agent, 3)
        assert plant.registers.get(MASTER, "ControllerHb") == 3
        assert not agent.seen.alarms
        plant.registers.put(BANK, "Evt1", 1 << 1)
        plant.trip()
        await tick(bench, agent, 1)
        assert agent.seen.alarms == (
            "battery: fault (701 InvSt)",
            "battery: fault (802 State)",
            "battery: OVER_TEMP_ALARM (802 Evt1)",
        )
        plant.reset()
        plant.registers.put(BANK, "Evt1", 0)
        await tick(bench, agent, 1)
        assert not agent.seen.alarms
        await battery.close()
    bench.close()


async def tick(bench: Bench, agent: SiteAgent, times: int) -> None:
    for _ in range(times):
        await bench.clock.advance(1)
        await agent.tick(link_lost=False)
