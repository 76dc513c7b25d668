"""What the two operators do in a round, stage by stage, and the points a VEN passes when it copes with that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from uuid import uuid4

from grid.events import OptType
from grid.intervals import Interval
from tests.campaigns.ven_crash.checks import Expected
from tests.campaigns.ven_crash.child import ENROLMENT, Command
from tests.campaigns.ven_crash.points import AFTER, BEFORE
from tests.campaigns.ven_crash.utility import Utility
from ven.simulation.records import RequestState
from ven.wire.report import METADATA, RegisteredReport, RegisterReport, Report

SPECIFIER = "telemetry-usage"


@dataclass(kw_only=True)
class Scene:
    """One round, as the stages see it."""

    utility: Utility
    expected: Expected
    dice: Random
    commands: list[Command] = field(default_factory=list)
    """What the VEN's operator still wants, in order."""

    def repeat(self) -> None:
        """Ask again for what the VTN asks once only."""
        replied = {message.response.request_id for _, message in self.utility.of(RegisteredReport)}
        ven = self.utility.ven
        if ven is None or ven.registration_id is None:
            return
        for request_id in self.expected.offers - replied:
            offer(self.utility, request_id)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage."""

    name: str
    provoke: Callable[[Scene], None]
    passes: tuple[str, ...]
    """Writes and sends that follow."""
    leaves: bool = False
    """The VEN is not registered afterwards, and stays so."""

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(f"{when} {what}" for what in self.passes for when in (BEFORE, AFTER))


def _enrol(scene: Scene) -> None:
    """Nothing: the first life registers."""


def _events(scene: Scene) -> None:
    call = scene.utility.call
    call("now", lead_s=0.0)
    call("later", lead_s=3000.0, startafter_s=30.0)
    call("out-later", lead_s=4000.0)
    call("redecided", lead_s=5000.0)
    call("vanishing", lead_s=6000.0)
    call("ending", lead_s=0.0)
    call("foreign", lead_s=3000.0, targets={"ven_ids": ["somebody-else"]})
    scene.expected.refused.add("foreign")
    with scene.utility.vtn.journal.transaction():
        if scene.dice.random() < 0.5:
            scene.utility.vtn.events.modify("later", lambda event: replace(event, priority=1))


def _requests(scene: Scene) -> None:
    vtn, ven = scene.utility.vtn, scene.utility.ven
    assert ven is not None
    with vtn.journal.transaction():
        vtn.reports.request(ven, specifier_id=SPECIFIER, rids=(), granularity_s=2.0, back_duration_s=4.0, period=None)
        vtn.reports.request(ven, specifier_id=METADATA, rids=(), granularity_s=0.0, back_duration_s=0.0, period=None)
    request_id = f"offer-{uuid4()}"
    scene.expected.offers.add(request_id)
    offer(scene.utility, request_id)


def offer(utility: Utility, request_id: str) -> None:
    """The VTN offers reports of its own, of which the VEN wants none."""
    ven = utility.ven
    assert ven is not None
    report = Report(
        specifier_id="prices", request_id="0", created_at=utility.clock.now(), name="METADATA_HISTORY_USAGE"
    )
    with utility.vtn.journal.transaction():
        utility.vtn.mailbox.put(ven.ven_id, RegisterReport(request_id=request_id, reports=(report,), ven_id=ven.ven_id))


def _operator(scene: Scene) -> None:
    day = scene.utility.clock.now().replace(microsecond=0) + timedelta(days=1)
    scene.commands += [
        Command(key="opt-1", verb="opt", periods=(Interval.lasting(day, 3600),)),
        Command(key="opt-2", verb="opt", periods=(Interval.lasting(day, 60), Interval.lasting(day, 90))),
        Command(key="redecide", verb="redecide", subject="redecided", opt=OptType.OPT_OUT),
        Command(key="cancel", verb="cancel_opt", subject="opt-1"),
    ]


def _ends(scene: Scene) -> None:
    vtn = scene.utility.vtn
    with vtn.journal.transaction():
        vtn.events.cancel(scene.dice.choice(["later", "now", "out-later"]))
        vtn.events.vanish("vanishing")
        scene.expected.vanished.add("vanishing")
        served = [one for one in vtn.reports.all_requests() if one.state is RequestState.PENDING]
        # None is served where a mutation ended them all, which the checks see.
        for record in scene.dice.sample(served, min(1, len(served))):
            request_id = record.request.request_id
            how = scene.dice.choice(["with_update", "report_to_follow", "plainly"])
            if how == "report_to_follow":
                scene.expected.owed_until[request_id] = scene.utility.clock.now()
            vtn.reports.cancel(request_id, with_update=how == "with_update", report_to_follow=how == "report_to_follow")
        scene.utility.early.add("ending")
        vtn.mailbox.put_events(vtn.registrations.named(ENROLMENT).ven_id)


def _again(scene: Scene) -> None:
    vtn = scene.utility.vtn
    with vtn.journal.transaction():
        vtn.registrations.ask_again(vtn.registrations.named(ENROLMENT))


def _last_opts(scene: Scene) -> None:
    """What the operator does to opts just before the registration ends has to outlive it."""
    day = scene.utility.clock.now().replace(microsecond=0) + timedelta(days=2)
    held = [opt_id for opt_id, cancelled in scene.expected.opts.items() if not cancelled]
    scene.commands += [
        Command(key="opt-3", verb="opt", periods=(Interval.lasting(day, 3600),)),
        *[Command(key="cancel-last", verb="cancel_opt", subject=opt_id) for opt_id in held],
    ]


def _put_out(scene: Scene) -> None:
    _last_opts(scene)
    vtn = scene.utility.vtn
    with vtn.journal.transaction():
        vtn.registrations.put_out(vtn.registrations.named(ENROLMENT))


def _leave(scene: Scene) -> None:
    _last_opts(scene)
    scene.commands.append(Command(key="leave", verb="leave"))


def _return(scene: Scene) -> None:
    scene.commands.append(Command(key="enrol", verb="enrol"))
    away = scene.expected.away
    away[-1] = (away[-1][0], scene.utility.clock.now())


_REGISTERING = ("oadrCreatePartyRegistration", "Registrations.register")
_OFFERING = ("oadrRegisterReport", "Reports.record_offer", "oadrCreatedReport", "Reports.confirm")
_REPORTING = ("Reports.record_data", "oadrUpdateReport", "Outbox.settle")

ENROL = Stage(
    name="enrol",
    provoke=_enrol,
    passes=("oadrQueryRegistration", *_REGISTERING, *_OFFERING, *_REPORTING, "oadrRequestEvent", "oadrPoll"),
)
EVENTS = Stage(
    name="events",
    provoke=_events,
    passes=(
        "oadrRequestEvent",
        "Events.record",
        "Events.decide",
        "Events.refuse",
        "Events.tell",
        "oadrCreatedEvent",
        "Events.answered",
        "Events.reoffer",
        "oadrPoll",
    ),
)
REQUESTS = Stage(
    name="requests",
    provoke=_requests,
    passes=(
        "Reports.record_requests",
        "Reports.record_metadata",
        "Outbox.reply",
        "oadrRegisteredReport",
        "oadrCreatedReport",
        "Reports.confirm",
        "oadrRegisterReport",
        *_REPORTING,
    ),
)
OPERATOR = Stage(
    name="operator",
    provoke=_operator,
    passes=("Opts.create", "oadrCreateOpt", "Opts.settle", "Opts.cancel", "oadrCancelOpt", "Events.decide"),
)
ENDS = Stage(
    name="ends",
    provoke=_ends,
    passes=("Events.replace", "Events.complete", "Reports.end", "oadrCanceledReport", "Events.reoffer"),
)
AGAIN = Stage(
    name="again", provoke=_again, passes=("Registrations.ask_anew", "oadrResponse", *_REGISTERING, *_OFFERING)
)
PUT_OUT = Stage(
    name="put out",
    provoke=_put_out,
    passes=("Registrations.cancel", "oadrCanceledPartyRegistration"),
    leaves=True,
)
LEAVE = Stage(name="leave", provoke=_leave, passes=("oadrCancelPartyRegistration", "Registrations.cancel"), leaves=True)
RETURN = Stage(name="return", provoke=_return, passes=("Registrations.allow", "oadrQueryRegistration", *_REGISTERING))

EVERY = (ENROL, EVENTS, REQUESTS, OPERATOR, ENDS, AGAIN, PUT_OUT, LEAVE, RETURN)
