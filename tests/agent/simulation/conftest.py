"""The simulated NVML library, compiled once for all tests, and a way to run pynvml against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.simulation.nvml import library
from agent.simulation.scenario import PlantSettings, Scenario, build

RunPynvml = Callable[[Path, str], Any]


def reference_site(site_id: str = "site-a", seed: int = 7, **settings: Any) -> Scenario:
    """The reference site; nothing of it touches its folder."""
    return build(PlantSettings(site_id=site_id, seed=seed, state_dir=Path("unused"), **settings))


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def run_pynvml(nvml_library: Path) -> RunPynvml:
    """Run statements with unmodified pynvml in a process of their own; returns what they put in ``out``."""

    def run(state: Path, statements: str) -> Any:
        script = "\n".join(
            (
                "import json, pynvml as nv",
                "out = {}",
                "def code(call, *args):",
                "    try:",
                "        call(*args)",
                "    except nv.NVMLError as error:",
                "        return error.value",
                "    return 0",
                statements,
                "print(json.dumps(out))",
            )
        )
        environ = {**os.environ, "LD_LIBRARY_PATH": str(nvml_library.parent), library.STATE_VARIABLE: str(state)}
        done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
