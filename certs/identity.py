"""Who a peer is, by its certificate: ``urn:negawatt:site:<id>`` in the subject alternative name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SITE_URN = "urn:negawatt:site:"


def site_urn(site_id: str) -> str:
    """The URI a site's certificate carries."""
    return SITE_URN + site_id


def site_of_peer(peer_certificate: Mapping[str, Any] | None) -> str | None:
    """The site id in a verified peer certificate (``ssl.SSLObject.getpeercert()``); None when it names no site."""
    for kind, value in (peer_certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and value.startswith(SITE_URN):
            return str(value[len(SITE_URN) :])
    return None
