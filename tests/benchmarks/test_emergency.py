"""The benchmark runs, and tells its figures beside the floor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_it_prints_every_case_beside_the_floor(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.emergency", "--gpus", "16", "--runs", "3"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert (report["simulated"], report["gpus"], report["runs"]) == (True, 16, 3)
    assert set(report["untouched"]) == set(report["held"]) == {"first_cap", "last_cap", "read_back"}
    assert set(report["floor"]) == {"p50_ms", "p99_ms", "max_ms"}
    assert list(tmp_path.iterdir()) == []
