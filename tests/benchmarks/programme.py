"""The allocation as a linear programme, for HiGHS: how much of each piece is taken, at least cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import highspy
import numpy as np

from agent.control.waterfill import Floats, Ints, Pieces, summed


@dataclass(frozen=True, kw_only=True)
class Answer:
    ms: float
    """Of the solver alone, its model already handed over."""
    cpu_ms: float
    cost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What each of some groups needs, and which columns free it."""

    need_kw: Floats
    """By group."""
    column: Ints
    group: Ints
    share: Floats
    """Of what the column frees, in the group; entries of the same column and group add up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Programme:
    """min usd_per_kwh * taken with 0 <= taken <= room, one column a piece."""

    usd_per_kwh: Floats
    room_kw: Floats
    rows: tuple[Rows, ...] = ()

    @classmethod
    def of(cls, pieces: Pieces, room_kw: Floats) -> Programme:
        return cls(usd_per_kwh=pieces.usd_per_kwh, room_kw=room_kw)

    def needs(self, group: Ints, need_kw: Floats) -> Programme:
        """With these groups besides, in which every column is once and whole."""
        columns = np.arange(len(self.room_kw))
        return self.needing(Rows(need_kw=need_kw, column=columns, group=group, share=np.ones(len(columns))))

    def needing(self, rows: Rows) -> Programme:
        return replace(self, rows=(*self.rows, rows))

    def solve(self) -> Answer:
        """Raises RuntimeError where it has no optimum."""
        columns = len(self.room_kw)
        need = np.concatenate([r.need_kw for r in self.rows])
        offsets = np.cumsum([0, *(len(r.need_kw) for r in self.rows)]).tolist()
        keys = np.concatenate([r.column * len(need) + r.group + o for r, o in zip(self.rows, offsets, strict=False)])
        entries, which = np.unique(keys, return_inverse=True)
        programme = highspy.HighsLp()
        programme.num_col_, programme.num_row_ = columns, len(need)
        programme.col_cost_ = self.usd_per_kwh
        programme.col_lower_, programme.col_upper_ = np.zeros(columns), self.room_kw
        programme.row_lower_, programme.row_upper_ = need, np.full(len(need), highspy.kHighsInf)
        programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        programme.a_matrix_.start_ = np.searchsorted(entries, np.arange(columns + 1) * len(need))
        programme.a_matrix_.index_ = entries % len(need)
        programme.a_matrix_.value_ = summed(np.concatenate([r.share for r in self.rows]), which, len(entries))
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        highs.setOptionValue("output_flag", False)
        highs.passModel(programme)
        start, cpu = time.perf_counter(), time.process_time()
        highs.run()
        ms, cpu_ms = 1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - cpu)
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"HiGHS says {highs.modelStatusToString(highs.getModelStatus())}")
        return Answer(ms=ms, cpu_ms=cpu_ms, cost=float(highs.getObjectiveValue()))


def highs_version() -> str:
    return str(highspy.Highs().version())  # type: ignore[no-untyped-call]
