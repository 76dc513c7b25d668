"""The independent peer itself: our codec and openleadr's server understand each other in every mode."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from certs.files import KeyType
from grid.events import EventStatus, OptType
from tests.ven.peers.process import openleadr_vtn
from tests.ven.simulation.conftest import CONTEXT, Domain, metadata
from tests.ven.simulation.raw_ven import raw_ven
from ven.wire.common import KILOWATT, EiResponse, Target
from ven.wire.event import DistributeEvent, RequestEvent, WireEvent
from ven.wire.party import RequestReregistration, Response
from ven.wire.report import (
    CreatedReport,
    RegisteredReport,
    Report,
    ReportInterval,
    ReportPayload,
    UpdatedReport,
    UpdateReport,
)

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
EVENT = {
    "event_id": "event-x",
    "market_context": CONTEXT,
    "start": "2030-01-01T00:00:00+00:00",
    "duration_s": 1200,
    "priority": 1,
    "test_event": "true",
    "startafter_s": 60,
    "ramp_up_s": 30,
    "targets": {"resource_ids": ["a", "b"]},
    "signals": [
        {
            "name": "LOAD_DISPATCH",
            "type": "delta",
            "unit": {"name": "powerReal", "units": "W", "si_scale": "k"},
            "intervals": [{"duration_s": 600, "value": -1.5}, {"duration_s": 600, "value": -2.5}],
        }
    ],
}


@pytest.mark.parametrize(
    ("tls", "sign", "key_type"),
    [
        (False, False, KeyType.EC),
        (True, False, KeyType.EC),
        (True, True, KeyType.EC),
        (True, True, KeyType.RSA),
    ],
)
async def test_a_ven_through_its_life(
    domain: Domain,
    tmp_path: Path,
    tls: bool,
    sign: bool,
    key_type: KeyType,
) -> None:
    identity = domain.vtn(key_type) if tls else None
    ours = domain.ven(f"ven-{key_type.value}", key_type) if tls else None
    log = tmp_path / "openleadr.log"
    async with (
        openleadr_vtn(log, identity=identity, sign=sign, event=EVENT) as peer,
        raw_ven(peer.url, ours, signed=sign) as ven,
    ):
        ven.ven_id = "nobody"
        assert isinstance(await ven.poll(), RequestReregistration)
        created = await ven.register("x")
        assert (created.ven_id, created.registration_id, created.poll_interval_s) == ("ven-x", "registration-x", 1.0)
        assert (await peer.hear("registered"))["fingerprint"] == ven.fingerprint
        answer = await ven.ask(metadata("a", "b", ven_id=ven.ven_id), RegisteredReport)
        (request,) = answer.requests
        assert (request.rids, request.granularity_s) == (("a", "b"), 10.0)
        pending = CreatedReport(response=EiResponse(), pending=(request.request_id,), ven_id=ven.ven_id)
        assert (await ven.ask(pending, Response)).response.ok
        assert (await peer.hear("created_reports"))["pending"] == [request.request_id]
        offered = await ven.poll()
        assert isinstance(offered, DistributeEvent)
        (event,) = offered.events
        assert isinstance(event, WireEvent)
        assert (event.event_id, event.priority, event.is_test, event.market_context) == ("event-x", 1, True, CONTEXT)
        assert (event.startafter_s, event.ramp_up_s, event.duration_s) == (60.0, 30.0, 1200.0)
        assert event.target == Target(resource_ids=("a", "b"))
        (signal,) = event.signals
        assert signal.measure == KILOWATT
        assert [point.value for point in signal.intervals] == [-1.5, -2.5]
        assert isinstance(await ven.opt(offered, OptType.OPT_OUT), Response)
        assert (await peer.hear("opt"))["opt"] == "optOut"
        intervals = (ReportInterval(start=START, duration_s=10.0, payloads=(ReportPayload("a", 5.5),)),)
        report = Report(
            specifier_id="usage", request_id=request.request_id, created_at=START, start=START, intervals=intervals
        )
        update = UpdateReport(request_id="u", reports=(report,), ven_id=ven.ven_id)
        assert (await ven.ask(update, UpdatedReport)).response.ok
        reading = await peer.hear("reading")
        assert (reading["resource_id"], reading["start"], reading["value"]) == ("a-resource", START.isoformat(), 5.5)
        await peer.order(do="cancel", event_id="event-x")
        await peer.hear("cancelled")
        offered = await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
        (event,) = offered.events
        assert isinstance(event, WireEvent)
        assert (event.status, event.modification_number) == (EventStatus.CANCELLED, 1)
        await ven.opt(offered)
        assert (await peer.hear("opt"))["opt"] == "optIn"
        await peer.order(do="event", event={**EVENT, "event_id": "event-y"})
        next_offer = await ven.poll()
        while not isinstance(next_offer, DistributeEvent):
            next_offer = await ven.poll()
        assert [one.event_id for one in next_offer.events] == ["event-y"]
    assert "Traceback" not in log.read_text()
