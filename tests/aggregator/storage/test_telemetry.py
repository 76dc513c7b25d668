"""Rows are stored once, whatever is sent again."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from aggregator.storage.store import Store
from aggregator.storage.tables import telemetry
from aggregator.storage.telemetry import arrived_until, mark_of, marks, meter_rows, store_rows
from grid.intervals import Interval
from grid.messages import METER_STREAM, HighWater, TelemetryFrame
from tests.aggregator.conftest import T0


def frame(seq: int, values: list[float], *, spool: str = "s1", at_s: float | None = None) -> TelemetryFrame:
    start_s = float(seq) if at_s is None else at_s
    return TelemetryFrame(
        site_id="a", spool_id=spool, stream=METER_STREAM, seq=seq, t0=T0 + timedelta(seconds=start_s), dt_s=1,
        columns={"site_kw": list(values), "battery_kw": [None] * len(values)},
    )  # fmt: skip


async def _stored(store: Store, sent: TelemetryFrame) -> int:
    async with store.transaction() as tx:
        before = await mark_of(tx.connection, "a", sent.spool_id, sent.stream)
        return await store_rows(tx.connection, sent, after=before)


async def _values(store: Store) -> list[float | None]:
    async with store.reading() as connection:
        rows = await meter_rows(connection, ["a", "b"], Interval.lasting(T0, 3600))
    assert rows["b"] == []
    return [row.site_kw for row in rows["a"]]


async def test_a_frame_sent_again_or_overlapping_adds_only_what_is_new(store: Store) -> None:
    assert await _stored(store, frame(0, [1, 2, 3])) == 2
    assert await _stored(store, frame(0, [1, 2, 3])) == 2
    assert await _stored(store, frame(1, [20, 30, 4, 5])) == 4
    assert await _values(store) == [1, 2, 3, 4, 5]
    async with store.reading() as connection:
        assert await marks(connection, "a") == (HighWater(spool_id="s1", stream=METER_STREAM, seq=4),)
        assert await arrived_until(connection, "a") == T0 + timedelta(seconds=4)
        assert await arrived_until(connection, "b") is None


async def test_a_rebuilt_spool_is_no_duplicate_and_the_first_row_of_a_second_stays(store: Store) -> None:
    await _stored(store, frame(0, [1, 2]))
    assert await _stored(store, frame(0, [9, 3], spool="s2", at_s=1)) == 1
    assert await _values(store) == [1, 2, 3]


async def test_a_spool_may_begin_anywhere(store: Store) -> None:
    assert await _stored(store, frame(5000, [1, 2], at_s=0)) == 5001
    async with store.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(telemetry))).scalar_one() == 2
