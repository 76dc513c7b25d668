"""The generator's states, second by second, against a simulated engine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.generator.device import WATCHDOG_S
from agent.generator.machine import LONGEST_STEP_S, GeneratorMachine, Phase
from agent.simulation.generator import Generator
from tests.agent.generator.engine import LIMITS, engine, reading_of


class Run:
    """Machine and engine together, a second at a time."""

    def __init__(self, plant: Generator) -> None:
        self.plant = plant
        self.machine = GeneratorMachine(LIMITS)
        self.now_s = 0.0
        self.phases: list[Phase] = []
        self.commands_kw: list[float] = []

    def seconds(self, count: int, wanted_kw: float | None) -> None:
        for _ in range(count):
            self.now_s += 1.0
            command = self.machine.step(reading_of(self.plant), wanted_kw, self.now_s)
            for name, value in (
                ("Run", int(command.run)),
                ("SetPoint", round(command.power_kw * 1000)),
                ("Watchdog", WATCHDOG_S),
            ):
                self.plant.registers.put(name, value)
            self.plant.written(set())
            self.plant.step(1.0)
            if not self.phases or self.phases[-1] is not self.machine.phase:
                self.phases.append(self.machine.phase)
            self.commands_kw.append(command.power_kw)


def test_a_whole_cycle() -> None:
    run = Run(engine())
    run.seconds(5, None)
    run.seconds(100, 800.0)
    assert run.plant.power_kw == pytest.approx(800.0)
    run.seconds(100, None)
    assert run.phases == [Phase.OFF, Phase.STARTING, Phase.MIN_UP, Phase.RUNNING, Phase.COOL_DOWN, Phase.OFF]
    assert run.plant.power_kw == 0.0


def test_it_stays_up_for_its_minimum_time_at_its_minimum_load() -> None:
    run = Run(engine())
    run.seconds(20, 800.0)
    assert run.machine.phase is Phase.MIN_UP
    run.seconds(20, None)
    assert run.machine.phase is Phase.MIN_UP
    assert run.plant.power_kw == pytest.approx(300.0)
    run.seconds(60, None)
    assert run.machine.phase in (Phase.COOL_DOWN, Phase.OFF)


def test_less_than_the_minimum_load_is_the_minimum_load_and_more_than_the_rating_the_rating() -> None:
    run = Run(engine())
    run.seconds(40, 50.0)
    assert run.plant.power_kw == pytest.approx(300.0)
    run.seconds(60, 5000.0)
    assert run.plant.power_kw == pytest.approx(1000.0)


def test_load_is_put_on_in_blocks_with_a_pause_after_each_and_within_the_ramp() -> None:
    run = Run(engine())
    run.seconds(60, 1000.0)
    steps = [after - before for before, after in zip(run.commands_kw, run.commands_kw[1:], strict=False)]
    assert max(steps) == pytest.approx(LIMITS.ramp_kw_per_s)
    held = [kw for before, kw in zip(run.commands_kw, run.commands_kw[1:], strict=False) if kw == before and kw > 0]
    assert held.count(400.0) >= LIMITS.block_pause_s - 1
    assert held.count(800.0) >= LIMITS.block_pause_s - 1
    assert run.commands_kw[-1] == 1000.0


def test_the_lead_time_is_the_time_it_takes() -> None:
    run = Run(engine())
    while run.plant.power_kw < 1000.0:
        run.seconds(1, 1000.0)
    assert run.now_s == pytest.approx(LIMITS.lead_s(1000.0), abs=5.0)


def test_a_start_that_fails_is_tried_again_after_a_pause() -> None:
    run = Run(engine(failing_starts=2))
    run.seconds(100, 500.0)
    assert run.phases[:6] == [
        Phase.STARTING, Phase.WAITING, Phase.STARTING, Phase.WAITING, Phase.STARTING, Phase.MIN_UP
    ]  # fmt: skip
    assert run.plant.power_kw == pytest.approx(500.0)
    assert run.machine.failure == ""


def test_the_last_start_that_fails_is_final_until_a_person_resets_it() -> None:
    run = Run(engine(failing_starts=9))
    run.seconds(120, 500.0)
    assert run.machine.phase is Phase.FAILED
    assert run.machine.failure == "start 3 of 3 failed: overcrank"
    assert run.plant.failing_starts == 6
    run.machine.reset()
    run.plant.failing_starts = 0
    run.seconds(30, 500.0)
    assert run.plant.power_kw == pytest.approx(500.0)


def test_an_engine_that_is_never_ready_is_a_failed_start() -> None:
    run = Run(engine(crank_s=1e9))
    run.seconds(17, 500.0)
    assert run.machine.phase is Phase.WAITING
    assert run.machine.failure == "start 1 of 3 failed: not ready within 15 s"


def test_a_trip_on_load_is_final_too() -> None:
    run = Run(engine())
    run.seconds(40, 500.0)
    run.plant.trip()
    run.seconds(2, 500.0)
    assert run.machine.phase is Phase.FAILED
    assert run.machine.failure == "it stopped by itself: low oil pressure"
    run.seconds(60, 500.0)
    assert run.plant.power_kw == 0.0


def test_one_that_is_not_in_automatic_is_not_started() -> None:
    plant = engine()
    plant.in_automatic = False
    run = Run(plant)
    run.seconds(20, 500.0)
    assert run.machine.phase is Phase.OFF


def test_a_start_no_longer_wanted_is_broken_off() -> None:
    run = Run(engine())
    run.seconds(4, 500.0)
    run.seconds(2, None)
    assert run.phases == [Phase.STARTING, Phase.OFF]


def test_wanted_again_while_it_cools_down_it_takes_load_at_once() -> None:
    run = Run(engine())
    run.seconds(90, 500.0)
    run.seconds(15, None)
    assert run.machine.phase is Phase.COOL_DOWN
    run.seconds(10, 400.0)
    assert run.plant.power_kw == pytest.approx(400.0)


def test_an_engine_that_runs_already_is_taken_over_from_the_load_it_has() -> None:
    plant = engine()
    plant.bus_kw = 600.0
    for _ in range(30):
        plant.step(1.0)
    run = Run(plant)
    plant.bus_kw = None
    run.seconds(10, 600.0)
    assert run.phases == [Phase.MIN_UP]
    assert min(run.commands_kw) == pytest.approx(600.0)


def test_after_a_gap_it_goes_on_from_what_the_engine_does() -> None:
    run = Run(engine())
    run.seconds(40, 500.0)
    run.now_s += 100.0
    run.machine.lapse()
    run.seconds(1, 900.0)
    assert run.machine.phase is Phase.MIN_UP
    assert run.commands_kw[-1] <= 500.0 + LONGEST_STEP_S * LIMITS.ramp_kw_per_s


@settings(deadline=None, max_examples=60)
@given(
    wanted_kw=st.lists(st.one_of(st.none(), st.floats(0.0, 2000.0)), min_size=1, max_size=12),
    hold_s=st.integers(1, 60),
    failing_starts=st.integers(0, 4),
    trip_at=st.one_of(st.none(), st.integers(0, 11)),
)
def test_whatever_is_wanted_the_limits_hold(
    wanted_kw: list[float | None], hold_s: int, failing_starts: int, trip_at: int | None
) -> None:
    run = Run(engine(failing_starts=failing_starts))
    for number, kw in enumerate(wanted_kw):
        if number == trip_at:
            run.plant.trip()
        run.seconds(hold_s, kw)
    commands_kw = run.commands_kw
    assert max(commands_kw) <= LIMITS.rating_kw
    # A block takes four seconds, and the pause after it five: no two of them begin within eight.
    block_s = round(LIMITS.block_pause_s + LIMITS.block_kw / LIMITS.ramp_kw_per_s) - 1
    for at, before in enumerate(commands_kw[:-1]):
        assert abs(commands_kw[at + 1] - before) <= LIMITS.ramp_kw_per_s + 1e-6 or commands_kw[at + 1] == 0.0
        assert max(commands_kw[at : at + block_s]) - before <= LIMITS.block_kw + 1e-6
    tries = 0
    for phase in run.phases:
        tries = tries + 1 if phase is Phase.STARTING else tries if phase is Phase.WAITING else 0
        assert tries <= LIMITS.start_tries
