"""The stream's deltas rebuild the snapshot."""

from __future__ import annotations

from typing import Any

from aggregator.console.delta import delta


def snapshot(at: int, *, soc: float, rows: dict[int, float | None]) -> dict[str, Any]:
    return {"at": at, "sites": [soc], "event": None, "history": [{"t": t, "kw": v} for t, v in rows.items()]}


def test_only_what_changed_is_sent() -> None:
    before = snapshot(1, soc=80.0, rows={1: 5.0})
    assert delta(before, snapshot(2, soc=79.0, rows={1: 5.0})) == ("delta", {"at": 2, "sites": [79.0]})


def test_nothing_new_is_a_heartbeat() -> None:
    before = snapshot(1, soc=80.0, rows={1: 5.0})
    assert delta(before, {**before, "at": 6}) == ("heartbeat", {"at": 6})


def test_a_row_filled_late_is_sent_again_and_an_old_one_is_not() -> None:
    before = snapshot(2, soc=80.0, rows={1: 5.0, 2: None})
    name, body = delta(before, snapshot(3, soc=80.0, rows={2: 6.0, 3: 7.0}))
    assert (name, body) == ("delta", {"at": 3, "history": [{"t": 2, "kw": 6.0}, {"t": 3, "kw": 7.0}]})


def test_a_part_that_goes_away_is_sent_as_null() -> None:
    before = {**snapshot(1, soc=80.0, rows={}), "event": {"event_id": "e"}}
    assert delta(before, snapshot(2, soc=80.0, rows={})) == ("delta", {"at": 2, "event": None})
