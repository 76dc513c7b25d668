"""Requests in flight: counted right, wrapped around, scaled to the fleet, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.simulation.arrivals import Requests, ServingLoad, generated, recorded, scaled
from agent.simulation.errors import ArrivalsError


def recording(path: Path, requests: int = 120) -> Path:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    lines += [f"2023-11-16 18:15:{i // 10:02d}.{i % 10}805900,600,{10 + i}" for i in range(requests)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_in_flight_counts_every_request_for_as_long_as_it_lasts() -> None:
    requests = Requests(
        at_s=np.array([1.2, 8.5]),
        context_tokens=np.array([6000.0, 0.0]),
        generated_tokens=np.array([50.0, 100.0]),
        period_s=10,
    )
    # The first runs from 1.2 s to 3.7 s; the second from 8.5 s to 11.5 s, which wraps around.
    assert requests.in_flight().tolist() == pytest.approx([1, 2, 1, 1, 0, 0, 0, 0, 1, 1])


def test_recorded_requests_are_read(tmp_path: Path) -> None:
    requests = recorded(recording(tmp_path / "requests.csv"))
    assert len(requests.at_s) == 120
    assert requests.at_s[1] == pytest.approx(0.1)
    assert requests.period_s == 12
    assert requests.generated_tokens[5] == 15


def test_a_fleet_sees_the_recording_many_times_over(tmp_path: Path) -> None:
    requests = recorded(recording(tmp_path / "requests.csv"))
    fleet = scaled(requests, 100.0, np.random.default_rng(1))
    assert len(fleet.at_s) == 120 * 10
    assert fleet.in_flight().sum() == pytest.approx(10 * requests.in_flight().sum(), rel=0.1)


def test_generated_load_varies_around_its_mean() -> None:
    load = ServingLoad(generated(50.0, np.random.default_rng(3)), np.random.default_rng(4))
    levels = np.array([load.at(second) for second in range(3600)])
    assert levels.mean() == pytest.approx(1.0, abs=0.001)
    assert 0.05 < levels.std() < 0.3
    assert load.at(17.25) == pytest.approx(load.at(3600 + 17.25))


def test_unusable_recordings_are_refused_in_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    with pytest.raises(ArrivalsError, match=r"wrong\.csv"):
        recorded(wrong)
    wrong.write_text("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,1\n", "utf-8")
    with pytest.raises(ArrivalsError, match="no column GeneratedTokens"):
        recorded(wrong)
    wrong.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "utf-8")
    with pytest.raises(ArrivalsError, match="cannot read"):
        recorded(wrong)
    with pytest.raises(ArrivalsError, match="60 or more"):
        recorded(recording(tmp_path / "short.csv", requests=20))
