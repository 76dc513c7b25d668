"""EiRegisterParty: being registered, again and no more, by either side's will; and what every message must be."""

from __future__ import annotations

import re

from tests.ven.conformance.bench import READY_WITHIN_S, Bench
from tests.ven.conformance.marks import OPENLEADR, OURS, SCRIPTED, Sender, rule, service, ven
from tests.ven.conformance.test_reports import request
from ven.wire.common import INVALID_ID, NOT_REGISTERED, EiResponse
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    Poll,
    QueryRegistration,
    RequestReregistration,
    Response,
)
from ven.wire.payload import Message
from ven.wire.report import CreateReport, UpdateReport

TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?([^<]*)<")


@service("EiRegisterParty", "oadrQueryRegistration")
@service("EiRegisterParty", "oadrCreatePartyRegistration")
@service("EiRegisterParty", "oadrCreatedPartyRegistration")
@ven(SCRIPTED)
async def test_it_asks_what_is_offered_and_registers(bench: Bench) -> None:
    await bench.ready()
    messages = await bench.peer.heard(bench.name)
    assert [type(one) for one in messages[:2]] == [QueryRegistration, CreatePartyRegistration]
    (create,) = await bench.sent(CreatePartyRegistration)
    assert (create.ven_name, create.profile, create.transport) == (bench.name, "2.0b", "simpleHttp")
    assert (create.http_pull_model, create.xml_signature, create.registration_id) == (True, True, None)
    status = await bench.ven.status(bench.name)
    assert (status["ven_id"], status["vtn_id"], status["registered"]) == (bench.name, "utility", True)


@service("EiRegisterParty", "oadrRequestReregistration")
@service("EiRegisterParty", "oadrResponse")
@ven(SCRIPTED)
async def test_asked_to_it_registers_again_with_what_it_has(bench: Bench) -> None:
    await bench.ready()
    bench.script.say(bench.name, RequestReregistration(ven_id=bench.name))
    _, again = await bench.sends(CreatePartyRegistration, count=2)
    assert (again.ven_id, again.registration_id) == (bench.name, f"registration-{bench.name}-1")
    (acknowledged, *_) = await bench.sends(Response)
    assert acknowledged.response.ok
    await bench.polls()
    assert len(await bench.sent(CreatePartyRegistration)) == 2


@service("EiRegisterParty", "oadrCreatePartyRegistration")
@ven(SCRIPTED)
async def test_forgotten_by_the_vtn_it_registers_with_what_it_has_and_then_anew(bench: Bench) -> None:
    await bench.ready()
    answers = bench.script.of(bench.name).answers

    def forgotten(_: Poll) -> Message:
        del answers[Poll]
        return Response(response=EiResponse(code=NOT_REGISTERED, description="who are you?"))

    def unknown(message: CreatePartyRegistration) -> Message:
        del answers[CreatePartyRegistration]
        response = EiResponse(code=INVALID_ID, description="unknown", request_id=message.request_id)
        return CreatedPartyRegistration(response=response, vtn_id="utility")

    answers |= {Poll: forgotten, CreatePartyRegistration: unknown}
    first, held, anew = await bench.sends(CreatePartyRegistration, count=3)
    assert [one.registration_id for one in (first, held, anew)] == [None, f"registration-{bench.name}-1", None]
    await bench.polls(1)
    assert (await bench.ven.status(bench.name))["registered"]


@service("EiRegisterParty", "oadrRequestReregistration")
@ven(OURS)
async def test_our_vtn_can_have_it_register_again(bench: Bench) -> None:
    await bench.ready()

    async def registration_id() -> str:
        found = [one for one in await bench.ours.admin.get("/registrations") if one["ven_name"] == bench.name]
        return str(found[0]["registration_id"])

    before = await registration_id()
    await bench.ours.admin.do("POST", f"/registrations/{bench.name}/reregister")
    (again, *_) = await bench.sends(CreatePartyRegistration, where=lambda one: one.registration_id is not None)
    assert again.registration_id == before == await registration_id()


@service("EiRegisterParty", "oadrCancelPartyRegistration", Sender.VTN)
@service("EiRegisterParty", "oadrCanceledPartyRegistration", Sender.VEN)
@ven(OURS)
async def test_put_out_it_confirms_and_comes_back_only_when_a_person_says_so(bench: Bench) -> None:
    await bench.ready()
    await bench.ours.ven_id(bench.name)
    await bench.ours.admin.do("DELETE", f"/registrations/{bench.name}")
    (confirmed,) = await bench.sends(CanceledPartyRegistration)
    assert confirmed.response.ok

    async def state() -> bool:
        return bool((await bench.ven.status(bench.name))["state"] == "cancelled")

    await bench.eventually(state, "the VEN knows")
    names = [one["ven_name"] for one in await bench.ours.admin.get("/registrations")]
    assert bench.name not in names
    await bench.ven.admin.do("POST", f"/vens/{bench.name}/enrol")
    await bench.ready()
    names = [one["ven_name"] for one in await bench.ours.admin.get("/registrations")]
    assert bench.name in names


@service("EiRegisterParty", "oadrCanceledPartyRegistration", Sender.VEN)
@rule(35, 41, 42, 43, 44)
@ven(SCRIPTED)
async def test_a_cancel_of_another_registration_is_refused(bench: Bench) -> None:
    await bench.ready()
    cancel = CancelPartyRegistration(request_id="cancel-7", registration_id="of-another", ven_id=bench.name)
    bench.script.say(bench.name, cancel)
    (refused,) = await bench.sends(CanceledPartyRegistration)
    assert (refused.response.code, refused.response.request_id) == (INVALID_ID, "cancel-7")
    await bench.polls()
    assert (await bench.ven.status(bench.name))["registered"]


@service("EiRegisterParty", "oadrCancelPartyRegistration", Sender.VEN)
@ven(OURS)
async def test_it_leaves(bench: Bench) -> None:
    await bench.ready()
    await bench.ours.ven_id(bench.name)
    await bench.ven.admin.do("POST", f"/vens/{bench.name}/cancel")
    (left,) = await bench.sends(CancelPartyRegistration)
    assert left.ven_id == await bench.ours.ven_id(bench.name)
    assert bench.name not in [one["ven_name"] for one in await bench.ours.admin.get("/registrations")]
    assert not (await bench.ven.status(bench.name))["registered"]


@service("EiRegisterParty", "oadrCanceledPartyRegistration", Sender.VTN)
@ven(SCRIPTED)
async def test_a_vtn_that_does_not_let_it_go_is_believed(bench: Bench) -> None:
    await bench.ready()
    bench.script.of(bench.name).answers[CancelPartyRegistration] = lambda message: CanceledPartyRegistration(
        response=EiResponse(code=INVALID_ID, description="not now", request_id=message.request_id), ven_id=bench.name
    )
    status, answer = await bench.ven.admin.ask("POST", f"/vens/{bench.name}/cancel")
    assert (status, "452" in answer["error"]) == (409, True)
    await bench.polls()
    assert (await bench.ven.status(bench.name))["registered"]


# --- every message


@rule(1)
@ven(SCRIPTED, OPENLEADR)
async def test_times_are_utc_whatever_zone_a_person_writes_in(bench: Bench) -> None:
    async def zones() -> set[bytes]:
        return {zone for content in bench.raw() for zone in TIME.findall(content)}

    assert await bench.eventually(zones, "a message with a time", READY_WITHIN_S) == {b"Z"}
    await bench.ready()
    period = {"start": "2030-01-01T12:00:00+02:00", "end": "2030-01-01T13:00:00+02:00"}
    await bench.ven.admin.do("POST", f"/vens/{bench.name}/opts", {"periods": [period]})

    async def said() -> bool:
        return any(b"2030-01-01T10:00:00Z" in content for content in bench.raw())

    await bench.eventually(said, "the opt in UTC")
    assert await zones() == {b"Z"}


@rule(45)
@ven(SCRIPTED, OPENLEADR)
async def test_no_message_names_a_schema_location(bench: Bench) -> None:
    async def enough() -> list[bytes] | None:
        raw = bench.raw()
        return raw if len(raw) >= 4 else None

    raw = await bench.eventually(enough, "a few messages", READY_WITHIN_S)
    assert [content for content in raw if b"schemaLocation" in content] == []


@rule(21)
@ven(SCRIPTED)
async def test_messages_to_another_ven_are_refused(bench: Bench) -> None:
    await bench.ready()
    bench.script.say(bench.name, RequestReregistration(ven_id="somebody-else"))
    (refused,) = await bench.sends(Response)
    assert refused.response.code == INVALID_ID
    create = CreateReport(request_id="create-7", requests=(request("r"),), ven_id="somebody-else")
    bench.script.say(bench.name, create)
    (_, refused) = await bench.sends(Response, count=2)
    assert (refused.response.code, refused.response.request_id) == (INVALID_ID, "create-7")
    await bench.polls()
    assert len(await bench.sent(CreatePartyRegistration)) == 1
    assert await bench.sent(UpdateReport) == []
