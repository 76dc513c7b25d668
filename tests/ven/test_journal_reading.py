"""Answers that a journal keeps are never older than the journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from grid.journal import transaction
from ven.journal import VenJournal
from ven.records import Lane, Registration

KEY = "ven-a"
REGISTRATION = Registration(
    enrolment_id=KEY,
    vtn_id="utility",
    ven_id="ven-1",
    registration_id="r-1",
    poll_interval_s=10.0,
    registered_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
)


@pytest.fixture
def journal(tmp_path: Path) -> VenJournal:
    return VenJournal.open(tmp_path / "ven.sqlite")


def test_a_write_of_any_part_is_seen_by_every_other(journal: VenJournal) -> None:
    assert journal.registrations.of(KEY) is None
    journal.registrations.register(REGISTRATION)
    assert journal.registrations.of(KEY) == REGISTRATION
    assert journal.reports.offer(KEY) is None
    journal.reports.record_offer(KEY, "offer", [])
    assert journal.reports.offer(KEY) == "offer"
    assert journal.outbox.owed(KEY, Lane.ANSWERS) == []
    journal.outbox.reply(KEY, "subject", "EiEvent", b"<reply/>")
    assert [one.payload for one in journal.outbox.owed(KEY, Lane.ANSWERS)] == [b"<reply/>"]
    journal.registrations.register(replace(REGISTRATION, registration_id="r-2"))
    assert journal.reports.offer(KEY) is None


def test_what_was_read_is_not_lent_to_be_changed(journal: VenJournal) -> None:
    journal.outbox.reply(KEY, "subject", "EiEvent", b"<reply/>")
    journal.outbox.owed(KEY, Lane.ANSWERS).clear()
    assert len(journal.outbox.owed(KEY, Lane.ANSWERS)) == 1


def test_what_is_rolled_back_was_never_there(journal: VenJournal) -> None:
    journal.registrations.register(REGISTRATION)

    def change_and_fail() -> None:
        with transaction(journal._db) as db:
            db.execute("UPDATE registrations SET ven_id = 'other'")
            changed = journal.registrations.of(KEY)
            assert changed is not None
            assert changed.ven_id == "other"
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert journal.registrations.of(KEY) == REGISTRATION


def test_what_another_process_wrote_is_there_after_a_refresh(journal: VenJournal, tmp_path: Path) -> None:
    assert journal.registrations.of(KEY) is None
    other = VenJournal.open(tmp_path / "ven.sqlite")
    other.registrations.register(REGISTRATION)
    journal.refresh()
    assert journal.registrations.of(KEY) == REGISTRATION
    other.registrations.cancel(KEY, datetime(2026, 7, 2, tzinfo=UTC))
    journal.refresh()
    held = journal.registrations.of(KEY)
    assert held is not None
    assert held.cancelled_at is not None
    other.close()
