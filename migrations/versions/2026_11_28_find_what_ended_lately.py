"""find what ended lately: by an index over each version's episodes, in place of that over its open ones."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace("ix_episodes_open_adapter", "ix_episodes_adapter_id_ended_at ON episodes (adapter_id, ended_at)")


def downgrade() -> None:
    _replace(
        "ix_episodes_adapter_id_ended_at", "ix_episodes_open_adapter ON episodes (adapter_id) WHERE ended_at IS NULL"
    )


def _replace(old: str, new: str) -> None:
    """Nobody waits for it: turns go on while the index is built."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        # One that was cut is there and not valid.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {new.split()[0]}")
        op.execute(f"CREATE INDEX CONCURRENTLY {new}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old}")
        op.execute("SET lock_timeout = '4s'")
