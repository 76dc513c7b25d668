"""Every kind of message the VTN emits, judged by others: the schema, and xmlsec1 where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from lxml import etree  # type: ignore[import-untyped]

from certs.files import KeyType
from grid.events import OptType
from tests.ven.simulation.conftest import Domain, Serve, metadata, simple_event
from tests.ven.simulation.raw_ven import RawVen, Utility
from tests.ven.simulation.test_opts import opt_of
from tests.ven.simulation.test_reports import data
from ven.wire.common import EiResponse
from ven.wire.event import DistributeEvent, RequestEvent
from ven.wire.opt import CanceledOpt, CancelOpt, CreatedOpt
from ven.wire.party import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    QueryRegistration,
)
from ven.wire.report import (
    METADATA,
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    ReportRequest,
    UpdatedReport,
)

PRICE = {
    "name": "ELECTRICITY_PRICE",
    "type": "priceRelative",
    "unit": {"name": "currencyPerKWh", "units": "EUR"},
    "intervals": [{"duration_s": 60, "value": 0.1}, {"duration_s": 540, "value": 1e-7}],
    "targets": {"resource_ids": ["a"]},
}
DISPATCH = {
    "name": "LOAD_DISPATCH",
    "type": "setpoint",
    "unit": {"name": "powerReal", "units": "W", "si_scale": "k"},
    "intervals": [{"value": 5}],
}
EMITTED = {
    "oadrCreatedPartyRegistration",
    "oadrCanceledPartyRegistration",
    "oadrCancelPartyRegistration",
    "oadrRequestReregistration",
    "oadrResponse",
    "oadrDistributeEvent",
    "oadrRegisteredReport",
    "oadrCreateReport",
    "oadrCreatedReport",
    "oadrCancelReport",
    "oadrCanceledReport",
    "oadrUpdatedReport",
    "oadrCreatedOpt",
    "oadrCanceledOpt",
}


async def everything(utility: Utility, ven: RawVen) -> None:
    """Have the VTN say all it can."""
    await ven.register(profile="2.0a")
    await ven.ask(QueryRegistration(request_id="q"), CreatedPartyRegistration)
    await ven.register("a & b")
    (request,) = (await ven.ask(metadata("a", "b<", ven_id=ven.ven_id), RegisteredReport)).requests
    more = {"targets": {"group_ids": ["g"], "party_ids": ["p"]}, "test_event": "x", "startafter_s": 60, "priority": 1}
    periods = {"ramp_up_s": 60, "recovery_s": 60, "notification_s": 3600, "vtn_comment": "<&>", "signals": [PRICE]}
    await utility.do("POST", "/events", simple_event(ven.ven_id, event_id="e", lead_s=0))
    await utility.do("POST", "/events", simple_event(ven.ven_id, event_id="f", **(more | periods)))
    await utility.do("POST", "/events", simple_event(ven.ven_id, event_id="g", duration_s=0, signals=[DISPATCH]))
    offered = await ven.poll()
    assert isinstance(offered, DistributeEvent)
    await ven.opt(offered, OptType.OPT_IN)
    await utility.do("DELETE", "/events/e")
    await utility.do("PATCH", "/events/f", {"modification_reason": "weather"})
    await ven.ask(RequestEvent(request_id="1", ven_id=ven.ven_id), DistributeEvent)
    await ven.ask(RequestEvent(request_id="1", ven_id="nobody"), DistributeEvent)
    await ven.ask(opt_of(ven), CreatedOpt)
    await ven.ask(opt_of(ven, availability=None), CreatedOpt)
    await ven.ask(CancelOpt(request_id="1", opt_id="opt-1", ven_id=ven.ven_id), CanceledOpt)
    await reports(utility, ven, request)
    await utility.do("POST", f"/registrations/{ven.ven_id}/reregister")
    await utility.do("DELETE", f"/registrations/{ven.ven_id}")
    for _ in range(6):
        await ven.poll()
    cancel = CancelPartyRegistration(request_id="1", registration_id=ven.registration_id, ven_id=ven.ven_id)
    await ven.ask(cancel, CanceledPartyRegistration)
    await ven.poll()


async def reports(utility: Utility, ven: RawVen, request: ReportRequest) -> None:
    for body in ({"specifier_id": METADATA}, {"specifier_id": "usage", "start": "2030-01-01T00:00:00Z"}):
        await utility.do("POST", "/reports/requests", {"ven_name": ven.ven_id, "granularity_s": 60, **body})
    asked = await utility.get("/reports/requests")
    await utility.do("DELETE", f"/reports/requests/{request.request_id}?with_update=true")
    await utility.do("DELETE", f"/reports/requests/{asked[-1]['report_request_id']}")
    await ven.ask(data(ven, request.request_id, ("a", 0, 1.0)), UpdatedReport)
    await ven.ask(data(ven, "unknown", ("a", 0, 1.0)), UpdatedReport)
    await ven.ask(CreateReport(request_id="1", requests=(request,), ven_id=ven.ven_id), CreatedReport)
    await ven.ask(CancelReport(request_id="1", report_request_ids=("x",), ven_id=ven.ven_id), CanceledReport)
    await ven.send(CreatedReport(response=EiResponse(request_id="1"), ven_id=ven.ven_id))


@pytest.fixture
async def emitted(domain: Domain, serve: Serve, request: pytest.FixtureRequest) -> list[bytes]:
    """Bodies the VTN answered with, signed with a key of that kind."""
    async with serve(identity=domain.vtn(request.param), drain=True) as utility, utility.ven(domain.ven()) as ven:
        await everything(utility, ven)
        return ven.emitted


@pytest.mark.parametrize("emitted", [KeyType.EC], indirect=True)
def test_every_message_is_valid_against_the_schema(emitted: list[bytes]) -> None:
    spec = find_spec("openleadr")
    assert spec is not None
    assert spec.origin is not None
    schema = etree.XMLSchema(etree.parse(Path(spec.origin).parent / "schema" / "oadr_20b.xsd"))
    names = set()
    for body in emitted:
        root = etree.fromstring(body)
        schema.assertValid(root)
        names.add(etree.QName(root[1][0]).localname)
    assert names == EMITTED


@pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed: apt-get install xmlsec1")
@pytest.mark.parametrize("emitted", list(KeyType), indirect=True)
def test_xmlsec1_verifies_every_signature(emitted: list[bytes], domain: Domain, tmp_path: Path) -> None:
    roots = domain.folder / "ca" / "ca.pem"
    verify = ("xmlsec1", "--verify", "--trusted-pem", str(roots), "--enabled-key-data", "x509")
    ids = ("--id-attr:Id", "oadrSignedObject", "--id-attr:Id", "Object", "--id-attr:Id", "SignatureProperty")
    files = []
    for place, body in enumerate(emitted):
        file = tmp_path / f"{place}.xml"
        file.write_bytes(body)
        files.append(str(file))
    result = subprocess.run([*verify, *ids, *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (result.stdout + result.stderr).count("OK") >= len(files)
    forged = tmp_path / "forged.xml"
    forged.write_bytes(emitted[0].replace(b"utility", b"somebod"))
    assert subprocess.run([*verify, *ids, str(forged)], capture_output=True, check=False).returncode != 0
