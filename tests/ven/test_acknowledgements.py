"""What counts as acknowledged: an answer of the VTN, not silence; each message until then, with one requestID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grid.events import OptType
from grid.intervals import Interval
from tests.ven.world import START, World, world
from ven.errors import VenError
from ven.records import OptState
from ven.simulation.faults import FaultKind
from ven.simulation.records import RequestState
from ven.wire.event import CreatedEvent
from ven.wire.opt import CancelOpt, CreateOpt
from ven.wire.party import CanceledPartyRegistration
from ven.wire.payload import Service
from ven.wire.report import METADATA, CreatedReport, RegisterReport

NOT_TAKEN = [FaultKind.EMPTY, FaultKind.SERVER_ERROR, FaultKind.LOSE_REPLY]


async def serving(one: World) -> None:
    await one.until(lambda: one.status.state == "serving")


def sent(one: World, kind: type[Any]) -> int:
    return len(one.transport.named(kind))


@pytest.mark.parametrize("kind", NOT_TAKEN)
async def test_an_answer_to_an_event(tmp_path: Path, kind: FaultKind) -> None:
    async with world(tmp_path, vtn={"resend_s": 1e6}) as one:
        await serving(one)
        one.call(lead_s=600)
        one.fault(kind, Service.EVENT, times=2)
        await one.until(lambda: one.status.answers_owed == 0 and bool(one.answers()))
        assert one.answers() == [(0, "optIn", 200)]
        assert sent(one, CreatedEvent) >= 2


@pytest.mark.parametrize("kind", NOT_TAKEN)
async def test_opts(tmp_path: Path, kind: FaultKind) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.fault(kind, Service.OPT, times=2)
        made = one.gateway.opt("ven-a", OptType.OPT_OUT, (Interval.lasting(START, 3600),))
        await one.until(lambda: one.gateway.opts("ven-a")[0].state is OptState.HELD)
        assert len(one.vtn.opts.all()) == 1
        one.vtn.faults.clear()
        one.fault(kind, Service.OPT, times=2)
        one.gateway.cancel_opt("ven-a", made.opt_id)
        await one.until(lambda: one.status.answers_owed == 0)
        assert one.vtn.opts.all()[0].cancelled_at is not None
        assert (sent(one, CreateOpt), sent(one, CancelOpt)) == (3, 3)


@pytest.mark.parametrize("kind", NOT_TAKEN)
async def test_the_offer_of_reports_and_what_is_taken_on(tmp_path: Path, kind: FaultKind) -> None:
    async with world(tmp_path, vtn={"resend_s": 1e6}) as one:
        await serving(one)
        await one.stop()
        one.forget()
        (tmp_path / "ven.sqlite").unlink()
        one.fault(kind, Service.REPORT, times=3)
        await one.restart()
        await one.until(
            lambda: RequestState.PENDING in {record.state for record in one.vtn.reports.all_requests()}, 120
        )
        pending = [record for record in one.vtn.reports.all_requests() if record.state is RequestState.PENDING]
        assert len(pending) == 1
        assert sent(one, CreatedReport) >= 1


@pytest.mark.parametrize("kind", NOT_TAKEN)
async def test_metadata_asked_for(tmp_path: Path, kind: FaultKind) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        with one.operator():
            request = one.vtn.reports.request(
                one.ven, specifier_id=METADATA, rids=(), granularity_s=0, back_duration_s=0, period=None
            )
        one.fault(kind, Service.REPORT, times=2)

        def ended() -> bool:
            record = one.vtn.journal.request(request.request_id)
            return record is not None and record.state is RequestState.ENDED

        await one.until(lambda: ended() and one.status.answers_owed == 0)
        assert sent(one, RegisterReport) >= 2


@pytest.mark.parametrize("kind", NOT_TAKEN)
async def test_data(tmp_path: Path, kind: FaultKind) -> None:
    async with world(tmp_path, vtn={"report_interval_s": 10}) as one:
        await serving(one)
        one.fault(kind, Service.REPORT, times=5)
        await one.clock.advance(180)
        found = one.vtn.journal.intervals(one.ven_id)
        starts = sorted({held.start for held in found})
        assert len(starts) == len(found) / 2 >= 15
        assert {held.conflicts for held in found} == {0}


async def test_leaving_is_only_leaving_once_the_vtn_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await serving(one)
        one.fault(FaultKind.EMPTY, Service.REGISTER_PARTY, times=1)
        with pytest.raises(VenError, match="empty"):
            await one.gateway.cancel_registration("ven-a")
        assert one.status.registered
        await one.gateway.cancel_registration("ven-a")
        assert one.vtn.journal.vens()[0].registration_id is None


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.LOSE_REPLY])
async def test_the_confirmation_of_a_cancel(tmp_path: Path, kind: FaultKind) -> None:
    async with world(tmp_path, vtn={"resend_s": 1e6}) as one:
        await serving(one)
        with one.operator():
            one.vtn.registrations.put_out(one.ven)
        one.fault(kind, Service.REGISTER_PARTY, times=2)
        await one.until(lambda: one.vtn.journal.vens()[0].registration_id is None, 120)
        await one.clock.advance(300)
        assert one.status.state == "cancelled"
        assert len({message.response.request_id for message in one.transport.named(CanceledPartyRegistration)}) == 1
