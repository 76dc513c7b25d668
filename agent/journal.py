"""What a site agent must not forget: its budget, the limits GPUs had before it touched them, and its audit chain.

A budget is journalled before it is acknowledged, a prior limit before the first change. Each fact's audit entry is
in the fact's transaction, and each batch ends in a signed head for the aggregator's chain to anchor.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grid.audit import AuditEntry, link, public_key_text, sign_head
from grid.clock import Clock
from grid.journal import open_journal, transaction
from grid.messages import AuditHead, BudgetAck, SiteBudget

_MIGRATIONS = (
    """
    CREATE TABLE budget (
        only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE prior_limit (uuid TEXT PRIMARY KEY, limit_w REAL NOT NULL) STRICT;
    CREATE TABLE lease (only INTEGER PRIMARY KEY CHECK (only = 1), until TEXT NOT NULL) STRICT;
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
        facts TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL, signature TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
    CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
    """,
    "CREATE TABLE clock_lock (uuid TEXT PRIMARY KEY) STRICT;",
)


class AgentJournal:
    """One site's journal."""

    def __init__(self, connection: sqlite3.Connection, site_id: str, key: Ed25519PrivateKey, clock: Clock) -> None:
        self._connection = connection
        self._site_id = site_id
        self._key = key
        self._clock = clock
        self._budget = self._stored_budget()

    @classmethod
    def open(cls, path: Path, *, site_id: str, key: Ed25519PrivateKey, clock: Clock) -> AgentJournal:
        """Open the file or make it. Raises JournalError."""
        return cls(open_journal(path, _MIGRATIONS), site_id, key, clock)

    def close(self) -> None:
        self._connection.close()

    # --- budget -----------------------------------------------------------------------------------------------

    def take_budget(self, budget: SiteBudget, now: datetime) -> BudgetAck:
        """Journal ``budget`` unless it is stale, expired or another site's; the answer is durable."""
        reason = self._refusal(budget, now)
        if reason is None and (self._budget is None or budget != self._budget):
            with transaction(self._connection) as tx:
                tx.execute(
                    "INSERT OR REPLACE INTO budget VALUES (1, ?, ?)", (budget.revision, budget.model_dump_json())
                )
                self._record(tx, "budget.accepted", str(budget.revision), {"intervals": len(budget.intervals)})
            self._budget = budget
        elif reason is not None:
            with transaction(self._connection) as tx:
                self._record(tx, "budget.refused", str(budget.revision), {"reason": reason})
        return BudgetAck(
            site_id=self._site_id, revision=budget.revision, accepted=reason is None, reason=reason or "", at=now
        )

    def budget(self) -> SiteBudget | None:
        """The newest budget, in force or not."""
        return self._budget

    def _refusal(self, budget: SiteBudget, now: datetime) -> str | None:
        held = self._budget
        if budget.site_id != self._site_id:
            return f"it is for site {budget.site_id}, this is {self._site_id}"
        if held is not None and budget.revision < held.revision:
            return f"stale: revision {held.revision} is held"
        if held is not None and budget.revision == held.revision and budget != held:
            return f"revision {held.revision} is held with other contents: issue a higher one"
        if budget.not_after <= now:
            return f"expired at {budget.not_after.isoformat()}"
        return None

    def _stored_budget(self) -> SiteBudget | None:
        row = self._connection.execute("SELECT body FROM budget").fetchone()
        return None if row is None else SiteBudget.model_validate_json(row["body"])

    # --- what the node's GPUs had before ------------------------------------------------------------------------------

    def prior_limits_w(self) -> dict[str, float]:
        """By GPU: the limit it had before we touched it. Empty when nothing of ours is in force."""
        return {row["uuid"]: row["limit_w"] for row in self._connection.execute("SELECT * FROM prior_limit")}

    def clock_locks(self) -> frozenset[str]:
        """GPUs whose clocks may be locked by us; NVML does not tell, and what was before was no lock."""
        return frozenset(row["uuid"] for row in self._connection.execute("SELECT uuid FROM clock_lock"))

    def touched(self) -> frozenset[str]:
        """GPUs on which something of ours may be in force."""
        return self.clock_locks() | self.prior_limits_w().keys()

    def keep_priors(
        self, limits_w: Mapping[str, float], until: datetime, *, clock_locks: frozenset[str] = frozenset()
    ) -> None:
        """Before the first change of these GPUs; the lease that covers the change goes with them."""
        with transaction(self._connection) as tx:
            tx.executemany("INSERT OR IGNORE INTO prior_limit VALUES (?, ?)", limits_w.items())
            tx.executemany("INSERT OR IGNORE INTO clock_lock VALUES (?)", [(uuid,) for uuid in sorted(clock_locks)])
            tx.execute("INSERT OR REPLACE INTO lease VALUES (1, ?)", (until.isoformat(),))
            facts = {"gpus": len(limits_w), "clock_locks": len(clock_locks), "until": until.isoformat()}
            self._record(tx, "caps.applied", self._site_id, facts)

    def extend_lease(self, until: datetime) -> None:
        with transaction(self._connection) as tx:
            tx.execute("INSERT OR REPLACE INTO lease VALUES (1, ?)", (until.isoformat(),))

    def lease_until(self) -> datetime | None:
        row = self._connection.execute("SELECT until FROM lease").fetchone()
        return None if row is None else datetime.fromisoformat(row["until"])

    def forget_priors(self, uuids: list[str], *, complete: bool) -> None:
        """These GPUs have limits and clocks back; with ``complete`` every GPU that answers has, and the lease ends.

        The prior of a GPU that does not answer stays, for whoever finds that GPU again.
        """
        with transaction(self._connection) as tx:
            for table in ("prior_limit", "clock_lock"):
                tx.executemany(f"DELETE FROM {table} WHERE uuid = ?", [(uuid,) for uuid in uuids])  # noqa: S608
            if complete:
                tx.execute("DELETE FROM lease")
            self._record(tx, "caps.restored", self._site_id, {"gpus": len(uuids), "complete": complete})

    # --- audit ------------------------------------------------------------------------------------------------

    def newest_head(self) -> AuditHead | None:
        """The signed head of the chain; None while it is empty."""
        row = self._newest()
        if row is None:
            return None
        return AuditHead(
            site_id=self._site_id,
            chain=self._chain,
            seq=row["seq"],
            hash=row["hash"],
            signature=row["signature"],
            public_key=public_key_text(self._key.public_key()),
        )

    @property
    def _chain(self) -> str:
        return f"site:{self._site_id}"

    def _newest(self) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        return row

    def _record(self, tx: sqlite3.Connection, action: str, subject: str, facts: Mapping[str, Any]) -> None:
        row = self._newest()
        previous = None
        if row is not None:
            body = {**dict(row), "facts": json.loads(row["facts"]), "chain": self._chain}
            del body["signature"]
            previous = AuditEntry(**body)
        entry = link(
            previous,
            chain=self._chain,
            at=self._clock.now(),
            actor=f"agent:{self._site_id}",
            action=action,
            subject=subject,
            facts=facts,
        )
        signature = sign_head(entry, self._key).signature
        tx.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.seq, entry.at, entry.actor, entry.action, entry.subject, json.dumps(dict(entry.facts)),
                entry.previous, entry.hash, signature,
            ),
        )  # fmt: skip
