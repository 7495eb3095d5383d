"""Alembic migrations: they expand first and contract in a later release."""
