"""The journal across deaths: closed and opened again between every two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grid.errors import JournalError
from grid.events import Decision, EventSignal, EventStatus, GridEvent, OptType, SignalInterval, SignalUnit
from grid.intervals import Interval
from grid.journal import open_journal
from ven.journal import VenJournal
from ven.journal.tables import MIGRATIONS
from ven.records import Kind, Lane, OptState, Registration, StoredOpt, StoredRequest

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
KEY = "enrolment-1"

Reopen = Callable[[], VenJournal]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Reopen]:
    """Opens the same file again, as a new process would after a SIGKILL: whoever had it open just loses it."""
    journals: list[VenJournal] = []

    def again() -> VenJournal:
        journals.append(VenJournal.open(tmp_path / "ven.sqlite"))
        return journals[-1]

    yield again
    for journal in journals:
        journal.close()


def event(modification_number: int = 0, *, response_required: bool = True, enrolment_id: str = KEY) -> GridEvent:
    signal = EventSignal(
        signal_id="s",
        name="LOAD_DISPATCH",
        type="delta",
        unit=SignalUnit.KW,
        intervals=(SignalInterval(start=NOW, duration_s=110, value=-30.0),),
    )
    return GridEvent(
        enrolment_id=enrolment_id,
        event_id="event-1",
        modification_number=modification_number,
        status=EventStatus.FAR,
        source="openadr",
        received_at=NOW,
        created_at=NOW,
        start=NOW,
        duration_s=110,
        signals=(signal,),
        market_context="urn:p",
        response_required=response_required,
    )


def decision(opt: OptType = OptType.OPT_IN) -> Decision:
    return Decision(opt=opt, reason="because", decided_at=NOW, committed_kw=30.0)


def registration(ven_id: str = "ven-1") -> Registration:
    return Registration(
        enrolment_id=KEY,
        vtn_id="utility",
        ven_id=ven_id,
        registration_id="r-1",
        poll_interval_s=1.0,
        registered_at=NOW,
    )


def opt(state: OptState = OptState.OWED) -> StoredOpt:
    return StoredOpt(
        opt_id="o-1",
        opt=OptType.OPT_OUT,
        reason="x-schedule",
        periods=(Interval.lasting(NOW, 600),),
        resource_ids=("site-1",),
        event_id=None,
        state=state,
        created_at=NOW,
    )


def owed(journal: VenJournal, enrolment_id: str = KEY) -> list[bytes]:
    return [one.payload for one in journal.outbox.owed(enrolment_id, Lane.ANSWERS)]


def request(request_id: str = "q-1", *, until: datetime | None = None, refusal: str | None = None) -> StoredRequest:
    return StoredRequest(
        report_request_id=request_id,
        message_id="m-1",
        specifier_id="telemetry-usage",
        rids=("a", "b"),
        granularity_s=10,
        back_duration_s=10,
        next_start=NOW,
        until=until,
        refusal=refusal,
    )


def test_every_step_of_an_event_outlives_the_process(reopen: Reopen) -> None:
    reopen().events.record(event(), "request-1")
    (journalled,) = reopen().events.unsettled(KEY)
    assert (journalled.event, journalled.request_id, journalled.decision) == (event(), "request-1", None)
    assert owed(reopen()) == []

    reopen().events.decide(event(), decision(), provisional=False, answer=b"<in/>")
    assert reopen().events.unsettled(KEY) == []
    (answer,) = reopen().outbox.owed(KEY, Lane.ANSWERS)
    assert (answer.kind, answer.payload) == (Kind.EVENT_ANSWER, b"<in/>")
    assert answer.facts == {"event_id": "event-1", "modification_number": 0, "opt": "optIn"}

    reopen().events.answered(answer.seq, KEY, "event-1", 0, OptType.OPT_IN)
    assert owed(reopen()) == []
    kept = reopen().events.newest(KEY, "event-1")
    assert kept is not None
    assert (kept.decision, kept.answered, kept.completed) == (decision(), OptType.OPT_IN, False)
    reopen().events.complete(event())
    (completed,) = reopen().events.all(KEY)
    assert completed.completed


def dying(monkeypatch: pytest.MonkeyPatch, *where: str) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for one in where:
        monkeypatch.setattr(one, die)


def test_a_decision_and_its_answer_are_one_step(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = reopen()
    journal.events.record(event(), "request-1")
    dying(monkeypatch, "ven.journal.events.owe", "ven.journal.events.create_opt")
    for told in ({"answer": b"<in/>"}, {"answer": None, "opt": (opt(), b"<opt/>")}):
        with pytest.raises(KeyboardInterrupt):
            journal.events.decide(event(), decision(), provisional=False, **told)
    monkeypatch.undo()
    (undecided,) = reopen().events.unsettled(KEY)
    assert undecided.decision is None
    assert owed(reopen()) == []


def test_an_opt_and_its_message_are_one_step(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = reopen()
    dying(monkeypatch, "ven.journal.opts.owe")
    with pytest.raises(KeyboardInterrupt):
        journal.opts.create(KEY, opt(), b"<opt/>")
    monkeypatch.undo()
    assert reopen().opts.all(KEY) == []
    journal.opts.create(KEY, opt(), b"<opt/>")
    assert reopen().opts.all(KEY) == [opt()]
    (message,) = reopen().outbox.owed(KEY, Lane.ANSWERS)
    assert (message.kind, message.payload, message.facts) == (Kind.CREATE_OPT, b"<opt/>", {"opt_id": "o-1"})
    journal.opts.settle(message.seq, KEY, opt(OptState.HELD))
    assert (reopen().opts.all(KEY), owed(journal)) == ([opt(OptState.HELD)], [])
    journal.opts.cancel(KEY, opt(OptState.CANCELLED), b"<cancel/>")
    assert (reopen().opts.in_force(KEY), owed(journal)) == ([], [b"<cancel/>"])


def test_a_cancel_takes_the_place_of_an_opt_that_was_not_acknowledged(reopen: Reopen) -> None:
    journal = reopen()
    journal.opts.create(KEY, opt(), b"<opt/>")
    journal.opts.cancel(KEY, opt(OptState.CANCELLED), b"<cancel/>")
    assert owed(journal) == [b"<cancel/>"]


def test_a_default_opt_leaves_the_event_unsettled_until_the_sink_speaks(reopen: Reopen) -> None:
    journal = reopen()
    journal.events.record(event(), "request-1")
    journal.events.decide(event(), decision(OptType.OPT_OUT), provisional=True, answer=b"<out/>")
    (waiting,) = reopen().events.unsettled(KEY)
    assert waiting.provisional
    journal.events.decide(event(), decision(), provisional=False, answer=b"<in/>")
    assert reopen().events.unsettled(KEY) == []
    assert owed(journal) == [b"<in/>"]


def test_an_event_offered_again_is_answered_once_under_the_new_request(reopen: Reopen) -> None:
    journal = reopen()
    journal.events.record(event(), "request-1")
    journal.events.reoffer(event(), "request-2", None)
    (undecided,) = reopen().events.all(KEY)
    assert (undecided.request_id, owed(journal)) == ("request-2", [])
    journal.events.decide(event(), decision(), provisional=False, answer=b"<2/>")
    journal.events.reoffer(event(), "request-3", (OptType.OPT_IN, b"<3/>"))
    assert owed(reopen()) == [b"<3/>"]


def test_a_new_modification_voids_the_owed_answer_and_is_the_newest(reopen: Reopen) -> None:
    journal = reopen()
    journal.events.record(event(), "request-1")
    journal.events.decide(event(), decision(), provisional=False, answer=b"<in/>")
    journal.events.record(event(1), "request-2")
    assert owed(journal) == []
    newest = journal.events.newest(KEY, "event-1")
    assert newest is not None
    assert newest.event.modification_number == 1
    assert [found.event.modification_number for found in journal.events.unsettled(KEY)] == [1]


def test_an_event_that_turned_out_cancelled_is_to_be_decided_on_again(reopen: Reopen) -> None:
    journal = reopen()
    journal.events.record(event(), "request-1")
    journal.events.decide(event(), decision(), provisional=False, answer=b"<in/>")
    ended = replace(event(), status=EventStatus.CANCELLED, cancel_at=NOW)
    journal.events.replace(ended)
    (again,) = reopen().events.unsettled(KEY)
    assert (again.event, again.decision, owed(journal)) == (ended, None, [])


def test_a_refused_event_leaves_an_answer_and_nothing_else(reopen: Reopen) -> None:
    reopen().events.refuse(KEY, "event-1", 3, OptType.OPT_OUT, b"<no/>")
    assert owed(reopen()) == [b"<no/>"]
    assert reopen().events.all(KEY) == []


def test_enrolments_do_not_see_each_other(reopen: Reopen) -> None:
    journal = reopen()
    journal.events.record(event(enrolment_id="other"), "request-1")
    journal.events.decide(event(enrolment_id="other"), decision(), provisional=False, answer=b"<in/>")
    journal.events.tell("other", "[1]")
    journal.opts.create("other", opt(), b"<opt/>")
    assert journal.events.newest(KEY, "event-1") is None
    assert (owed(journal), journal.opts.all(KEY), journal.events.told(KEY)) == ([], [], None)
    assert (len(owed(journal, "other")), journal.events.told("other")) == (2, "[1]")


def send(journal: VenJournal, *payloads: bytes, next_s: float, ended: bool = False) -> None:
    """Data of request q-1."""
    journal.reports.record_data(
        KEY,
        request(),
        next_start=NOW + timedelta(seconds=next_s),
        ended=ended,
        messages=[(payload, {"n": payload.decode()}) for payload in payloads],
    )


def test_report_data_and_progress_are_one_step(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.reports.record_offer(KEY, "offer", [request()])
    dying(monkeypatch, "ven.journal.reports.owe")
    with pytest.raises(KeyboardInterrupt):
        send(journal, b"<first/>", next_s=10)
    monkeypatch.undo()
    (unserved,) = reopen().reports.active(KEY)
    assert (unserved.next_start, reopen().outbox.count(KEY, Lane.DATA)) == (NOW, 0)
    send(journal, b"<first/>", b"<second/>", next_s=10)
    journal = reopen()
    send(journal, next_s=20)
    send(journal, b"<third/>", next_s=30)
    (served,) = reopen().reports.active(KEY)
    assert served.next_start == NOW + timedelta(seconds=30)
    assert journal.outbox.count(KEY, Lane.DATA) == 3
    oldest = reopen().outbox.oldest(KEY, Lane.DATA)
    assert oldest is not None
    assert (oldest.payload, oldest.subject, oldest.facts) == (b"<first/>", "q-1", {"n": "<first/>"})
    journal.outbox.settle(oldest.seq)
    assert [one.payload for one in reopen().outbox.owed(KEY, Lane.DATA)] == [b"<second/>", b"<third/>"]


def test_a_request_ends_with_its_period_and_its_data_stays_owed(reopen: Reopen) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.reports.record_offer(KEY, "offer", [request(until=NOW + timedelta(seconds=20))])
    send(journal, b"<first/>", next_s=10)
    assert len(journal.reports.active(KEY)) == 1
    send(journal, b"<last/>", next_s=20, ended=True)
    assert journal.reports.active(KEY) == []
    assert journal.outbox.count(KEY, Lane.DATA) == 2


@pytest.mark.parametrize(("until_s", "serves_until_s"), [(None, None), (0.0, None), (5.0, 5.0), (30.0, 20.0)], ids=str)
def test_a_cancel_ends_requests_at_once_or_with_a_last_report(
    reopen: Reopen, until_s: float | None, serves_until_s: float | None
) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.reports.record_requests(KEY, [request(until=NOW + timedelta(seconds=20)), request("q-2")])
    until = None if until_s is None else NOW + timedelta(seconds=until_s)
    journal.reports.end(KEY, ["q-1"], until, ("c", b"<canceled/>"))
    left = {one.report_request_id: one.until for one in reopen().reports.active(KEY)}
    expected = {} if serves_until_s is None else {"q-1": NOW + timedelta(seconds=serves_until_s)}
    assert left == {**expected, "q-2": None}
    assert owed(reopen()) == [b"<canceled/>"]


def test_metadata_asked_for_is_owed_and_its_request_over_in_one_step(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = reopen()
    journal.reports.record_requests(KEY, [request()])
    dying(monkeypatch, "ven.journal.reports.owe")
    with pytest.raises(KeyboardInterrupt):
        journal.reports.record_metadata(KEY, "q-1", b"<metadata/>")
    monkeypatch.undo()
    assert (len(reopen().reports.active(KEY)), owed(reopen())) == (1, [])
    journal.reports.record_metadata(KEY, "q-1", b"<metadata/>")
    assert (reopen().reports.active(KEY), owed(reopen())) == ([], [b"<metadata/>"])


def test_a_new_offer_ends_what_was_asked_of_the_former(reopen: Reopen) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.reports.record_offer(KEY, "offer", [request("q-1")])
    journal.reports.record_offer(KEY, "offer 2", [request("q-2")])
    assert [found.report_request_id for found in reopen().reports.active(KEY)] == ["q-2"]
    assert journal.reports.offer(KEY) == "offer 2"


def test_requests_wait_for_their_confirmation_refused_ones_too(reopen: Reopen) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.reports.record_requests(KEY, [request("q-1"), request("q-2", refusal="no")])
    assert [found.refusal for found in reopen().reports.unconfirmed(KEY)] == [None, "no"]
    assert [found.report_request_id for found in journal.reports.active(KEY)] == ["q-1"]
    journal.reports.confirm(KEY, ["q-1", "q-2"])
    assert reopen().reports.unconfirmed(KEY) == []
    journal.reports.record_requests(KEY, [request("q-1")])
    assert [found.report_request_id for found in journal.reports.unconfirmed(KEY)] == ["q-1"]


def test_a_registration_is_replaced_whole(reopen: Reopen) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.reports.record_offer(KEY, "offer", [request()])
    send(journal, b"<first/>", next_s=10)
    assert reopen().registrations.of(KEY) == registration()
    journal.registrations.register(registration())
    assert (journal.reports.offer(KEY), journal.outbox.count(KEY, Lane.DATA)) == (None, 1)
    journal.registrations.register(registration("ven-2"))
    assert reopen().registrations.of(KEY) == registration("ven-2")
    assert journal.outbox.count(KEY, Lane.DATA) == 0


def test_a_cancelled_registration_is_kept_and_owes_nothing_until_a_person_allows_another(reopen: Reopen) -> None:
    journal = reopen()
    journal.registrations.register(registration())
    journal.registrations.allow(KEY)
    assert reopen().registrations.of(KEY) == registration()
    journal.reports.record_offer(KEY, "offer", [request()])
    journal.opts.create(KEY, opt(), b"<opt/>")
    send(journal, b"<first/>", next_s=10)
    journal.registrations.cancel(KEY, NOW)
    assert reopen().registrations.of(KEY) == replace(registration(), cancelled_at=NOW)
    assert (owed(journal), journal.outbox.count(KEY, Lane.DATA), journal.reports.active(KEY)) == ([], 0, [])
    journal.registrations.allow(KEY)
    assert reopen().registrations.of(KEY) is None


def test_what_was_told_last_is_known_after_a_death(reopen: Reopen) -> None:
    reopen().events.tell(KEY, "[1]")
    reopen().events.tell(KEY, "[2]")
    assert reopen().events.told(KEY) == "[2]"


def test_a_file_of_a_newer_version_is_refused(reopen: Reopen, tmp_path: Path) -> None:
    journal = reopen()
    journal._db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="newer"):
        VenJournal.open(tmp_path / "ven.sqlite")


def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "ven.sqlite"
    old = open_journal(path, MIGRATIONS[:1])
    old.execute(
        "INSERT INTO registrations VALUES (?, 'utility', 'ven-1', 'r-1', 1.0, ?, 'offer')", (KEY, NOW.isoformat())
    )
    old.execute("INSERT INTO answers VALUES (1, ?, 'event-1', 0, 'request-1', 'optIn', 200, '', NULL, NULL)", (KEY,))
    old.close()
    journal = VenJournal.open(path)
    try:
        assert journal.registrations.of(KEY) == registration()
        assert owed(journal) == []
    finally:
        journal.close()
