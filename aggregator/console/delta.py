"""What changed between two snapshots of the board.

Pure. Applying each delta in turn to the first snapshot gives the last one, except that history rows older than the
board's horizon are left for the reader to drop. A row of the history is sent again when a late sample filled it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def delta(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and body of the next message: ``delta`` with the changed parts, or ``heartbeat`` with only ``at``."""
    body = {key: value for key, value in after.items() if key not in ("at", "history") and value != before.get(key)}
    known = {row["t"]: row for row in before["history"]}
    rows = [row for row in after["history"] if known.get(row["t"]) != row]
    if rows:
        body["history"] = rows
    return ("delta" if body else "heartbeat"), {"at": after["at"], **body}
