"""A few rounds in every test run; and proof that the campaign sees a test that does not notice."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from tests.campaigns import conformance_mutations
from tests.campaigns.conformance_mutations import Round, every_round, play
from tests.ven.conformance.mutations import MUTATIONS, Mutation

QUICK = 348
"""A seed that begins with two rules and an operation of one mutation each."""


def test_switched_off_rules_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance_mutations.main(["--rounds", "3", "--seed", str(QUICK)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rounds"], result["failures"]) == (3, [])
    assert result["counts"]["mutations"] >= 3


def test_a_mutation_that_no_test_notices_is_a_failure() -> None:
    first, second = play(Round((2,), (MUTATIONS["SIMPLE has any level"],)))
    assert "no test fails when SIMPLE has any level" in first
    assert "test_intervals_are_numbered_from_zero[scripted-ec-signed] fails under no mutation" in second


def test_a_ven_that_does_not_start_has_noticed_nothing() -> None:
    failures = play(Round((2,), (Mutation("nothing that we know", (2,), lambda: None),)))
    assert "'error'" in failures[0]


@pytest.mark.parametrize(
    ("tag", "message", "outcome"),
    [
        ("failure", "AssertionError: 200 == 454", "failed"),
        ("failure", "tests.ven.conformance.process.VenEndedError: see ven.log", "error"),
        ("error", "failed on setup", "error"),
        ("system-out", "", "passed"),
    ],
)
def test_a_ven_that_died_has_noticed_nothing(tag: str, message: str, outcome: str) -> None:
    case = ElementTree.Element("testcase")
    ElementTree.SubElement(case, tag, {"message": message})
    assert conformance_mutations.outcome_of(case) == outcome


def test_every_rule_and_operation_has_its_round() -> None:
    rounds = every_round()
    assert all(one.mutations for one in rounds)
    assert {mutation.name for one in rounds for mutation in one.mutations} == set(MUTATIONS)
