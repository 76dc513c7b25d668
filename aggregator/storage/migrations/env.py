"""Alembic's entry: runs the migrations on the connection the store hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from aggregator.storage.tables import METADATA

# The store opens its transactions itself, so SQLite's DDL is transactional here and a half migration never stays.
context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
