"""An auditor's way: export the chain, verify it in a process of its own; one altered byte fails."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.portfolio.config import read_config
from aggregator.service import Aggregator
from aggregator.storage.store import open_store
from certs.errors import CertificateError
from certs.signing import signing_key
from grid.audit import public_key_text
from grid.clock import SystemClock
from grid.process.cli import main
from tests.aggregator.portfolio.test_config import GOOD, write_config

CLOCK = SystemClock()


@pytest.fixture
async def exported(tmp_path: Path) -> tuple[Path, Path]:
    """The configuration and folder of an aggregator whose chain has three entries under two heads."""
    config = write_config(tmp_path, GOOD)
    async with open_store(
        tmp_path / "state" / "aggregator.sqlite", signing_key(tmp_path / "audit.key"), CLOCK
    ) as store:
        for batch in ((1.5,), (2.5, 3.5)):
            async with store.transaction() as tx:
                for kw in batch:
                    await tx.record(actor="t", action="budget.issued", subject="a/1", facts={"limit_kw": kw})
    return config, tmp_path


def _export(config: Path, folder: Path) -> tuple[Path, Path]:
    out, public = folder / "audit.jsonl", folder / "public.key"
    assert main(["audit", "export", "--config", str(config), "--out", str(out), "--public-key", str(public)]) == 0
    return out, public


def test_an_export_verifies_in_its_own_process(exported: tuple[Path, Path]) -> None:
    out, public = _export(*exported)
    checked = subprocess.run(
        [sys.executable, "-m", "grid.process.cli", "audit", "verify", str(out), "--public-key", str(public)],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")
    assert json.loads(checked.stdout) == {"chain": "aggregator", "entries": 3, "heads": 2, "verified": True}


def test_any_one_altered_byte_fails_with_one_line(
    exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out, public = _export(*exported)
    good = out.read_bytes()
    for position in range(0, len(good), 7):
        altered = bytearray(good)
        altered[position] ^= 0x01
        out.write_bytes(altered)
        capsys.readouterr()
        assert main(["audit", "verify", str(out), "--public-key", str(public)]) != 0, good[
            position - 20 : position + 20
        ]
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("negawatt: ")
        assert said.err.count("\n") == 1


def test_another_key_and_a_missing_file_fail(exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out, public = _export(*exported)
    other = signing_key(out.with_name("other.key"))
    public.write_text(public_key_text(other.public_key()))
    assert main(["audit", "verify", str(out), "--public-key", str(public)]) == 1
    assert "signature" in capsys.readouterr().err
    assert main(["audit", "verify", str(out) + "x", "--public-key", str(public)]) == 1
    assert "cannot read the export" in capsys.readouterr().err


def test_a_lost_key_is_said_and_never_replaced(exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config, folder = exported
    (folder / "audit.key").unlink()
    words = ["audit", "export", "--config", str(config), "--out", str(folder / "o"), "--public-key", str(folder / "p")]
    assert main(words) == 4
    assert "audit.key" in (said := capsys.readouterr().err)
    assert "backup" in said
    assert sorted(path.name for path in folder.iterdir() if path.name in {"audit.key", "o", "p"}) == []


async def test_the_aggregator_does_not_go_on_with_its_chain_under_a_new_key(exported: tuple[Path, Path]) -> None:
    config, folder = exported
    (folder / "audit.key").unlink()
    with pytest.raises(CertificateError, match="restore it from a backup"):
        await Aggregator(read_config(config), CLOCK).run(None)
    assert not (folder / "audit.key").exists()


def test_a_database_of_an_older_negawatt_is_left_as_it_is(
    exported: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = exported
    database = folder / "state" / "aggregator.sqlite"
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE before_the_first_revision (x)")
    before = database.read_bytes()
    words = ["audit", "export", "--config", str(config), "--out", str(folder / "o"), "--public-key", str(folder / "p")]
    assert main(words) == 1
    assert "of an older Negawatt (revision None, this one reads 0001)" in capsys.readouterr().err
    assert database.read_bytes() == before
    assert not (folder / "o").exists()


def test_nothing_to_export_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, GOOD)
    words = ["audit", "export", "--config", str(config), "--out", "o", "--public-key", "p"]
    assert main(words) == 2
    assert "run the aggregator first" in capsys.readouterr().err
