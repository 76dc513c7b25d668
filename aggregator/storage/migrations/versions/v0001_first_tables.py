"""The first tables.

The audit is append-only by the database's own word: triggers refuse UPDATE and DELETE.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_APPEND_ONLY = ("audit_entries", "audit_heads")


def upgrade() -> None:
    """Make them."""
    _what_sites_are_and_send()
    _what_is_owed()
    _what_is_paid_and_audited()


def _what_sites_are_and_send() -> None:
    op.create_table(
        "sites",
        sa.Column("site_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("revision_floor", sa.Integer, nullable=False),
    )
    op.create_table(
        "telemetry",
        sa.Column("ts", _TIME, primary_key=True),
        sa.Column("site_id", sa.String, primary_key=True),
        *(sa.Column(name, sa.Float) for name in ("site_kw", "gpu_kw", "battery_kw", "soc_pct", "limit_kw")),
        sa.Column("quality", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "high_water",
        sa.Column("site_id", sa.String, sa.ForeignKey("sites.site_id"), primary_key=True),
        sa.Column("spool_id", sa.String, primary_key=True),
        sa.Column("stream", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("last_ts", _TIME, nullable=False),
    )
    op.create_table(
        "capabilities",
        sa.Column("site_id", sa.String, sa.ForeignKey("sites.site_id"), primary_key=True),
        sa.Column("capability", sa.Text, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
    )
    op.create_table(
        "site_heads",
        sa.Column("site_id", sa.String, sa.ForeignKey("sites.site_id"), primary_key=True),
        sa.Column("chain", sa.String, primary_key=True),
        sa.Column("public_key", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )


def _what_is_owed() -> None:
    op.create_table(
        "events",
        sa.Column("enrolment_id", sa.String, primary_key=True),
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("modification_number", sa.Integer, primary_key=True),
        sa.Column("cancelled", sa.Boolean, primary_key=True),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
    )
    op.create_table(
        "commitments",
        sa.Column("commitment_id", sa.Integer, primary_key=True),
        sa.Column("enrolment_id", sa.String, nullable=False, index=True),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("modification_number", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("committed_kw", sa.Float, nullable=False),
        sa.Column("start", _TIME, nullable=False),
        sa.Column("ramp_start", _TIME, nullable=False),
        sa.Column("hold_start", _TIME, nullable=False),
        sa.Column("hold_end", _TIME, nullable=False),
        sa.Column("release_end", _TIME, nullable=False),
        sa.Column("awards", sa.Text, nullable=False),
        sa.Column("programme", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "budgets",
        sa.Column("site_id", sa.String, sa.ForeignKey("sites.site_id"), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("commitment_id", sa.Integer, sa.ForeignKey("commitments.commitment_id"), nullable=False, index=True),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("baseline_kw", sa.Float, nullable=False),
        sa.Column("owed_kw", sa.Float, nullable=False),
        sa.Column("issued_at", _TIME, nullable=False),
        sa.Column("acked_at", _TIME),
        sa.Column("accepted", sa.Boolean),
        sa.Column("refusal", sa.Text),
    )
    op.create_table(
        "outbox",
        sa.Column("site_id", sa.String, sa.ForeignKey("sites.site_id"), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )


def _what_is_paid_and_audited() -> None:
    op.create_table(
        "settlements",
        sa.Column("commitment_id", sa.Integer, sa.ForeignKey("commitments.commitment_id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
    )
    op.create_table(
        "audit_entries",
        sa.Column("chain", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("at", "actor", "action", "subject")),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("previous", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    op.create_table(
        "audit_heads",
        sa.Column("chain", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("signature", sa.String, nullable=False),
    )
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
