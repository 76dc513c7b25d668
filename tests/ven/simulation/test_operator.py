"""What the operator sees and asks: configuration, messages, and the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from grid.errors import ConfigError
from grid.process.cli import main
from grid.process.config import load
from tests.ven.simulation.conftest import CONTEXT, Domain, Serve, metadata, simple_event
from tests.ven.simulation.vtn_process import VtnProcess
from ven.simulation.config import VtnSettings
from ven.wire.event import DistributeEvent
from ven.wire.report import RegisteredReport


def test_the_configuration_of_before_holds(tmp_path: Path) -> None:
    config = tmp_path / "vtn.toml"
    config.write_text(
        'vtn_id = "u"\nport = 1\nadmin_port = 2\ncertificate = "c.pem"\nkey_file = "k.key"\nroots = "r.pem"\n'
        'ven_fingerprints = ["AA"]\npoll_interval_s = 3\nreport_interval_s = 4\nrelease_s = 5.0\nbaseline_s = 6.0\n'
    )
    settings = load(config, VtnSettings)
    assert settings.identity.certificate == tmp_path / "c.pem"
    assert (settings.poll_interval_s, settings.report_interval_s, settings.journal) == (3, 4, None)


@pytest.mark.parametrize("extra", ["", "tls = false\n", "xml_signature = false\n"])
def test_an_identity_is_needed_unless_nothing_is_proved(tmp_path: Path, extra: str) -> None:
    config = tmp_path / "vtn.toml"
    config.write_text(f'vtn_id = "u"\n{extra}')
    with pytest.raises(ConfigError, match="certificate, key_file and roots are needed"):
        load(config, VtnSettings)
    config.write_text('vtn_id = "u"\ntls = false\nxml_signature = false\n')
    assert load(config, VtnSettings).journal is None


async def test_the_last_messages_are_seen_both_ways(domain: Domain, serve: Serve) -> None:
    async with serve(messages_kept=4) as utility, utility.ven(domain.ven()) as ven:
        await ven.register()
        await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        await utility.do("POST", "/events", simple_event())
        offered = await ven.poll()
        assert isinstance(offered, DistributeEvent)
        rows = await utility.get("/messages")
        assert [(row["direction"], row["message"]) for row in rows] == [
            ("sent", "oadrDistributeEvent"),
            ("received", "oadrPoll"),
            ("sent", "oadrRegisteredReport"),
            ("received", "oadrRegisterReport"),
        ]
        assert rows[2]["answers"] == rows[3]["request_id"] == "offer"
        assert all(row["ven_id"] == ven.ven_id for row in rows)
        (row,) = await utility.get(f"/messages?request_id={offered.request_id}&xml=true")
        assert offered.request_id in row["xml"]
        assert len(await utility.get("/messages?limit=2")) == 2
        assert await utility.get("/messages?ven=nobody") == []
        for query in ("limit=many", "xml=perhaps"):
            assert (await utility.ask("GET", f"/messages?{query}"))[0] == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"'])
async def test_a_body_that_is_no_json_object_is_a_400(serve: Serve, body: bytes) -> None:
    async with serve() as utility, aiohttp.ClientSession() as session:
        for path in ("/events", "/faults", "/reports/requests"):
            async with session.post(f"{utility.admin}{path}", data=body) as answer:
                assert answer.status == 400
                assert "\n" not in (await answer.json())["error"]


async def test_every_verb_of_the_command_line(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = VtnProcess(tmp_path / "vtn", domain.vtn(), request_reports=False)
    file = tmp_path / "event.json"

    async with process.life() as utility, utility.ven(domain.ven()) as ven:

        async def run(*words: str) -> Any:
            code = await asyncio.to_thread(main, ["vtn", *words, "--admin", utility.admin])
            assert code == 0, capsys.readouterr().err
            return json.loads(capsys.readouterr().out)

        await ven.register()
        await ven.ask(metadata("a", ven_id=ven.ven_id), RegisteredReport)
        assert [row["ven_name"] for row in await run("registrations")] == ["ven-a"]
        body = simple_event(event_id="an event/1")
        del body["ven_name"], body["market_context"]
        file.write_text(json.dumps(body))
        called = await run("event", "--ven", "ven-a", "--file", str(file), "--market-context", CONTEXT)
        assert called["event_id"] == "an event/1"
        file.write_text(json.dumps({"priority": 4}))
        assert (await run("modify", "an event/1", "--file", str(file)))["priority"] == 4
        assert (await run("cancel", "an event/1"))["status"] == "cancelled"
        file.write_text(json.dumps(simple_event(event_id="two")))
        await run("event", "--ven", "ven-a", "--file", str(file))
        assert (await run("cancel", "two", "--vanish"))["vanished"] is True
        assert len(await run("events")) == 2
        asked = await run("report", "--ven", "ven-a", "--specifier", "usage", "--rid", "a", "--granularity-s", "60")
        cancelled = await run("cancel-report", asked["report_request_id"], "--with-update")
        assert cancelled["state"] == "cancelling with update"
        assert len(await run("requests")) == 1
        fault = await run("fault", "delay", "--delay-s", "0.1", "--ven", "ven-a", "--service", "EiOpt", "--count", "2")
        assert [one["fault_id"] for one in await run("faults")] == [fault["fault_id"]]
        assert await run("clear-faults", fault["fault_id"]) == []
        assert await run("clear-faults") == []
        assert (await run("reregister", "ven-a"))["ven_id"] == ven.ven_id
        assert (await run("deregister", ven.ven_id))["ven_id"] == ven.ven_id
        assert await run("opts") == []
        assert len((await run("offers"))["ven-a"]) == 1
        assert (await run("intervals", "--ven", "ven-a"))["intervals"] == []
        assert len(await run("messages", "--limit", "1", "--xml")) == 1

        refused = ["vtn", "event", "--ven", "ven-a", "--share", "0.5", "--market-context", "x"]
        assert await asyncio.to_thread(main, [*refused, "--admin", utility.admin]) == 1
        assert "has not reported" in capsys.readouterr().err


def test_a_vtn_that_is_not_there_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vtn", "registrations", "--admin", "http://127.0.0.1:1"]) == 1
    message = capsys.readouterr().err
    assert "does not answer" in message
    assert message.count("\n") == 1
