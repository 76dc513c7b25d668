"""What must hold: ``pending`` is what has to come true within a while, ``violations`` what may never be untrue.

Both are lists of sentences. They look from outside: at what the VTN heard and holds, at what the VEN's journal says
between two lives, and at what its sink, its observer and its transport wrote down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from grid.events import GRID_EVENT, EventStatus, GridEvent, OptType
from grid.intervals import ceil_to, floor_to
from tests.campaigns.ven_crash.child import ENROLMENT
from tests.campaigns.ven_crash.evidence import EvidenceReader
from tests.campaigns.ven_crash.host import IN_FORCE, RESOURCES, kw, opt_of
from tests.campaigns.ven_crash.utility import Utility
from ven.journal import VenJournal
from ven.records import JournalledEvent, Lane, OptState
from ven.simulation.records import CalledEvent, HeldInterval, OptRecord, RequestState
from ven.timeline import in_force
from ven.wire.event import CreatedEvent, DistributeEvent, WireEvent
from ven.wire.party import CreatePartyRegistration, Poll, RequestReregistration, Response
from ven.wire.report import (
    METADATA,
    CreatedReport,
    RegisteredReport,
    UpdateReport,
)

REPEATED = ("oadrUpdateReport", "oadrCreateOpt", "oadrCancelOpt")
"""Messages with a requestID of our own that go out until they are acknowledged."""


@dataclass(kw_only=True)
class Expected:
    """What the operators on both sides did."""

    refused: set[str] = field(default_factory=set)
    """Events that are for somebody else."""
    vanished: set[str] = field(default_factory=set)
    redecided: dict[str, OptType] = field(default_factory=dict)
    opts: dict[str, bool] = field(default_factory=dict)
    """Opts that were acknowledged to the operator, and whether their cancel was."""
    owed_until: dict[str, datetime] = field(default_factory=dict)
    """By report request that was cancelled with a report to follow: until when there has to be data."""
    offers: set[str] = field(default_factory=set)
    """requestIDs of oadrRegisterReports of the VTN."""
    away: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    """From when the VTN knew that the registration was cancelled, until a person enrolled the VEN again."""


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Of one round."""

    utility: Utility
    journal: VenJournal
    """The VEN's, read only."""
    evidence: EvidenceReader
    expected: Expected

    # --- what must come true

    def pending(self, since: datetime) -> list[str]:
        """``since``: data until there must have arrived."""
        found = list(self._registration())
        if not found:
            found = [*self._events(), *self._echoes(), *self._requests(), *self._opts(), *self._replies()]
            found += [*self._data(since), *self._timeline()]
        return found

    def _registration(self) -> Iterator[str]:
        held, ven = self.journal.registrations.of(ENROLMENT), self.utility.ven
        if held is None or ven is None:
            yield "the VEN is not registered"
        elif held.cancelled_at is not None or held.registration_id != ven.registration_id:
            yield f"the VEN holds {held.registration_id} (cancelled {held.cancelled_at}), the VTN {ven.registration_id}"

    def _events(self) -> Iterator[str]:
        for called in self.utility.vtn.events.all():
            event_id = called.event.event_id
            answers = self.utility.vtn.events.answers(event_id)
            last = answers[-1] if answers else None
            if event_id in self.expected.refused:
                if last is None or last.code != 462:
                    yield f"{event_id} is not refused: {last}"
                continue
            held = self.journal.events.newest(ENROLMENT, event_id)
            if held is None:
                yield f"{event_id} is not in the journal"
                continue
            yield from self._event(called, held, last)
        if owed := self.journal.outbox.owed(ENROLMENT, Lane.ANSWERS):
            yield f"answers are owed: {[one.subject for one in owed]}"

    def _event(self, called: CalledEvent, held: JournalledEvent, last: OptRecord | None) -> Iterator[str]:
        event_id, number = called.event.event_id, called.event.modification_number
        cancelled = called.cancelled_at is not None or event_id in self.expected.vanished
        opt = self._opt(event_id, cancelled=cancelled)
        if held.event.modification_number != number:
            yield f"{event_id} is at modification {held.event.modification_number}, not {number}"
        if (held.event.status is EventStatus.CANCELLED) is not cancelled:
            yield f"{event_id} is {held.event.status}, cancelled should be {cancelled}"
        if held.decision is None or held.decision.opt is not opt or held.provisional:
            yield f"{event_id} is decided as {held.decision}, not {opt}"
        if event_id not in self.expected.vanished:
            told = self._told_opt(event_id, last)
            if last is None or told is not opt or last.modification_number != number or last.code != 200:
                yield f"{event_id} is answered as {last}, not {opt} to {number}"
            if last is not None and held.answered is not last.opt:
                yield f"{event_id} is answered {last.opt} and journalled as {held.answered}"

    def _opt(self, event_id: str, *, cancelled: bool) -> OptType:
        redecided = None if cancelled else self.expected.redecided.get(event_id)
        return redecided or opt_of(event_id, cancelled=cancelled)

    def _told_opt(self, event_id: str, last: OptRecord | None) -> OptType | None:
        """The opt that the VTN knows: by the last answer or an oadrCreateOpt that followed it."""
        about = [
            one.message.opt
            for one in self.utility.vtn.opts.all()
            if one.message.event is not None and one.message.event.event_id == event_id
        ]
        return about[-1] if about else None if last is None else last.opt

    def _echoes(self) -> Iterator[str]:
        """The last list that told of an event is the one that its answer names (rules 12, 35, 62)."""
        last: dict[str, tuple[str, WireEvent]] = {}
        answered: dict[str, set[str]] = {}
        for one in self.utility.heard:
            if isinstance(one.message, CreatedEvent):
                for answer in one.message.responses:
                    answered.setdefault(answer.event_id, set()).add(answer.request_id)
            if isinstance(one.answer, DistributeEvent):
                listed = [event for event in one.answer.events if isinstance(event, WireEvent)]
                last |= {event.event_id: (one.answer.request_id, event) for event in listed}
        for event_id, (request_id, event) in last.items():
            # What vanished after that list was lost is nobody's to answer.
            owed = event.response_required and event_id not in self.expected.vanished
            if owed and request_id not in answered.get(event_id, ()):
                yield f"{event_id} was sent in {request_id}, which no answer names"
            held = self.journal.events.newest(ENROLMENT, event_id)
            known = held is not None and held.event.modification_number == event.modification_number
            if owed and held is not None and known and held.request_id != request_id:
                yield f"{event_id} came last in {request_id}, and is journalled under {held.request_id}"

    def _requests(self) -> Iterator[str]:
        records = self.utility.vtn.reports.all_requests()
        if not any(record.state is RequestState.PENDING for record in records):
            yield "the VTN asks for no data any more"
        for record in records:
            if record.state not in (RequestState.PENDING, RequestState.ENDED):
                yield f"the report request {record.request.request_id} is {record.state.value}"
        if self.journal.reports.offer(ENROLMENT) is None:
            yield "the VEN does not know that its reports are offered"
        if unconfirmed := self.journal.reports.unconfirmed(ENROLMENT):
            yield f"report requests are not confirmed: {[one.report_request_id for one in unconfirmed]}"
        for active in self.journal.reports.active(ENROLMENT):
            asked = self.utility.vtn.journal.request(active.report_request_id)
            if asked is None or asked.state is RequestState.ENDED:
                yield f"the report request {active.report_request_id} is served and was not asked for, or ended"

    def _opts(self) -> Iterator[str]:
        ours = {one.opt_id: one for one in self.journal.opts.all(ENROLMENT)}
        theirs = {one.message.opt_id: one for one in self.utility.vtn.opts.all()}
        for opt_id, cancelled in self.expected.opts.items():
            if opt_id not in ours:
                yield f"the opt {opt_id} is forgotten"
            elif cancelled is not (ours[opt_id].state is OptState.CANCELLED):
                yield f"the opt {opt_id} is {ours[opt_id].state}, its cancel was acknowledged: {cancelled}"
        for opt_id, opt in ours.items():
            if opt.state is OptState.CANCELLED:
                if opt_id in theirs and theirs[opt_id].cancelled_at is None:
                    yield f"the opt {opt_id} is cancelled for us, and not for the VTN"
            elif opt.state is not OptState.HELD:
                yield f"the opt {opt_id} is {opt.state}"
            elif opt_id not in theirs or theirs[opt_id].cancelled_at is not None:
                yield f"the opt {opt_id} is held for us, and not by the VTN"
            elif opt_id in theirs:
                told = theirs[opt_id].message
                stretches = [(one.start, one.duration_s) for one in told.availability or ()]
                if told.opt is not opt.opt or stretches != [(one.start, one.duration_s) for one in opt.periods]:
                    yield f"the opt {opt_id} is not the same on both sides"
        if foreign := set(theirs) - set(ours):
            yield f"the VTN holds opts that we do not know: {foreign}"

    def _replies(self) -> Iterator[str]:
        ven = self.utility.ven
        if ven is not None and (waiting := self.utility.vtn.journal.waiting(ven.ven_id)):
            yield f"{len(waiting)} messages of the VTN wait for the VEN"
        replied = {message.response.request_id for _, message in self.utility.of(RegisteredReport)}
        for request_id in self.expected.offers - replied:
            yield f"the VTN's offer {request_id} has no reply"
        asked = agreed = 0
        for place, one in enumerate(self.utility.heard):
            asked = place if isinstance(one.answer, RequestReregistration) else asked
            agreed = place if isinstance(one.message, Response) else agreed
        if asked > agreed:
            yield "the VTN's wish for a new registration has no reply"

    def _data(self, since: datetime) -> Iterator[str]:
        for record in self.utility.vtn.reports.all_requests():
            request_id = record.request.request_id
            until = since if record.state is RequestState.PENDING else self.expected.owed_until.get(request_id)
            if until is not None and record.request.specifier_id != METADATA:
                yield from self._gaps(request_id, record.request.granularity_s, until)

    def _timeline(self) -> Iterator[str]:
        newest: dict[str, GridEvent] = {}
        for line in self.evidence.lines("asked"):
            event = GRID_EVENT.validate_json(line.what)
            before = newest.get(event.event_id)
            if before is None or event.modification_number >= before.modification_number:
                newest[event.event_id] = event
        events = [
            event
            for event in newest.values()
            if self._opt(event.event_id, cancelled=event.status is EventStatus.CANCELLED) is OptType.OPT_IN
        ]
        told = self.evidence.lines("told")
        last = IN_FORCE.validate_json(told[-1].what) if told else ()
        now = in_force(events, RESOURCES.values(), self.utility.clock.now())
        if [(one.event_id, one.modification_number) for one in now] != [
            (one.event_id, one.modification_number) for one in last
        ]:
            yield f"in force is {[one.event_id for one in now]}, told was {[one.event_id for one in last]}"

    # --- what must never be untrue

    def violations(self) -> list[str]:
        """Whatever happened, none of this may ever happen."""
        return [*self._values(), *self._contiguous(), *self._bytes(), *self._asked(), *self._told(), *self._unasked()]

    def _values(self) -> Iterator[str]:
        """Each interval in one message, however often that is sent, with the value that was measured."""
        by_interval: dict[tuple[str, str, datetime], set[str]] = {}
        for _, message in self.utility.of(UpdateReport):
            for report in message.reports:
                for interval in report.intervals:
                    for payload in interval.payloads:
                        key = (report.request_id, payload.rid, interval.start)
                        by_interval.setdefault(key, set()).add(message.request_id)
                        step_s = int(interval.duration_s)
                        if step_s and payload.value != kw(RESOURCES[payload.rid], interval.start):
                            yield f"{key} has the value {payload.value}"
        for key, request_ids in by_interval.items():
            if len(request_ids) > 1:
                yield f"{key} came in {len(request_ids)} different messages"
        held = Counter((one.report_request_id, one.rid, one.start) for one in self._held())
        for key, count in held.items():
            if count > 1:
                yield f"the VTN holds {key} {count} times"
        for one in self._held():
            if one.conflicts:
                yield f"{one.report_request_id}, {one.rid}, {one.start} came with another value"

    def _held(self) -> list[HeldInterval]:
        ven = self.utility.ven
        return [] if ven is None else list(self.utility.vtn.journal.intervals(ven.ven_id))

    def _contiguous(self) -> Iterator[str]:
        """No gap in what is held of a request, whether or not it is over."""
        for record in self.utility.vtn.reports.all_requests():
            held = [one.start for one in self._held() if one.report_request_id == record.request.request_id]
            if held and record.request.specifier_id != METADATA:
                yield from self._gaps(record.request.request_id, record.request.granularity_s, max(held))

    def _gaps(self, request_id: str, step_s: float, until: datetime) -> Iterator[str]:
        """Between the first boundary after the request was taken on and ``until``, what is not held."""
        step = timedelta(seconds=step_s)
        held = {(one.rid, one.start) for one in self._held() if one.report_request_id == request_id}
        confirmed = [at for at, message in self.utility.of(CreatedReport) if request_id in message.pending]
        starts = [start for _, start in held]
        if confirmed:
            starts.append(ceil_to(confirmed[0], step_s))
        if not starts:
            return
        start = min(starts)
        while start + step <= floor_to(until, step_s):
            for rid, resource_id in RESOURCES.items():
                if kw(resource_id, start) is not None and (rid, start) not in held:
                    yield f"{rid} of {start:%H:%M:%S} is missing in {request_id}"
            start += step

    def _bytes(self) -> Iterator[str]:
        """A repetition has the same signed object, and no life repeats what it saw acknowledged."""
        digests: dict[str, set[str]] = {}
        acknowledged: dict[str, int] = {}
        for line in self.evidence.lines("sent", "acknowledged"):
            if line.what not in REPEATED:
                continue
            digests.setdefault(line.request_id, set()).add(line.digest)
            if line.kind == "acknowledged":
                acknowledged[line.request_id] = line.life
            elif acknowledged.get(line.request_id) == line.life:
                yield f"{line.what} {line.request_id} was sent again after its answer"
        for request_id, different in digests.items():
            if len(different) > 1:
                yield f"{request_id} was sent with {len(different)} different contents"

    def _asked(self) -> Iterator[str]:
        """The same question in the same words, and not again after the VTN had the answer."""
        questions: dict[tuple[str, int, bool], str] = {}
        first: dict[tuple[str, int], datetime] = {}
        for at, message in self.utility.of(CreatedEvent):
            for answer in message.responses:
                first.setdefault((answer.event_id, answer.modification_number), at)
        for line in self.evidence.lines("asked"):
            event = GRID_EVENT.validate_json(line.what)
            cancelled = event.status is EventStatus.CANCELLED
            key = (event.event_id, event.modification_number, cancelled)
            if questions.setdefault(key, line.what) != line.what:
                yield f"{key} was asked in different words: {questions[key]} and {line.what}"
            by_omission = cancelled and event.event_id in self.expected.vanished
            answered = first.get(key[:2])
            if answered is not None and line.moment > answered and not by_omission:
                yield f"{key} was asked again after its answer"
            if event.event_id in self.expected.refused:
                yield f"{event.event_id} is not for us and was put to the sink"

    def _told(self) -> Iterator[str]:
        """Nothing is told twice in a life; nothing comes into force twice."""
        last: tuple[int, str] = (0, "[]")
        over: set[str] = set()
        running: set[str] = set()
        for line in self.evidence.lines("told"):
            if (line.life, line.what) == last:
                yield f"told twice: {line.what}"
            last = (line.life, line.what)
            now = {one.event_id for one in IN_FORCE.validate_json(line.what)}
            over |= running - now
            running = now
            if again := running & over:
                yield f"came into force twice: {again}"

    def _unasked(self) -> Iterator[str]:
        """No registration between a cancel and a person's word; what was acknowledged as asked anew is made anew."""
        for at, _ in self.utility.of(CreatePartyRegistration):
            if any(start < at and (end is None or at < end) for start, end in self.expected.away):
                yield f"the VEN registered at {at} though nobody asked it to"
        asked = agreed = False
        for one in self.utility.heard:
            match one.message:
                case Response():
                    agreed = asked
                case CreatePartyRegistration():
                    asked = agreed = False
                case Poll() if agreed:
                    yield "the VEN agreed to register anew and did not"
                    agreed = False
            asked = asked or isinstance(one.answer, RequestReregistration)
