"""A VTN that is killed goes on where it stood."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from grid.errors import JournalError
from grid.events import OptType
from tests.ven.simulation.conftest import Domain, metadata, simple_event
from tests.ven.simulation.raw_ven import CLOCK
from tests.ven.simulation.vtn_process import VtnProcess
from ven.simulation.config import VtnSettings
from ven.simulation.vtn import UtilityVtn
from ven.wire.common import EiResponse, Period
from ven.wire.event import DistributeEvent, RequestEvent
from ven.wire.opt import CreatedOpt, CreateOpt
from ven.wire.party import CreatePartyRegistration, RequestReregistration, Response
from ven.wire.report import (
    CreatedReport,
    CreateReport,
    RegisteredReport,
    Report,
    ReportInterval,
    ReportPayload,
    UpdatedReport,
    UpdateReport,
)

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


async def test_everything_survives_sigkill(domain: Domain, tmp_path: Path) -> None:
    process = VtnProcess(tmp_path / "vtn", domain.vtn(), journal=str(tmp_path / "vtn.sqlite"), resend_s=3600.0)
    async with process.life() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        (request,) = (await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)).requests
        pending = CreatedReport(response=EiResponse(), pending=(request.request_id,), ven_id=ven.ven_id)
        await ven.ask(pending, Response)
        await utility.do("POST", "/events", simple_event(event_id="answered"))
        offered = await ven.poll()
        assert isinstance(offered, DistributeEvent)
        await ven.opt(offered, OptType.OPT_OUT)
        interval = ReportInterval(start=START, duration_s=10.0, payloads=(ReportPayload("a", 5.0),))
        report = Report(specifier_id="usage", request_id=request.request_id, created_at=START, intervals=(interval,))
        update = UpdateReport(request_id="u", reports=(report,), ven_id=ven.ven_id)
        await ven.ask(update, UpdatedReport)
        opt = CreateOpt(
            request_id="o",
            opt_id="opt",
            opt=OptType.OPT_OUT,
            reason="economic",
            ven_id=ven.ven_id,
            created_at=START,
            availability=(Period(start=START, duration_s=60.0),),
        )
        await ven.ask(opt, CreatedOpt)
        await utility.do("PATCH", "/events/answered", {"priority": 1})
        await utility.do("POST", "/reports/requests", {"ven_name": "ven-a", "specifier_id": "usage"})
        await utility.do("POST", "/registrations/ven-a/reregister")
        kept = ("/registrations", "/events", "/events/answered", "/opts", "/offers", "/reports/requests")
        before = [await utility.get(path) for path in kept]
        ids = (ven.ven_id, ven.registration_id)
    async with process.life() as utility, utility.ven(domain.ven()) as ven:
        assert [await utility.get(path) for path in kept] == before
        ven.ven_id, ven.registration_id = ids
        assert isinstance(await ven.poll(), DistributeEvent)
        assert isinstance(await ven.poll(), CreateReport)
        assert isinstance(await ven.poll(), RequestReregistration)
        again = await ven.register(ven_id=ids[0], registration_id=ids[1])
        assert (again.ven_id, again.registration_id) == ids
        assert (await ven.ask(update, UpdatedReport)).response.ok
        held = await utility.get("/intervals")
        assert [(one["value"], one["duplicates"]) for one in held["intervals"]] == [(5.0, 1)]
        events = await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
        assert [event.modification_number for event in events.events] == [1]
    async with process.life() as utility, utility.ven(domain.ven()) as ven:
        ven.ven_id, ven.registration_id = ids
        polled = await ven.poll()
        assert isinstance(polled, Response), "what was sent is not sent again before its time"


async def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = VtnSettings(vtn_id="u", tls=False, xml_signature=False, journal=tmp_path / "vtn.sqlite")
    vtn = UtilityVtn(settings, CLOCK)
    refused = vtn.take(CreatePartyRegistration(request_id="1", registration_id="x"), None)
    assert refused is not None
    assert vtn.journal.vens() == []
    vtn.close()


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    settings = VtnSettings(vtn_id="u", tls=False, xml_signature=False, journal=tmp_path / "vtn.sqlite")
    vtn = UtilityVtn(settings, CLOCK)
    with vtn.journal.transaction() as connection:
        connection.execute("PRAGMA user_version=99")
    vtn.close()
    with pytest.raises(JournalError, match="newer Negawatt"):
        UtilityVtn(settings, CLOCK)
