"""The allocation as a linear programme, for HiGHS: how much of each piece is taken, at least cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import highspy
import numpy as np

from agent.control.waterfill import Floats, Ints, Pieces


@dataclass(frozen=True, kw_only=True)
class Answer:
    ms: float
    """Of the solver alone, its model already handed over."""
    cpu_ms: float
    cost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Programme:
    """min cost * taken with 0 <= taken <= room and what each group needs."""

    pieces: Pieces
    room_kw: Floats
    groups: tuple[tuple[Ints, Floats], ...] = ()

    def needs(self, group: Ints, need_kw: Floats) -> Programme:
        """With these rows besides."""
        return replace(self, groups=(*self.groups, (group, need_kw)))

    def solve(self) -> Answer:
        """Raises RuntimeError where it has no optimum."""
        columns = len(self.room_kw)
        need = np.concatenate([n for _, n in self.groups])
        offsets = np.cumsum([0, *(len(n) for _, n in self.groups)])
        rows = np.stack([g + offset for (g, _), offset in zip(self.groups, offsets.tolist(), strict=False)], axis=1)
        programme = highspy.HighsLp()
        programme.num_col_, programme.num_row_ = columns, len(need)
        programme.col_cost_ = self.pieces.usd_per_kwh
        programme.col_lower_, programme.col_upper_ = np.zeros(columns), self.room_kw
        programme.row_lower_, programme.row_upper_ = need, np.full(len(need), highspy.kHighsInf)
        programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        programme.a_matrix_.start_ = np.arange(columns + 1) * len(self.groups)
        programme.a_matrix_.index_ = rows.ravel()
        programme.a_matrix_.value_ = np.ones(rows.size)
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
