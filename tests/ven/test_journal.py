"""The journal across deaths: closed and opened again between every two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grid.errors import JournalError
from grid.events import Decision, EventSignal, EventStatus, GridEvent, OptType, SignalInterval, SignalUnit
from grid.intervals import Interval
from ven.journal import VenJournal
from ven.records import Registration, StoredRequest

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
KEY = "enrolment-1"
SPAN = Interval.lasting(NOW, 10)

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
    reopen().record_event(event(), "request-1")
    (journalled,) = reopen().unsettled_events(KEY)
    assert (journalled.event, journalled.decision) == (event(), None)
    assert reopen().owed_answers(KEY) == []

    assert reopen().record_decision(event(), decision(), provisional=False)
    assert reopen().unsettled_events(KEY) == []
    (answer,) = reopen().owed_answers(KEY)
    assert (answer.request_id, answer.opt, answer.code) == ("request-1", OptType.OPT_IN, 200)

    reopen().settle_answer(answer.seq, "sent", NOW)
    assert reopen().owed_answers(KEY) == []
    kept = reopen().event(KEY, "event-1")
    assert kept is not None
    assert kept.decision == decision()


def test_a_decision_and_its_answer_are_one_step(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = reopen()
    journal.record_event(event(), "request-1")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ven.journal._owe", die)
    with pytest.raises(KeyboardInterrupt):
        journal.record_decision(event(), decision(), provisional=False)
    monkeypatch.undo()
    (undecided,) = reopen().unsettled_events(KEY)
    assert undecided.decision is None
    assert reopen().owed_answers(KEY) == []


def test_the_same_decision_again_owes_nothing_and_a_changed_one_does(reopen: Reopen) -> None:
    journal = reopen()
    journal.record_event(event(), "request-1")
    journal.record_decision(event(), decision(), provisional=False)
    journal.settle_answer(journal.owed_answers(KEY)[0].seq, "sent", NOW)
    assert not journal.record_decision(event(), decision(), provisional=False)
    assert journal.owed_answers(KEY) == []
    assert journal.record_decision(event(), decision(OptType.OPT_OUT), provisional=False)
    assert [answer.opt for answer in journal.owed_answers(KEY)] == [OptType.OPT_OUT]


def test_a_default_opt_leaves_the_event_unsettled_until_the_sink_speaks(reopen: Reopen) -> None:
    journal = reopen()
    journal.record_event(event(), "request-1")
    journal.record_decision(event(), decision(OptType.OPT_OUT), provisional=True)
    (waiting,) = reopen().unsettled_events(KEY)
    assert waiting.provisional
    journal.record_decision(event(), decision(), provisional=False)
    assert reopen().unsettled_events(KEY) == []
    assert [answer.opt for answer in journal.owed_answers(KEY)] == [OptType.OPT_IN]


def test_an_event_that_wants_no_response_gets_none_until_the_opt_changes(reopen: Reopen) -> None:
    journal = reopen()
    quiet = event(response_required=False)
    journal.record_event(quiet, "request-1")
    assert not journal.record_decision(quiet, decision(), provisional=False)
    journal.reoffer(quiet, "request-2")
    assert journal.owed_answers(KEY) == []
    assert journal.record_decision(quiet, decision(OptType.OPT_OUT), provisional=False)


def test_an_event_offered_again_is_answered_once_under_the_new_request(reopen: Reopen) -> None:
    journal = reopen()
    journal.record_event(event(), "request-1")
    journal.reoffer(event(), "request-2")
    assert journal.owed_answers(KEY) == []
    journal.record_decision(event(), decision(), provisional=False)
    journal.reoffer(event(), "request-3")
    assert [answer.request_id for answer in journal.owed_answers(KEY)] == ["request-3"]


def test_a_new_modification_voids_the_owed_answer_and_is_the_newest(reopen: Reopen) -> None:
    journal = reopen()
    journal.record_event(event(), "request-1")
    journal.record_decision(event(), decision(), provisional=False)
    journal.record_event(event(1), "request-2")
    assert journal.owed_answers(KEY) == []
    newest = journal.event(KEY, "event-1")
    assert newest is not None
    assert newest.event.modification_number == 1
    assert [found.event.modification_number for found in journal.unsettled_events(KEY)] == [1]


def test_enrolments_do_not_see_each_other(reopen: Reopen) -> None:
    journal = reopen()
    journal.record_event(event(enrolment_id="other"), "request-1")
    journal.record_decision(event(enrolment_id="other"), decision(), provisional=False)
    assert journal.event(KEY, "event-1") is None
    assert journal.owed_answers(KEY) == []
    assert len(journal.owed_answers("other")) == 1


def test_report_data_and_progress_are_one_step(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = reopen()
    journal.register(registration())
    journal.record_offer(KEY, "offer", [request()])
    journal.record_update(KEY, "q-1", SPAN, ["site-1"], b"<first/>")
    journal = reopen()
    journal.record_update(KEY, "q-1", Interval.lasting(SPAN.end, 10), ["site-1"], None)
    journal.record_update(KEY, "q-1", Interval.lasting(SPAN.end + timedelta(seconds=10), 10), ["site-1"], b"<third/>")
    (served,) = reopen().active_requests(KEY)
    assert served.next_start == NOW + timedelta(seconds=30)
    assert journal.owed_updates(KEY) == 2
    oldest = reopen().oldest_update(KEY)
    assert oldest is not None
    assert (oldest.payload, oldest.interval, oldest.resource_ids) == (b"<first/>", SPAN, ("site-1",))
    journal.settle_update(oldest.seq)
    assert reopen().owed_updates(KEY) == 1


def test_a_request_ends_with_its_period(reopen: Reopen) -> None:
    journal = reopen()
    journal.register(registration())
    journal.record_offer(KEY, "offer", [request(until=NOW + timedelta(seconds=20))])
    journal.record_update(KEY, "q-1", SPAN, [], None)
    assert len(journal.active_requests(KEY)) == 1
    journal.record_update(KEY, "q-1", Interval.lasting(SPAN.end, 10), [], None)
    assert journal.active_requests(KEY) == []


def test_a_new_offer_ends_what_was_asked_of_the_former(reopen: Reopen) -> None:
    journal = reopen()
    journal.register(registration())
    journal.record_offer(KEY, "offer", [request("q-1")])
    journal.record_offer(KEY, "offer 2", [request("q-2")])
    assert [found.report_request_id for found in reopen().active_requests(KEY)] == ["q-2"]
    assert journal.offer(KEY) == "offer 2"


def test_requests_wait_for_their_confirmation_refused_ones_too(reopen: Reopen) -> None:
    journal = reopen()
    journal.register(registration())
    journal.record_requests(KEY, [request("q-1"), request("q-2", refusal="no")])
    assert [found.refusal for found in reopen().unconfirmed_requests(KEY)] == [None, "no"]
    assert [found.report_request_id for found in journal.active_requests(KEY)] == ["q-1"]
    journal.confirm_requests(KEY, ["q-1", "q-2"])
    assert reopen().unconfirmed_requests(KEY) == []
    journal.record_requests(KEY, [request("q-1")])
    assert [found.report_request_id for found in journal.unconfirmed_requests(KEY)] == ["q-1"]


def test_a_registration_is_replaced_whole(reopen: Reopen) -> None:
    journal = reopen()
    journal.register(registration())
    journal.record_offer(KEY, "offer", [request()])
    journal.record_update(KEY, "q-1", SPAN, ["site-1"], b"<first/>")
    assert reopen().registration(KEY) == registration()
    journal.register(registration())
    assert (journal.offer(KEY), journal.owed_updates(KEY)) == (None, 1)
    journal.register(registration("ven-2"))
    assert (reopen().registration(KEY), journal.owed_updates(KEY)) == (registration("ven-2"), 0)


def test_a_file_of_a_newer_version_is_refused(reopen: Reopen, tmp_path: Path) -> None:
    journal = reopen()
    journal._db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="newer"):
        VenJournal.open(tmp_path / "ven.sqlite")
