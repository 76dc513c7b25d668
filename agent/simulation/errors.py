"""What can go wrong in a simulated site.

NegawattError
└── SimulationError          the plant cannot be built or served
    ├── CompilerError        the simulated NVML library cannot be compiled
    ├── StateError           a state file is missing, foreign, or no longer holds what was asked for
    └── ArrivalsError        a file of recorded requests cannot be read
"""

from __future__ import annotations

from grid.errors import NegawattError


class SimulationError(NegawattError):
    """The plant cannot be built or served."""

    exit_code = 7


class CompilerError(SimulationError):
    """There is no C compiler, or it refuses the library."""


class StateError(SimulationError):
    """The GPUs' state file cannot be used as asked."""


class ArrivalsError(SimulationError):
    """Recorded requests cannot be read."""
