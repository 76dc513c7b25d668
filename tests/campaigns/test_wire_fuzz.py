"""A few hundred rounds of the campaign in every test run; and proof that it would see what it is there to see."""

from __future__ import annotations

import importlib.util
import itertools
import json
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from lxml import etree  # type: ignore[import-untyped]

from certs.files import read_certificates
from tests.campaigns import wire_fuzz
from tests.campaigns.mutation import CHANGES, mutate
from ven.wire.party import Poll
from ven.wire.payload import encode
from ven.wire.schema import parse
from ven.wire.signature import Covered, Verifier, unsigned

ROUNDS = 400


def test_harmed_messages_are_refused_or_read_as_they_were_signed() -> None:
    result = wire_fuzz.fuzz(rounds=ROUNDS, seed=20260701)
    assert not result.failures
    for outcome in ("refused by the verifier", "accepted by the verifier", "decoded", "not decoded"):
        assert result.counts[outcome] > 0


def test_the_command_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert wire_fuzz.main(["--rounds", "3", "--seed", "7"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rounds"], result["seed"], result["failures"]) == (3, 7, [])


def test_the_campaign_sees_a_verifier_that_looks_at_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gullible(self: Verifier, content: bytes, now: datetime) -> Covered:
        signed_object = parse(content)[-1]
        return Covered(
            content=etree.tostring(signed_object, method="c14n", with_tail=False),
            certificate=read_certificates(tmp_path / "ca.pem")[0],
            fingerprint="",
            signed_at=now,
        )

    wire_fuzz.prepare(tmp_path)
    monkeypatch.setattr(Verifier, "verify", gullible)
    check = wire_fuzz.check_of(tmp_path)
    with pytest.raises(AssertionError, match="nobody signed"):
        check(unsigned(encode(Poll(ven_id="forged"))))


def test_the_campaign_sees_an_exception_that_is_no_wire_error(monkeypatch: pytest.MonkeyPatch) -> None:
    unharmed = len(wire_fuzz.messages()) * 3 * 2
    calls = itertools.count()

    def careless(content: bytes, *, checked: bool) -> tuple[str, object]:
        if next(calls) >= unharmed:
            raise KeyError("careless")
        return "", None

    monkeypatch.setattr(wire_fuzz, "decode_any", careless)
    result = wire_fuzz.fuzz(rounds=10, seed=1)
    assert len(result.failures) == 10
    assert all("KeyError: 'careless'" in failure for failure in result.failures)
    assert result.exit_code == 1


def test_the_same_seed_does_the_same_harm(tmp_path: Path) -> None:
    content = wire_fuzz.prepare(tmp_path)[0]
    assert mutate(content, Random(5)) == mutate(content, Random(5))
    assert len({mutate(content, Random(seed)) for seed in range(50)}) > 40
    assert len(CHANGES) > 10


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has wheels for Linux on x86-64 up to Python 3.13 only"
)
def test_a_short_guided_run_finds_nothing() -> None:
    result = wire_fuzz.guided(rounds=200, seed=1)
    assert not result.failures
    assert result.counts["runs"] >= 200
    assert result.counts["covered branches"] > 0
