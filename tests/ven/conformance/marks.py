"""What a conformance test shows: numbered rules, service operations; and which VEN and VTN it needs.

``RULES`` and ``OPERATIONS`` are the whole list. docs/conformance.md is made of them and of the tests that bear the
marks; the mutation campaign runs those tests with a rule or an operation switched off.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import pytest

from certs.files import KeyType


class Sender(StrEnum):
    """Who says it."""

    VEN = "VEN"
    VTN = "VTN"


class PeerSpec(NamedTuple):
    """One VTN that runs."""

    kind: str
    """ours, openleadr or scripted."""
    key_type: KeyType = KeyType.EC
    signed: bool = True

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.key_type.value}-{'signed' if self.signed else 'unsigned'}"


OURS = PeerSpec("ours")
OPENLEADR = PeerSpec("openleadr")
SCRIPTED = PeerSpec("scripted")
"""A VTN in the test's hand, for what neither of the others can be made to say."""
EVERY = tuple(
    PeerSpec(kind, key_type, signed)
    for kind in ("ours", "openleadr")
    for key_type in (KeyType.EC, KeyType.RSA)
    for signed in (True, False)
)

ECHOED = "Answers echo the requestID, and those to events the eventID and the modificationNumber."

RULES = {
    1: "Every time we send is UTC.",
    2: "The intervals of a signal are numbered from 0 by 1.",
    6: 'Any testEvent text but "false" is a test of communications: answered, not run.',
    8: "The durations of a signal's intervals add up to the active period.",
    9: "SIMPLE has the levels 0 to 3.",
    12: "Every event whose responseRequired is always is answered; one with never is not.",
    14: "A SIMPLE level counts while the event is active, and not before.",
    18: "Of overlapping events the one of higher priority counts, of equal ones the first active.",
    19: "One bad event does not reject the others of its message.",
    21: "vtnID, venID and eventID are checked; an unknown cancelled event is answered, not run.",
    22: "Targets are alternatives: venID, groupID, resourceID, partyID; an empty eiTarget means this VEN.",
    30: "The start is put off at random within startafter.",
    35: ECHOED,
    36: "A cancelled event ends.",
    41: ECHOED,
    42: ECHOED,
    43: ECHOED,
    44: ECHOED,
    45: "No message has an xsi:schemaLocation.",
    47: "Duration 0 is open until cancelled.",
    48: "Market context, target and signal have an error code per event: 453, 462, 460.",
    54: "Polls come at a steady pace.",
    55: "Polls come no faster than oadrRequestedOadrPollFreq.",
    56: "A new event is run and answered, once.",
    57: "A higher modificationNumber replaces the event.",
    58: "A lower modificationNumber is answered with 450 and changes nothing.",
    59: "A cancelled event is answered.",
    60: "What runs is ended by the cancel.",
    61: "An event that is absent from a full list is cancelled, after it was asked for once more.",
    62: "An event that is sent again is answered again: unchanged, cancelled, completed.",
    65: "The random delay is kept over modifications; a cancelled event ends within startafter.",
    66: "eventStatus completed does not stop what runs.",
}
"""One line a rule (OpenADR 2.0b conformance rules)."""

PUSH = "push"


class Operation(NamedTuple):
    """One message of a service, one way."""

    service: str
    name: str
    sender: Sender

    @property
    def title(self) -> str:
        return f"{self.name} by the {self.sender}" + (", pushed" if self.service == PUSH else "")


def _of(service: str, sender: Sender, meanings: dict[str, str]) -> dict[Operation, str]:
    return {Operation(service, name, sender): meaning for name, meaning in meanings.items()}


OPERATIONS: dict[Operation, str] = {
    **_of(
        "EiRegisterParty",
        Sender.VEN,
        {
            "oadrQueryRegistration": "What does the VTN offer?",
            "oadrCreatePartyRegistration": "Register, and register again with the identifiers held.",
            "oadrCancelPartyRegistration": "Leave.",
            "oadrCanceledPartyRegistration": "Confirm that the VTN put us out; wrong identifiers are refused.",
            "oadrResponse": "Acknowledge oadrRequestReregistration.",
        },
    ),
    **_of(
        "EiRegisterParty",
        Sender.VTN,
        {
            "oadrCreatedPartyRegistration": "The identifiers and the poll frequency we keep.",
            "oadrRequestReregistration": "Register again.",
            "oadrCancelPartyRegistration": "We are put out, and do not come back unasked.",
            "oadrCanceledPartyRegistration": "We left, or the VTN will not let us go.",
        },
    ),
    **_of("OadrPoll", Sender.VEN, {"oadrPoll": "Is there anything for us?"}),
    **_of(
        "EiEvent",
        Sender.VEN,
        {
            "oadrRequestEvent": "Every event again: at the start and after an outage.",
            "oadrCreatedEvent": "The answer to an event.",
        },
    ),
    **_of("EiEvent", Sender.VTN, {"oadrDistributeEvent": "Events for us."}),
    **_of(
        "EiReport",
        Sender.VEN,
        {
            "oadrRegisterReport": "What we can report, all four metadata reports.",
            "oadrCreatedReport": "Requests taken, or refused with 461.",
            "oadrUpdateReport": "Data, each interval once.",
            "oadrCanceledReport": "Requests ended.",
            "oadrRegisteredReport": "Reports that the VTN offers are taken note of.",
            "oadrUpdatedReport": "Data that nobody asked for is refused.",
        },
    ),
    **_of(
        "EiReport",
        Sender.VTN,
        {
            "oadrRegisteredReport": "The offer is taken; requests may ride along.",
            "oadrCreateReport": "A request for data.",
            "METADATA": "A request for the offer again.",
            "oadrUpdatedReport": "Data is taken; a cancel may ride along.",
            "oadrCancelReport": "A request ends.",
            "oadrRegisterReport": "The VTN offers reports of its own.",
            "oadrUpdateReport": "The VTN sends data.",
        },
    ),
    **_of(
        "EiOpt",
        Sender.VEN,
        {"oadrCreateOpt": "An opt over time, or of one event.", "oadrCancelOpt": "The opt ends."},
    ),
    **_of(
        "EiOpt",
        Sender.VTN,
        {"oadrCreatedOpt": "The opt is taken or refused.", "oadrCanceledOpt": "The end is taken, or asked for again."},
    ),
    **_of(
        PUSH,
        Sender.VTN,
        {
            "oadrDistributeEvent": "Events.",
            "oadrCreateReport": "A request, answered in the HTTP response.",
            "oadrCancelReport": "Its end, answered in the HTTP response.",
            "oadrRequestReregistration": "Register again.",
            "oadrCancelPartyRegistration": "We are put out.",
        },
    ),
}
"""One line an operation."""


def rule(*numbers: int) -> pytest.MarkDecorator:
    """The test fails when any of these rules is switched off."""
    unknown = [number for number in numbers if number not in RULES]
    assert not unknown, f"no rule {unknown}"
    return pytest.mark.rule(*numbers)


def service(name: str, operation: str, sender: Sender = Sender.VEN) -> pytest.MarkDecorator:
    """The test fails when this operation does not work. ``sender``: for what both sides say."""
    found = [one for one in OPERATIONS if (one.service, one.name) == (name, operation)]
    assert found, f"no operation {operation} of {name}"
    chosen = found[0] if len(found) == 1 else Operation(name, operation, sender)
    return pytest.mark.service(*chosen)


def ven(*peers: PeerSpec, **settings: Any) -> pytest.MarkDecorator:
    """The test has a VEN of its own, with these settings, at each of these VTNs in turn."""
    return pytest.mark.ven(peers=peers or (OURS,), settings=settings)


def title(mark: int | Operation) -> str:
    """As people and ``--shows`` name it."""
    return f"rule {mark}" if isinstance(mark, int) else mark.title


def shown(item: pytest.Item) -> list[int | Operation]:
    """What a test shows."""
    found: list[int | Operation] = [number for marker in item.iter_markers("rule") for number in marker.args]
    return found + [Operation(*marker.args) for marker in item.iter_markers("service")]


def titles(item: pytest.Item) -> list[str]:
    return [title(mark) for mark in shown(item)]
