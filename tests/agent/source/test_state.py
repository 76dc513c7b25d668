"""When the site is on the utility, and when it is not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agent.source.contacts import Contact
from agent.source.fall import FallWatch
from agent.source.interlocks import InterlockTimes, InterlockWatch
from agent.source.state import Source, SourceTimes, SourceWatch

TIMES = SourceTimes(hold_s=300.0, settle_s=5.0, unread_s=3.0)
WELL: Mapping[Contact, bool | None] = {
    Contact.ON_UTILITY: True,
    Contact.ON_EMERGENCY: False,
    Contact.UTILITY_PRESENT: True,
    Contact.UPS_ON_BATTERY: False,
    Contact.UPS_BYPASS: False,
    Contact.GENERATOR_TEST: False,
}


class Watched:
    """A watch on a clock of whole seconds."""

    def __init__(self) -> None:
        self._watch = SourceWatch(TIMES)
        self._now_s = 1000.0

    def seconds(self, count: int, *, meter_fell: bool | None = False, **contacts: bool | None) -> Source:
        """The source after so many seconds of WELL with these contacts instead."""
        values = {**WELL, **{Contact(name): value for name, value in contacts.items()}}
        for _ in range(count):
            self._now_s += 1.0
            self.state = self._watch.step(values, self._now_s, meter_fell=bool(meter_fell))
        return self.state.source


@pytest.fixture
def watched() -> Watched:
    watched = Watched()
    assert watched.seconds(1) is Source.HOLD
    assert not watched.state.may_act
    assert watched.seconds(5) is Source.UTILITY
    assert watched.state.may_act
    return watched


@pytest.mark.parametrize(
    ("contacts", "source"),
    [
        ({"utility_present": False}, Source.TRANSFER),
        ({"on_utility": False}, Source.TRANSFER),
        ({"on_emergency": True}, Source.TRANSFER),
        ({"on_utility": False, "utility_present": False}, Source.ISLAND),
        ({"on_utility": False, "on_emergency": True, "utility_present": False}, Source.ISLAND),
        ({"on_utility": None, "utility_present": False}, Source.TRANSFER),
        ({"on_utility": False, "utility_present": None, "ups_bypass": None}, Source.TRANSFER),
        ({"ups_on_battery": True}, Source.UPS),
        ({"ups_bypass": True}, Source.UPS),
        ({"generator_test": True}, Source.TEST),
    ],
)
def test_it_ends_at_once_and_is_back_only_after_the_hold(
    watched: Watched, contacts: dict[str, bool | None], source: Source
) -> None:
    assert watched.seconds(1, **contacts) is source
    assert watched.state.why
    assert watched.seconds(300) is Source.HOLD
    assert watched.seconds(1) is Source.UTILITY


def test_the_hold_begins_anew_with_every_break(watched: Watched) -> None:
    watched.seconds(1, on_utility=False)
    watched.seconds(200)
    watched.seconds(1, utility_present=False)
    assert watched.seconds(300) is Source.HOLD
    assert watched.seconds(1) is Source.UTILITY


def test_contacts_that_cannot_be_read_end_it_after_a_moment_and_without_the_long_hold(watched: Watched) -> None:
    assert watched.seconds(2, on_utility=None) is Source.UTILITY
    assert watched.seconds(1) is Source.UTILITY
    assert watched.seconds(3, on_utility=None) is Source.UNKNOWN
    assert watched.seconds(5) is Source.HOLD
    assert watched.seconds(1) is Source.UTILITY


def test_an_outage_that_nobody_could_read_the_end_of_is_held_all_the_same(watched: Watched) -> None:
    watched.seconds(1, on_utility=False, utility_present=False)
    watched.seconds(10, on_utility=None)
    assert watched.seconds(300) is Source.HOLD
    assert watched.seconds(1) is Source.UTILITY


def test_a_ups_that_cannot_be_read_is_not_one_that_is_well(watched: Watched) -> None:
    assert watched.seconds(3, ups_on_battery=None) is Source.UNKNOWN
    assert watched.state.why == "not read or not wired: ups_on_battery"


def test_a_signal_that_is_not_wired_never_says_utility() -> None:
    watch = SourceWatch(TIMES)
    for second in range(1000):
        state = watch.step({Contact.ON_UTILITY: True}, float(second))
    assert state.source is Source.UNKNOWN


def test_a_switch_with_one_contact_will_do() -> None:
    watch = SourceWatch(TIMES)
    for second in range(10):
        state = watch.step({Contact.ON_UTILITY: True, Contact.UTILITY_PRESENT: True}, float(second))
    assert state.source is Source.UTILITY


def test_a_meter_that_fell_without_a_reason_is_a_transfer(watched: Watched) -> None:
    assert watched.seconds(1, meter_fell=True) is Source.TRANSFER
    assert watched.seconds(300) is Source.HOLD


def test_a_fall_that_our_actuators_explain_is_none() -> None:
    watch = FallWatch(most_kw=200.0)
    assert not watch.step(1000.0, 600.0)
    assert not watch.step(700.0, 300.0), "GPUs gave it up"
    assert not watch.step(600.0, 300.0), "the load's own"
    assert not watch.step(None, 300.0)
    assert watch.step(0.0, 290.0), "an opened breaker"
    assert not watch.step(0.0, 290.0)
    assert not watch.step(1000.0, 290.0), "a rise is none"


def test_a_rise_of_ours_does_not_make_a_fall_of_the_load() -> None:
    watch = FallWatch(most_kw=200.0)
    watch.step(1000.0, 600.0)
    assert not watch.step(900.0, 800.0)


# --- interlocks ---------------------------------------------------------------------------------------------------

CLEAR = {Contact.LEAK: False, Contact.FIRE: False}


def test_an_interlock_forbids_a_rise_and_for_a_while_after_it_cleared() -> None:
    watch = InterlockWatch(InterlockTimes(clear_s=60.0))
    assert watch.step(CLEAR, 0.0).may_raise
    state = watch.step({**CLEAR, Contact.LEAK: True}, 1.0)
    assert (state.may_raise, state.shed, state.alarms) == (False, False, ("interlock: leak",))
    assert not watch.step(CLEAR, 60.0).may_raise
    assert watch.step(CLEAR, 61.0).may_raise


def test_some_interlocks_ask_to_shed() -> None:
    watch = InterlockWatch(InterlockTimes(), frozenset((Contact.FIRE,)))
    assert not watch.step({**CLEAR, Contact.LEAK: True}, 0.0).shed
    assert watch.step({**CLEAR, Contact.FIRE: True}, 1.0).shed


def test_an_interlock_that_cannot_be_read_counts_as_active_after_a_moment_but_sheds_nothing() -> None:
    watch = InterlockWatch(InterlockTimes(unread_s=3.0), frozenset((Contact.FIRE,)))
    assert watch.step(CLEAR, 0.0).may_raise
    lost: dict[Contact, bool | None] = {**CLEAR, Contact.FIRE: None}
    assert watch.step(lost, 2.0).may_raise
    state = watch.step(lost, 3.0)
    assert (state.may_raise, state.shed) == (False, False)
    assert state.alarms == ("interlock cannot be read: fire",)


def test_an_interlock_never_read_forbids_from_the_start() -> None:
    assert not InterlockWatch(InterlockTimes()).step({Contact.EPO: None}, 0.0).may_raise
    assert InterlockWatch(InterlockTimes()).step({}, 0.0).may_raise, "none is wired"
