"""The tables of a gateway's journal, as migrations: only ever added to."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE registrations (
        enrolment_id TEXT PRIMARY KEY,
        vtn_id TEXT NOT NULL,
        ven_id TEXT NOT NULL,
        registration_id TEXT NOT NULL,
        poll_interval_s REAL NOT NULL,
        registered_at TEXT NOT NULL,
        offer TEXT
    );
    CREATE TABLE events (
        enrolment_id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        modification_number INTEGER NOT NULL,
        event TEXT NOT NULL,
        request_id TEXT NOT NULL,
        decision TEXT,
        provisional INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (enrolment_id, event_id, modification_number)
    );
    CREATE TABLE answers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        enrolment_id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        modification_number INTEGER NOT NULL,
        request_id TEXT NOT NULL,
        opt TEXT NOT NULL,
        code INTEGER NOT NULL,
        description TEXT NOT NULL,
        settled_at TEXT,
        outcome TEXT
    );
    CREATE INDEX answers_owed ON answers (enrolment_id, seq) WHERE settled_at IS NULL;
    CREATE TABLE report_requests (
        enrolment_id TEXT NOT NULL,
        report_request_id TEXT NOT NULL,
        message_id TEXT NOT NULL,
        specifier_id TEXT NOT NULL,
        rids TEXT NOT NULL,
        granularity_s INTEGER NOT NULL,
        back_duration_s INTEGER NOT NULL,
        next_start TEXT NOT NULL,
        until TEXT,
        refusal TEXT,
        confirmed INTEGER NOT NULL DEFAULT 0,
        ended INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (enrolment_id, report_request_id)
    );
    CREATE TABLE report_updates (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        enrolment_id TEXT NOT NULL,
        report_request_id TEXT NOT NULL,
        "start" TEXT NOT NULL,
        "end" TEXT NOT NULL,
        resource_ids TEXT NOT NULL,
        payload BLOB NOT NULL
    );
    CREATE INDEX report_updates_owed ON report_updates (enrolment_id, seq)
    """,
    # One outbox for everything owed. Answers and data of the former tables are asked for and built again.
    """
    DROP TABLE answers;
    DROP TABLE report_updates;
    ALTER TABLE registrations ADD COLUMN cancelled_at TEXT;
    ALTER TABLE events ADD COLUMN answered TEXT;
    ALTER TABLE events ADD COLUMN completed INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        enrolment_id TEXT NOT NULL,
        lane TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        payload BLOB NOT NULL,
        facts TEXT NOT NULL
    );
    CREATE INDEX outbox_owed ON outbox (enrolment_id, lane, seq);
    CREATE TABLE opts (
        enrolment_id TEXT NOT NULL,
        opt_id TEXT NOT NULL,
        opt TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (enrolment_id, opt_id)
    );
    CREATE TABLE in_force (
        enrolment_id TEXT PRIMARY KEY,
        told TEXT NOT NULL
    )
    """,
    "ALTER TABLE registrations ADD COLUMN asked_anew INTEGER NOT NULL DEFAULT 0",
)
