"""Contacts over real Modbus TCP: a transfer switch, a power monitor and interlocks on two modules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.simulation.modbus import ContactDevice
from agent.simulation.transfer import CONTACTS_A_MODULE, PLANT, SWITCH, TransferSwitch
from agent.source.contacts import Contact, InputModule, SiteInputs
from agent.source.interlocks import INTERLOCKS
from agent.source.state import Source, SourceTimes, SourceWatch, judge


@asynccontextmanager
async def site() -> AsyncIterator[tuple[TransferSwitch, SiteInputs, ContactDevice]]:
    async with ContactDevice(CONTACTS_A_MODULE) as switch, ContactDevice(CONTACTS_A_MODULE) as plant:
        inputs = SiteInputs(
            [
                InputModule("127.0.0.1", switch.port, 1, SWITCH),
                InputModule("127.0.0.1", plant.port, 1, PLANT),
            ]
        )
        try:
            yield TransferSwitch(switch, plant), inputs, plant
        finally:
            await inputs.close()


async def test_a_site_on_the_utility_with_all_well() -> None:
    async with site() as (_, inputs, _):
        reading = await inputs.read()
    assert reading.failing == ()
    assert {contact for contact, value in reading.values.items() if value} == {
        Contact.ON_UTILITY,
        Contact.UTILITY_PRESENT,
    }


async def test_an_outage_goes_through_its_states_and_is_held_after_retransfer() -> None:
    async with site() as (switch, inputs, _):
        watch = SourceWatch(SourceTimes(hold_s=60.0, settle_s=5.0))
        seen: list[Source] = []
        for second in range(200):
            switch.utility = not 10 <= second < 50
            switch.step(1.0)
            source = watch.step((await inputs.read()).values, float(second)).source
            if not seen or seen[-1] is not source:
                seen.append(source)
    assert seen == [
        Source.HOLD,
        Source.UTILITY,
        Source.ISLAND,
        Source.TRANSFER,
        Source.HOLD,
        Source.UTILITY,
    ]


async def test_a_stuck_contact_of_the_switch_does_not_hide_an_outage() -> None:
    async with site() as (switch, inputs, _):
        switch.stuck[Contact.ON_UTILITY] = True
        switch.utility = False
        switch.step(5.0)
        assert judge((await inputs.read()).values).source is Source.TRANSFER


async def test_each_contact_is_read_on_its_own_wire() -> None:
    async with site() as (switch, inputs, _):
        for contact in (*INTERLOCKS, Contact.UPS_ON_BATTERY, Contact.UPS_BYPASS, Contact.GENERATOR_TEST):
            switch.set(contact, True)
            values = (await inputs.read()).values
            assert [other for other, value in values.items() if value and other not in _ON_UTILITY] == [contact]
            switch.set(contact, False)


_ON_UTILITY = (Contact.ON_UTILITY, Contact.UTILITY_PRESENT)


async def test_a_broken_wire_of_an_interlock_reads_as_the_interlock() -> None:
    async with site() as (_, inputs, plant):
        plant.closed[PLANT[Contact.FIRE].address] = False
        assert (await inputs.read()).values[Contact.FIRE] is True


async def test_a_module_that_does_not_answer_leaves_its_own_contacts_unknown() -> None:
    async with site() as (_, inputs, plant):
        await inputs.read()
        plant.drop()
        reading = await inputs.read()
        assert len(reading.failing) == 1
        assert reading.failing[0].startswith(f"inputs 127.0.0.1:{plant.port} unit 1: ")
        assert reading.values[Contact.ON_UTILITY] is True
        assert reading.values[Contact.UTILITY_PRESENT] is None
        assert (await inputs.read()).failing == ()
