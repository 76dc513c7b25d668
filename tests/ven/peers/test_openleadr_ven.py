"""Stock openleadr's VEN understands our VTN, plainly and signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from certs.files import KeyType
from tests.ven.peers.process import CLOCK, WITHIN_S, openleadr_ven
from tests.ven.simulation.conftest import Domain, settings_of, simple_event
from tests.ven.simulation.raw_ven import Utility
from ven.simulation.service import serving

KW = 5.0
"""What the peer reports; its module is not imported here, since it runs openleadr."""


@pytest.mark.parametrize("key_type", [None, KeyType.EC, KeyType.RSA])
async def test_it_registers_reports_and_opts(domain: Domain, tmp_path: Path, key_type: KeyType | None) -> None:
    signed = key_type is not None
    settings = settings_of(domain.vtn(key_type or KeyType.EC), tls=signed, xml_signature=signed, report_interval_s=1)
    identity = None if key_type is None else domain.ven(f"stock-{key_type.value}", key_type)
    log = tmp_path / "openleadr.log"
    async with serving(settings, CLOCK) as (port, admin_port):
        utility = Utility(port, admin_port, tls=signed)
        async with openleadr_ven(log, utility.base, identity=identity) as peer:
            called = await utility.do("POST", "/events", simple_event("stock", event_id="event-x"))
            await peer.hear("event", event_id="event-x", modification_number=0, status="far")
            await utility.do("DELETE", f"/events/{called['event_id']}")
            await peer.hear("event", event_id="event-x", modification_number=1, status="cancelled")

            async def seen() -> tuple[list[str], list[float]]:
                event = await utility.get("/events/event-x")
                held = (await utility.get("/intervals"))["intervals"]
                return [one["opt"] for one in event["opts"]], [one["kw"] for one in held]

            async with CLOCK.timeout(WITHIN_S):
                opts, kws = await seen()
                while len(opts) < 2 or not kws:
                    await CLOCK.sleep(0.1)
                    opts, kws = await seen()
            assert opts == ["optIn", "optIn"]
            assert set(kws) == {KW}
    assert "Traceback" not in log.read_text()
