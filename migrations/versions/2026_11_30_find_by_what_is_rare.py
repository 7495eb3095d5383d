"""find by what is rare first: beside an agent's id, a plan may look through all that the agent has."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NEW = {
    "ix_conversations_head_hash": "conversations (head_hash)",
    "ix_turns_previous_head": "turns (previous_head)",
}
OLD = {
    "ix_conversations_agent_id_head_hash": "conversations (agent_id, head_hash)",
    "ix_turns_agent_id_previous_head": "turns (agent_id, previous_head)",
    "ix_turns_agent_id_head_hash": "turns (agent_id, head_hash)",
}
NEW_NAME, OLD_NAME = ("external_id", "agent_id"), ("agent_id", "external_id")


def upgrade() -> None:
    _replace(OLD, NEW)
    _replace_unique(OLD_NAME, NEW_NAME)


def downgrade() -> None:
    _replace(NEW, OLD)
    _replace_unique(NEW_NAME, OLD_NAME)


def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    """Nobody waits for it: turns go on while an index is built."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        for name, columns in new.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # one that was cut is there and not valid
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")
        for name in old:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute("SET lock_timeout = '4s'")


def _replace_unique(old: tuple[str, str], new: tuple[str, str]) -> None:
    """The same two columns the other way round; at each moment one of the constraints holds."""
    before, after = (f"uq_conversations_{first}_{second}" for first, second in (old, new))
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE conversations DROP CONSTRAINT IF EXISTS {after}")
        op.execute("SET lock_timeout = '10min'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {after}")
        op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {after} ON conversations ({', '.join(new)})")
        op.execute("SET lock_timeout = '4s'")
        op.execute(f"ALTER TABLE conversations ADD CONSTRAINT {after} UNIQUE USING INDEX {after}")
        op.execute(f"ALTER TABLE conversations DROP CONSTRAINT IF EXISTS {before}")
