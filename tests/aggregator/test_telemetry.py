"""Whole intervals from stored rows: complete, still coming, or gone; never filled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from aggregator.storage.store import Store
from aggregator.storage.telemetry import store_rows
from aggregator.telemetry import Arrival, StoredReadings, interval_means
from grid.clock import VirtualClock
from grid.intervals import Interval
from grid.messages import TelemetryFrame
from tests.aggregator.conftest import T0
from ven.ports import Missing, Quality, Reading, ResourceState

TEN = Interval.lasting(T0, 10)


async def _store(store: Store, seq: int, values: Sequence[float | None], quality: list[int] | None = None) -> None:
    frame = TelemetryFrame(
        site_id="a", spool_id="s", stream="meter_1s", seq=seq, t0=T0 + timedelta(seconds=seq, milliseconds=3),
        dt_s=1, columns={"site_kw": [*values]}, quality=quality or [],
    )  # fmt: skip
    async with store.transaction() as tx:
        await store_rows(tx.connection, frame, after=seq - 1 if seq else None)


async def _arrivals(store: Store, seconds: float = 30) -> list[tuple[Arrival, float | None]]:
    async with store.reading() as connection:
        means = await interval_means(connection, ["a"], Interval.lasting(T0, seconds), 10)
    return [(m.arrival, m.kw) for m in means["a"]]


async def test_complete_missing_and_pending_are_told_apart(store: Store) -> None:
    assert await _arrivals(store, 10) == [(Arrival.PENDING, None)]
    await _store(store, 0, [100.0] * 5 + [102.0] * 5)
    await _store(store, 10, [100.0, None] + [100.0] * 9)
    assert await _arrivals(store) == [(Arrival.COMPLETE, 101.0), (Arrival.MISSING, None), (Arrival.PENDING, None)]


async def test_an_estimated_second_is_no_measurement(store: Store) -> None:
    await _store(store, 0, [100.0] * 10, [0] * 9 + [8])
    assert await _arrivals(store, 10) == [(Arrival.MISSING, None)]


async def test_readings_for_reports_are_means_of_whole_intervals_or_nothing(store: Store) -> None:
    source = StoredReadings(store, {"res-a": "a", "res-b": "b"}, VirtualClock(T0))
    await _store(store, 0, [100.0] * 9)
    assert await source.read(["res-a", "res-b"], TEN) == {"res-a": None, "res-b": None}
    await _store(store, 9, [110.0])
    assert await source.read(["res-a", "res-b"], TEN) == {"res-a": Reading(kw=101.0), "res-b": None}
    with pytest.raises(KeyError):
        await source.read(["res-x"], TEN)


async def test_a_reading_that_can_never_come_is_told_from_one_that_may(store: Store) -> None:
    source = StoredReadings(store, {"res-a": "a"}, VirtualClock(T0))
    await _store(store, 0, [100.0] * 4 + [None] + [100.0] * 4)
    assert await source.read(["res-a"], TEN) == {"res-a": None}
    await _store(store, 9, [100.0])
    assert await source.read(["res-a"], TEN) == {"res-a": Missing()}


async def test_a_flagged_second_makes_the_reading_uncertain(store: Store) -> None:
    await _store(store, 0, [100.0] * 10, [0] * 9 + [16])
    readings = await StoredReadings(store, {"res-a": "a"}, VirtualClock(T0)).read(["res-a"], TEN)
    assert readings["res-a"] == Reading(kw=100.0, quality=Quality.UNCERTAIN)


async def test_a_site_is_online_while_its_rows_come(store: Store) -> None:
    clock = VirtualClock(T0)
    source = StoredReadings(store, {"res-a": "a", "res-b": "b"}, clock)
    assert await source.state(["res-a", "res-b"]) == {}
    await _store(store, 0, [100.0] * 10)
    await clock.advance(20)
    assert await source.state(["res-a", "res-b"]) == {"res-a": ResourceState(online=True)}
    await clock.advance(120)
    assert await source.state(["res-a"]) == {"res-a": ResourceState(online=False)}
