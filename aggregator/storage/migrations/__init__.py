"""Every change the database has gone through, applied at start (alembic)."""
