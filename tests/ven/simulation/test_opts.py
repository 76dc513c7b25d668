"""EiOpt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from grid.events import OptType
from tests.ven.simulation.conftest import CONTEXT, Domain, Serve, simple_event
from tests.ven.simulation.raw_ven import RawVen
from ven.wire.common import INVALID_DATA, INVALID_ID, NOT_RECOGNIZED, Period, Target
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt, QualifiedEventId

START = datetime(2030, 1, 1, tzinfo=UTC)


def opt_of(ven: RawVen, **more: object) -> CreateOpt:
    opt = CreateOpt(
        request_id="o",
        opt_id="opt-1",
        opt=OptType.OPT_OUT,
        reason="x-schedule",
        ven_id=ven.ven_id,
        created_at=START,
        market_context=CONTEXT,
        availability=(Period(start=START, duration_s=3600.0), Period(start=START, duration_s=0.0)),
        target=Target(resource_ids=("r1",)),
    )
    return replace(opt, **more)  # type: ignore[arg-type]


async def test_an_opt_of_time_is_stored_and_cancelled(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        created = await ven.ask(opt_of(ven), CreatedOpt)
        assert (created.response.code, created.response.request_id, created.opt_id) == (200, "o", "opt-1")
        (row,) = await utility.get("/opts")
        assert (row["opt"], row["event_id"], row["resource_ids"]) == ("optOut", None, ["r1"])
        assert [one["duration_s"] for one in row["availability"]] == [3600.0, 0.0]
        cancel = CancelOpt(request_id="c", opt_id="opt-1", ven_id=ven.ven_id)
        for _ in range(2):
            canceled = await ven.ask(cancel, CanceledOpt)
            assert (canceled.response.code, canceled.response.request_id, canceled.opt_id) == (200, "c", "opt-1")
        (row,) = await utility.get("/opts")
        assert row["cancelled_at"] is not None
        unknown = await ven.ask(replace(cancel, opt_id="opt-2"), CanceledOpt)
        assert unknown.response.code == INVALID_ID


async def test_an_opt_of_an_event(domain: Domain, serve: Serve) -> None:
    async with serve() as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await utility.do("POST", "/events", simple_event(event_id="e"))
        event = QualifiedEventId(event_id="e", modification_number=0)
        assert (await ven.ask(opt_of(ven, availability=None, event=event), CreatedOpt)).response.ok
        (row,) = await utility.get("/opts")
        assert (row["event_id"], row["modification_number"], row["availability"]) == ("e", 0, None)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"availability": None}, INVALID_DATA),
        ({"event": QualifiedEventId(event_id="e", modification_number=0)}, INVALID_DATA),
        ({"availability": None, "event": QualifiedEventId(event_id="x", modification_number=0)}, INVALID_ID),
        ({"market_context": "http://elsewhere"}, NOT_RECOGNIZED),
    ],
)
async def test_an_opt_that_makes_no_sense(domain: Domain, serve: Serve, more: dict[str, object], code: int) -> None:
    async with serve(market_contexts=(CONTEXT,)) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        answer = await ven.ask(opt_of(ven, **more), CreatedOpt)
        assert (answer.response.code, answer.opt_id) == (code, "opt-1")
        assert await utility.get("/opts") == []
