"""A real ``negawatt vtn run``, to be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from certs.tls import Identity
from tests.ven.simulation.raw_ven import CLOCK, Utility

START_TIMEOUT_S = 30.0


class VtnProcess:
    """One configuration, any number of lives."""

    def __init__(self, folder: Path, identity: Identity, **settings: Any) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = {
            "vtn_id": "utility",
            "certificate": str(identity.certificate),
            "key_file": str(identity.key),
            "roots": str(identity.roots),
            **settings,
        }

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Utility]:
        """Serves; is killed in the end."""
        ready = self._folder / "ready.json"
        process = self._spawn(ready)
        try:
            async with CLOCK.timeout(START_TIMEOUT_S):
                while not ready.exists():
                    assert process.poll() is None, (self._folder / "vtn.log").read_text()
                    await CLOCK.sleep(0.02)
            facts = json.loads(ready.read_text())
            yield Utility(facts["port"], facts["admin_port"])
        finally:
            process.kill()
            process.wait(20)

    def _spawn(self, ready: Path) -> subprocess.Popen[bytes]:
        ready.unlink(missing_ok=True)
        config = self._folder / "vtn.toml"
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self._settings.items()))
        with (self._folder / "vtn.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "grid.process.cli", "vtn", "run", "--config", config, "--ready-file", ready],
                stderr=log,
            )
