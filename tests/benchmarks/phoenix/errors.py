"""What ends the benchmark with a line instead of figures.

BenchmarkError
└── MissingDataError    a file of the data set is not where it is looked for
"""

from __future__ import annotations

from grid.errors import NegawattError


class BenchmarkError(NegawattError):
    """A curve, job or event file cannot be used."""

    exit_code = 2


class MissingDataError(BenchmarkError):
    """The field test's data is absent."""

    exit_code = 3
