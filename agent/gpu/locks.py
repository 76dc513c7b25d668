"""Who may write a GPU's limit: whoever holds the lock of its UUID, in a folder that the whole machine shares.

A lock ends with the process that holds it, however that ends. A folder of each agent's own would let two of them
write the same GPU.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agent.errors import NodeError


class Locks:
    """One a GPU, in a folder that all agents of the machine share, and one for the journal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[Path, int] = {}

    def take_gpu(self, uuid: str) -> None:
        """Raises NodeError when another process has it."""
        self.take(self._folder / f"{uuid}.lock")

    def take(self, path: Path) -> None:
        """Does nothing when we have it. Raises NodeError when another process has it."""
        if path not in self._held:
            self._held[path] = _take_lock(path)

    def let_go(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])


def _take_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NodeError(f"cannot open the lock {path}: {error.strerror}; make its folder writable") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise NodeError(
            f"cannot lock {path} ({error.strerror}): another agent writes these GPUs; stop it first"
        ) from error
    return handle
