"""Contacts in the agent's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import AgentSettings, read_config
from agent.source.contacts import Contact, Wire
from grid.errors import ConfigError

SITE = """
[site]
id = "a"
state_dir = "state"
[meter]
[workloads]
file = "workloads.json"
"""
SWITCH = """
[[inputs]]
contacts = { on_utility = 0, on_emergency = 1 }
"""
PLANT = """
[[inputs]]
port = 503
contacts = { utility_present = 4, leak = 5 }
normally_closed = ["leak"]
[source]
hold_s = 120
shed_on = ["leak"]
"""


def read(folder: Path, text: str) -> AgentSettings:
    path = folder / "agent.toml"
    path.write_text(SITE + text, "utf-8")
    return read_config(path)


def test_contacts_of_several_modules(tmp_path: Path) -> None:
    settings = read(tmp_path, SWITCH + PLANT)
    assert settings.inputs[1].wires() == {
        Contact.UTILITY_PRESENT: Wire(address=4),
        Contact.LEAK: Wire(address=5, normally_closed=True),
    }
    assert settings.source.source_times().hold_s == 120.0
    assert settings.source.shed_on == {Contact.LEAK}


def test_interlocks_alone_will_do(tmp_path: Path) -> None:
    assert len(read(tmp_path, "[[inputs]]\ncontacts = { epo = 0 }").inputs) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SWITCH, "the source needs two signals: wire utility_present too"),
        (SWITCH + PLANT + "[[inputs]]\ncontacts = { leak = 0 }", "wired twice: leak"),
        ('[[inputs]]\ncontacts = { epo = 0 }\nnormally_closed = ["fire"]', "names fire, which this module does not"),
        ('[source]\nshed_on = ["ups_bypass"]', "shed_on names ups_bypass: an interlock is one of"),
        ("[[inputs]]\ncontacts = { smoke = 0 }", "smoke"),
    ],
)
def test_contacts_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(tmp_path, text)
