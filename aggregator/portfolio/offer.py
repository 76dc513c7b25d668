"""How long a site's word on what it could give counts: what is older is neither sold nor shown as deliverable."""

from __future__ import annotations

OFFER_VALID_S = 30.0
"""Three missed capability messages."""
