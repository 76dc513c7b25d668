"""The utility's PKI, as for our own VTN."""

from __future__ import annotations

from tests.ven.simulation.conftest import domain

__all__ = ["domain"]
