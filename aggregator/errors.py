"""What can go wrong at the aggregator.

NegawattError
└── AggregatorError
    ├── StoreError           the database cannot be opened, or a newer Negawatt wrote it
    ├── SiteRefusedError     a site's frame or connection breaks the uplink's rules; the reason goes to the site
    └── SettlementError      a statement cannot be made from what is stored
"""

from __future__ import annotations

from grid.errors import NegawattError


class AggregatorError(NegawattError):
    """Anything the aggregator refuses or fails at."""


class StoreError(AggregatorError):
    """The database cannot be opened, migrated or trusted."""


class SiteRefusedError(AggregatorError):
    """A site breaks a rule of the uplink: it is told why, the connection ends, and the audit keeps it."""


class SettlementError(AggregatorError):
    """What is stored does not make a statement."""
