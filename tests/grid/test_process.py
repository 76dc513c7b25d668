"""How processes start, are configured, answer for their health, and stop."""

from __future__ import annotations

import errno
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from grid.errors import AddressInUseError, ConfigError, JournalError
from grid.journal import open_journal, transaction
from grid.process.cli import main
from grid.process.config import FilePath, Settings, load
from grid.process.health import AdminServer
from grid.process.listen import cannot_listen


class Door(Settings):
    host: str = "127.0.0.1"
    port: int = 0
    key_file: FilePath | None = None


class House(Settings):
    door: Door


def test_configuration_is_checked_and_paths_follow_the_file(tmp_path: Path) -> None:
    file = tmp_path / "house.toml"
    file.write_text('[door]\nport = 1\nkey_file = "door.key"\n')
    door = load(file, House, environ={"NEGAWATT_DOOR_PORT": "7"}).door
    assert (door.port, door.key_file) == (7, tmp_path / "door.key")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[door]\nprot = 1\n", "door.prot: unknown key"),
        ("[door]\nport = 'x'\n", "door.port: "),
        ("[door\n", "not readable as TOML"),
        (None, "there is no configuration file"),
    ],
)
def test_a_wrong_configuration_names_the_key(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "house.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(file, House, environ={})


async def test_admin_port_tells_what_is_waited_for() -> None:
    registry = CollectorRegistry()
    Counter("negawatt_test", "counts", registry=registry).inc()
    waiting: dict[str, str | None] = {"meter": "no reading yet"}
    async with AdminServer({"meter": lambda: waiting["meter"]}, registry) as admin, aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{admin.port}"
        async with http.get(f"{base}/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["waiting_for"] == {"meter": "no reading yet"}
        waiting["meter"] = None
        async with http.get(f"{base}/readyz") as answer:
            assert answer.status == 200
        async with http.get(f"{base}/metrics") as answer:
            assert "negawatt_test_total 1.0" in await answer.text()
        with pytest.raises(AddressInUseError, match="configure another port"):
            await AdminServer({}, registry, port=admin.port).__aenter__()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_not_this_machine_is_no_port_in_use(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:0: .*; configure a host name or address"):
        await AdminServer({}, CollectorRegistry(), host=host).__aenter__()


def test_a_port_one_may_not_have_is_no_port_in_use() -> None:
    error = cannot_listen("127.0.0.1", 80, PermissionError(errno.EACCES, "denied"))
    assert isinstance(error, ConfigError)
    assert "configure a port above 1023" in str(error)


def test_journal_refuses_what_a_newer_version_wrote(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    first = ["CREATE TABLE a (x INTEGER) STRICT"]
    open_journal(path, first).close()
    connection = open_journal(path, [*first, "ALTER TABLE a ADD COLUMN y TEXT"])

    def insert_a_good_and_a_bad_row() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO a VALUES (1, 'kept?')")
            connection.execute("INSERT INTO a VALUES ('no integer', 'x')")

    with pytest.raises(sqlite3.IntegrityError):
        insert_a_good_and_a_bad_row()
    assert connection.execute("SELECT count(*) FROM a").fetchone()[0] == 0
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    connection.close()
    with pytest.raises(JournalError, match="newer Negawatt"):
        open_journal(path, first)


def test_unknown_noun_exits_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["nonsense"])
    assert stopped.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


SERVICE = """
import asyncio, sys
from pathlib import Path
from grid.errors import ConfigError
from grid.process.cli import main
from grid.process.running import run_until_stopped, write_ready_file

async def serve():
    try:
        async with asyncio.TaskGroup() as group:
            if sys.argv[1] == "fail":
                raise ConfigError("set the thing")
            write_ready_file(Path(sys.argv[1]), port=1)
            print("serving", flush=True)
            await asyncio.Event().wait()
    finally:
        print("stopping", flush=True)
        if sys.argv[-1] == "slowly":
            await asyncio.to_thread(sys.stdin.readline)
        print("cleaned up", flush=True)

try:
    sys.exit(run_until_stopped(serve()))
except ConfigError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_runs_every_finally_and_exits_0(number: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(ready)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "serving\n"
        assert json.loads(ready.read_text()) == {"pid": child.pid, "port": 1}
        child.send_signal(number)
        rest, errors = child.communicate(timeout=20)
    assert (child.returncode, rest, errors) == (0, "stopping\ncleaned up\n", "")


def test_a_second_stop_signal_does_not_cut_the_finallys_short(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVICE, str(tmp_path / "ready.json"), "slowly"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "serving\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "stopping\n"
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate("\n", timeout=20)
    assert (child.returncode, rest, errors) == (0, "cleaned up\n", "")


def test_our_own_error_inside_a_task_group_comes_out_bare() -> None:
    child = subprocess.run([sys.executable, "-c", SERVICE, "fail"], capture_output=True, text=True, timeout=20)
    assert (child.returncode, child.stderr) == (1, "set the thing\n")
