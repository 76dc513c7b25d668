"""What stops a demo.

NegawattError
└── DemoError         a child process failed, or an exchange the demo waits for did not happen in time
    └── StoppedError  a person stopped it before its event was settled
"""

from __future__ import annotations

from grid.errors import NegawattError


class DemoError(NegawattError):
    """A child process failed, or something the demo waits for did not happen."""

    exit_code = 6


class StoppedError(DemoError):
    """A person stopped the demo before its event was settled."""
