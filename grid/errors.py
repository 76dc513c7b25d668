"""The root of every error Negawatt raises on purpose.

Each package grows its own branch in its own ``errors.py``. The message of every one of them is a single
line that tells a person what to do; the command line prints it and exits with ``exit_code``.

    NegawattError
    ├── ConfigError          a configuration file, option or environment variable is wrong
    ├── AddressInUseError    a port that was asked for is taken
    ├── JournalError         a journal cannot be opened, takes no change, or was written by a newer version
    ├── MessageError         a frame between our processes cannot be read
    ├── UnitError            a quantity cannot be converted to kW
    └── AuditError           an audit chain does not verify
"""

from __future__ import annotations


class NegawattError(Exception):
    """Anything Negawatt refuses or fails at, in words a person can act on."""

    exit_code = 1


class ConfigError(NegawattError):
    """A configuration value is missing, unknown or unusable."""

    exit_code = 2


class AddressInUseError(NegawattError):
    """A listening address that was configured is already in use."""

    exit_code = 3


class JournalError(NegawattError):
    """A durable file cannot be opened or takes no change, or a newer Negawatt wrote it."""


class MessageError(NegawattError):
    """A frame between our own processes cannot be read."""


class UnitError(NegawattError):
    """A quantity is in a unit that does not convert to kW."""


class AuditError(NegawattError):
    """An audit chain is broken, or its signature does not hold."""
