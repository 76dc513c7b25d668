"""The spool loses nothing it was told to keep, sends in order, and never uses a sequence number twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.spool import Spool
from grid.messages import METER_STREAM, HighWater
from tests.agent.disks import read_only

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def filled(path: Path, *seconds: int, max_rows: int = 1000) -> Spool:
    spool = Spool.open(path, "a", max_rows=max_rows)
    for k in seconds:
        spool.append(METER_STREAM, START + timedelta(seconds=k), {"site_kw": float(k), "limit_kw": None})
    return spool


def test_rows_survive_a_restart_and_leave_once_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    first = filled(path, 0, 1, 2)
    spool_id = first.spool_id
    first.close()
    spool = Spool.open(path, "a")
    frame = spool.frame(METER_STREAM, after=-1, dt_s=1)
    assert frame is not None
    assert (frame.spool_id, frame.seq, frame.t0) == (spool_id, 0, START)
    assert frame.columns == {"site_kw": [0.0, 1.0, 2.0], "limit_kw": [None, None, None]}
    spool.acknowledge(METER_STREAM, 2)
    assert spool.waiting() == 0
    assert spool.append(METER_STREAM, START, {"site_kw": 1.0}) == 3
    spool.close()


def test_a_missed_second_starts_a_new_frame_and_is_never_filled(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", 0, 1, 4, 5)
    first = spool.frame(METER_STREAM, after=-1, dt_s=1)
    second = spool.frame(METER_STREAM, after=1, dt_s=1)
    assert first is not None
    assert second is not None
    assert (first.rows, second.rows) == (2, 2)
    assert (second.seq, second.t0) == (2, START + timedelta(seconds=4))
    assert spool.frame(METER_STREAM, after=3, dt_s=1) is None
    spool.close()


def test_resume_forgets_what_the_server_has_of_this_spool_only(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", 0, 1, 2)
    other = HighWater(spool_id="another", stream=METER_STREAM, seq=99)
    assert spool.resume(METER_STREAM, [other]) == -1
    assert spool.waiting() == 3
    ours = HighWater(spool_id=spool.spool_id, stream=METER_STREAM, seq=1)
    assert spool.resume(METER_STREAM, [other, ours]) == 1
    assert spool.waiting() == 1
    spool.close()


def test_a_full_spool_drops_its_oldest_rows_and_says_how_many(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", *range(3), max_rows=3)
    assert (spool.evicted(), spool.overflowing) == (0, False)
    for k in (3, 4):
        spool.append(METER_STREAM, START + timedelta(seconds=k), {"site_kw": float(k), "limit_kw": None})
    assert (spool.waiting(), spool.evicted(), spool.overflowing) == (3, 2, True)
    frame = spool.frame(METER_STREAM, after=-1, dt_s=1)
    assert frame is not None
    assert frame.seq == 2
    spool.acknowledge(METER_STREAM, 2)
    spool.append(METER_STREAM, START + timedelta(seconds=5), {"site_kw": 5.0, "limit_kw": None})
    assert (spool.evicted(), spool.overflowing) == (2, False)
    spool.close()


def test_rows_that_the_disk_does_not_let_go_of_are_acknowledged_with_later_ones(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", 0, 1, 2)
    with read_only(spool):
        spool.acknowledge(METER_STREAM, 0)
        assert spool.resume(METER_STREAM, [HighWater(spool_id=spool.spool_id, stream=METER_STREAM, seq=0)]) == 0
    assert spool.waiting() == 3
    spool.acknowledge(METER_STREAM, 1)
    assert spool.waiting() == 1
    spool.close()


def test_two_spools_never_share_an_id(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one"), filled(tmp_path / "other")
    assert one.spool_id != other.spool_id
    one.close()
    other.close()
