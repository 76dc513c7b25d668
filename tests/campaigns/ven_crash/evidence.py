"""What every life of a VEN did, line by line in one file that outlives each of them.

A line is one ``write`` to a file opened for appending, so it is there when the process is killed at the next
instruction: before a send, before an answer of the sink, before the return of the observer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from grid.clock import Clock
from tests.campaigns.ven_crash.points import message_name, signed_object

_REQUEST_ID = re.compile(rb"<pyld:requestID>([^<]*)<")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that a VEN did."""

    life: int
    at: str
    kind: str
    """sent, acknowledged, asked, told."""
    what: str
    """Name of the message; the event put to the sink; what is in force, both as JSON."""
    request_id: str = ""
    digest: str = ""
    """Of the signed object."""

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.at)


class Evidence:
    """Written by one life at a time."""

    def __init__(self, path: Path, life: int, clock: Clock) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        written = path.read_bytes()
        # A kill in the midst of a write leaves a part of a line; what it was to say did not happen.
        os.truncate(self._file, written.rfind(b"\n") + 1)
        self._life = life
        self._clock = clock

    def asked(self, event: str) -> None:
        """The sink was asked."""
        self._write("asked", event)

    def told(self, in_force: str) -> None:
        """The observer was told what is in force."""
        self._write("told", in_force)

    def message(self, kind: str, content: bytes) -> None:
        """One of ours is about to go out (sent), or was taken (acknowledged)."""
        covered = signed_object(content)
        found = _REQUEST_ID.search(covered)
        self._write(
            kind,
            message_name(content),
            "" if found is None else found[1].decode(),
            hashlib.sha256(covered).hexdigest(),
        )

    def _write(self, kind: str, what: str, request_id: str = "", digest: str = "") -> None:
        line = Line(
            life=self._life,
            at=self._clock.now().isoformat(),
            kind=kind,
            what=what,
            request_id=request_id,
            digest=digest,
        )
        os.write(self._file, json.dumps(asdict(line)).encode() + b"\n")


class EvidenceReader:
    """Follows the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines: list[Line] = []

    def lines(self, *kinds: str) -> Sequence[Line]:
        """Of these kinds, in order."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
            whole = fresh[: fresh.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._lines += [Line(**json.loads(line)) for line in whole.splitlines()]
        return [line for line in self._lines if line.kind in kinds]
