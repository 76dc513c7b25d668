"""Every table of the aggregator, as SQLAlchemy Core sees it; ``migrations`` makes them, a test compares the two.

Instants are aware UTC in and out. Documents (events, budgets, statements) are kept as the JSON text that was made,
so that what is read back is what was signed, sent or paid. The keys carry the idempotence: a repeated event,
telemetry row or budget revision meets its own key.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

from grid.intervals import utc
from grid.messages import METER_COLUMNS


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, also where the database keeps none of its zone. A naive one raises ``ValueError``."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else utc(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else utc(value)


METADATA = MetaData()

sites = Table(
    "sites",
    METADATA,
    Column("site_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("revision_floor", Integer, nullable=False),
    # The highest budget revision the site ever showed; ours grow from there, also after a restored backup.
)

events = Table(
    "events",
    METADATA,
    Column("enrolment_id", String, primary_key=True),
    Column("event_id", String, primary_key=True),
    Column("modification_number", Integer, primary_key=True),
    Column("cancelled", Boolean, primary_key=True),
    # A VTN may cancel by dropping the event, which counts no modification.
    Column("event", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
)

commitments = Table(
    "commitments",
    METADATA,
    Column("commitment_id", Integer, primary_key=True),
    Column("enrolment_id", String, nullable=False, index=True),
    Column("event_id", String, nullable=False),
    Column("modification_number", Integer, nullable=False),
    Column("state", String, nullable=False),
    # aggregator.portfolio.commitment.State
    Column("committed_kw", Float, nullable=False),
    Column("start", UtcDateTime, nullable=False),
    Column("ramp_start", UtcDateTime, nullable=False),
    Column("hold_start", UtcDateTime, nullable=False),
    Column("hold_end", UtcDateTime, nullable=False),
    Column("release_end", UtcDateTime, nullable=False),
    Column("awards", Text, nullable=False),
    # JSON: by site_id, owed_kw and the baseline its budget stands on.
    Column("programme", Text, nullable=False),
    # JSON: the programme's rules as they were when this was committed.
    Column("created_at", UtcDateTime, nullable=False),
)

budgets = Table(
    "budgets",
    METADATA,
    Column("site_id", String, ForeignKey("sites.site_id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("commitment_id", Integer, ForeignKey("commitments.commitment_id"), nullable=False, index=True),
    Column("purpose", String, nullable=False),
    # aggregator.dispatch.planner.Purpose
    Column("budget", Text, nullable=False),
    Column("baseline_kw", Float, nullable=False),
    Column("owed_kw", Float, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("acked_at", UtcDateTime),
    Column("accepted", Boolean),
    Column("refusal", Text),
)

outbox = Table(
    "outbox",
    METADATA,
    Column("site_id", String, ForeignKey("sites.site_id"), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""What a site has not acknowledged: at most its newest budget, which replaces every earlier one."""

telemetry = Table(
    "telemetry",
    METADATA,
    Column("ts", UtcDateTime, primary_key=True),
    Column("site_id", String, primary_key=True),
    *(Column(name, Float) for name in METER_COLUMNS),
    Column("quality", Integer, nullable=False),
    sqlite_with_rowid=False,
)

high_water = Table(
    "high_water",
    METADATA,
    Column("site_id", String, ForeignKey("sites.site_id"), primary_key=True),
    Column("spool_id", String, primary_key=True),
    Column("stream", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("last_ts", UtcDateTime, nullable=False),
)

capabilities = Table(
    "capabilities",
    METADATA,
    Column("site_id", String, ForeignKey("sites.site_id"), primary_key=True),
    Column("capability", Text, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
)

site_heads = Table(
    "site_heads",
    METADATA,
    Column("site_id", String, ForeignKey("sites.site_id"), primary_key=True),
    Column("chain", String, primary_key=True),
    Column("public_key", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", String, nullable=False),
)

settlements = Table(
    "settlements",
    METADATA,
    Column("commitment_id", Integer, ForeignKey("commitments.commitment_id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("status", String, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("statement", Text, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
)

audit_entries = Table(
    "audit_entries",
    METADATA,
    Column("chain", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("facts", Text, nullable=False),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False),
)

audit_heads = Table(
    "audit_heads",
    METADATA,
    Column("chain", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("hash", String, nullable=False),
    Column("signature", String, nullable=False),
)
