"""Frames of protocol version 1 are read for ever, unknown fields are ignored, and nonsense is a clear error."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grid.errors import MessageError
from grid.messages import SiteBudget, decode_from_aggregator, decode_from_site, encode

GOLDEN = (Path(__file__).parent / "golden" / "messages_v1.jsonl").read_text("utf-8").splitlines()
FROM_AGGREGATOR = {"welcome", "site_budget", "telemetry_ack", "refused"}
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", GOLDEN, ids=[json.loads(text)["type"] for text in GOLDEN])
def test_a_golden_frame_reads_to_the_same_and_tolerates_what_is_added(text: str) -> None:
    frame = json.loads(text)
    decode = decode_from_aggregator if frame["type"] in FROM_AGGREGATOR else decode_from_site
    assert json.loads(encode(decode(text))).items() >= frame.items()
    assert decode(json.dumps({**frame, "added_in_version_2": 1})) == decode(text)


def test_a_budget_knows_its_ramp_its_gaps_and_its_end() -> None:
    budget = next(decode_from_aggregator(t) for t in GOLDEN if '"site_budget"' in t)
    assert isinstance(budget, SiteBudget)
    halfway = budget.at(NOON + timedelta(seconds=10))
    assert halfway is not None
    assert halfway.limit_at(NOON + timedelta(seconds=10)) == pytest.approx(90.0)
    assert budget.at(NOON - timedelta(seconds=1)) is None
    assert budget.at(NOON + timedelta(seconds=110)) is None


@pytest.mark.parametrize(
    "text",
    ["{", '{"type": "unknown"}', '{"type": "hello"}', GOLDEN[2].replace("[100.5,null]", "[100.5]")],
)
def test_an_unreadable_frame_says_what_is_wrong(text: str) -> None:
    with pytest.raises(MessageError, match="unreadable frame from a site: "):
        decode_from_site(text)
