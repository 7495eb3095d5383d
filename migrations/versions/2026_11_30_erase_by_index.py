"""erase by index: whether a history stands elsewhere too is asked of every turn that ends in it."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NAME = "ix_turns_head_hash"


def upgrade() -> None:
    """Nobody waits for it: turns go on while the index is built."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")  # one that was cut is there and not valid
        op.execute(f"CREATE INDEX CONCURRENTLY {NAME} ON turns (head_hash)")
        op.execute("SET lock_timeout = '4s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
        op.execute("SET lock_timeout = '4s'")
