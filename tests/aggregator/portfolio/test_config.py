"""A wrong configuration is one clear line; a kW is sold once."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from aggregator.portfolio.config import read_config
from aggregator.portfolio.programme import read_programme, shipped
from grid.errors import ConfigError


def _enrolment(enrolment_id: str, programme: str, sites: list[str]) -> dict[str, Any]:
    return {
        "programme": programme,
        "resources": [{"resource_id": s, "site_id": s} for s in sites],
        "ven": {
            "enrolment_id": enrolment_id,
            "ven_name": enrolment_id,
            "vtn_url": "https://127.0.0.1:1/OpenADR2/Simple/2.0b",
            "certificate": "ven.pem",
            "key_file": "ven.key",
            "vtn_roots": "roots.pem",
            "resources": [{"resource_id": s, "rid": f"{s}-power"} for s in sites],
        },
    }


GOOD: dict[str, Any] = {
    "aggregator": {"state_dir": "state", "audit_key_file": "audit.key"},
    "gateway": {"certificate": "g.pem", "key_file": "g.key", "roots": "r.pem"},
    "sites": [{"id": "a", "name": "Site A"}, {"id": "b"}],
    "enrolments": [
        _enrolment("portfolio", "demo-dispatch", ["a", "b"]),
        _enrolment("standby-a", "demo-standby", ["a"]),
    ],
}


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps(config))
    return path


def test_a_good_file_opens_and_paths_follow_it(tmp_path: Path) -> None:
    settings = read_config(write_config(tmp_path, GOOD))
    enrolments = settings.open_enrolments()
    assert settings.database == tmp_path / "state" / "aggregator.sqlite"
    assert settings.site_names == {"a": "Site A", "b": "b"}
    assert enrolments["portfolio"].sites_named(()) == ("a", "b")
    assert enrolments["portfolio"].sites_named(("b", "b")) == ("b",)
    assert enrolments["portfolio"].sites_named(("x",)) is None
    assert enrolments["standby-a"].programme.dispatch is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["gateway"].update(prot=1), "gateway.prot: unknown key"),
        (lambda c: c["sites"].append({"id": "a"}), "sites: id 'a' appears twice"),
        (lambda c: c["enrolments"][0]["resources"][1].update(site_id="z"), "unknown site 'z': add it to"),
        (lambda c: c["enrolments"][0]["resources"].pop(), "resources must name each resource"),
        (lambda c: c["enrolments"][0].update(programme="dmo"), "no programme 'dmo' is shipped: use one of demo-dis"),
        (lambda c: c["enrolments"][0].pop("programme"), "set either programme"),
        (lambda c: c["enrolments"][1].update(programme="demo-dispatch"), "site a would sell the same kW twice"),
        (lambda c: c["enrolments"][0]["ven"].update(market_contexts=["http://x"]), "market_contexts must be"),
        (lambda c: c["enrolments"][0]["ven"].update(default_opt="optIn"), "default_opt must be optOut"),
        (lambda c: c["enrolments"][1]["ven"].update(enrolment_id="portfolio"), "'portfolio' appears twice"),
        (lambda c: c["enrolments"][0]["ven"].update(vtn_url="http://x"), "must be an https URL"),
        (
            lambda c: c["enrolments"][1].update(_enrolment("standby-a", "demo-standby", ["a"])
            | {"resources": [{"resource_id": "a", "site_id": "b"}]}),
            "resource a stands for two sites",
        ),
    ],
)  # fmt: skip
def test_a_bad_file_says_what_to_do(tmp_path: Path, change: Any, says: str) -> None:
    config = deepcopy(GOOD)
    change(config)
    with pytest.raises(ConfigError, match=says) as refused:
        read_config(write_config(tmp_path, config)).open_enrolments()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("baseline_s = 60", "baseline_s = 65", "whole number of interval_s"),
        ('ratio_to = "1", a', 'ratio_to = "2", a', "each step must begin where the one before ends"),
        ("ramp_s = 20", "ramp_s = 20\nramps_s = 20", "unknown key"),
        ("[dispatch]", "[dispatches]", "unknown key"),
    ],
)
def test_a_programme_file_is_checked(tmp_path: Path, old: str, new: str, says: str) -> None:
    source = Path(__file__).parents[3] / "aggregator" / "portfolio" / "programmes" / "demo-dispatch.toml"
    path = tmp_path / "p.toml"
    path.write_text(source.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=says):
        read_programme(path)


def test_what_the_demo_sells() -> None:
    programme = shipped("demo-dispatch")
    assert programme.dispatch is not None
    assert (programme.dispatch.delta_sign, programme.dispatch.ramp_s, programme.dispatch.release_s) == (-1, 20, 20)
    assert not programme.verified
    assert not programme.holds_on(programme.valid_from.replace(year=2025))
    assert shipped("demo-standby").dispatch is None
